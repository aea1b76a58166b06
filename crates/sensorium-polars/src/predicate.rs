//! Predicates of Polars as those of DataFusion, so that the engine needs to read, and models to run on, fewer rows.
//!
//! What is given keeps every row that the predicate keeps, and may keep more: Polars filters again. Numbers with fractions are left to it,
//! where the two sides do not agree on the sign of zero.

use datafusion::logical_expr::{Operator, binary_expr};
use datafusion::prelude::{Expr, ident, lit};
use datafusion::scalar::ScalarValue;
use polars::prelude::{AnyValue, DataType, Expr as PolarsExpr, LiteralValue, Operator as PolarsOperator, Schema};

/// A predicate that holds wherever `predicate` does; none where nothing of it is understood.
pub(crate) fn to_datafusion(predicate: &PolarsExpr, schema: &Schema) -> Option<Expr> {
    let PolarsExpr::BinaryExpr { left, op, right } = predicate else { return None };
    let operator = match op {
        PolarsOperator::And | PolarsOperator::LogicalAnd => {
            return match (to_datafusion(left, schema), to_datafusion(right, schema)) {
                (Some(one), Some(other)) => Some(one.and(other)),
                (one, other) => one.or(other),
            };
        }
        // Half of an alternative would drop rows of the other half.
        PolarsOperator::Or | PolarsOperator::LogicalOr => return Some(to_datafusion(left, schema)?.or(to_datafusion(right, schema)?)),
        PolarsOperator::Eq => Operator::Eq,
        PolarsOperator::NotEq => Operator::NotEq,
        PolarsOperator::Lt => Operator::Lt,
        PolarsOperator::LtEq => Operator::LtEq,
        PolarsOperator::Gt => Operator::Gt,
        PolarsOperator::GtEq => Operator::GtEq,
        _ => return None,
    };
    match (left.as_ref(), right.as_ref()) {
        (PolarsExpr::Column(name), PolarsExpr::Literal(value)) => compare(name, operator, value, schema),
        (PolarsExpr::Literal(value), PolarsExpr::Column(name)) => compare(name, operator.swap()?, value, schema),
        _ => None,
    }
}

fn compare(column: &str, operator: Operator, value: &LiteralValue, schema: &Schema) -> Option<Expr> {
    let value = value.to_any_value()?;
    let is_equality = matches!(operator, Operator::Eq | Operator::NotEq);
    let literal = match (schema.get(column)?, value) {
        (dtype, value) if dtype.is_integer() => ScalarValue::Int64(Some(value.extract::<i64>().filter(|_| value.dtype().is_integer())?)),
        (DataType::String, AnyValue::String(text)) if is_equality => ScalarValue::Utf8(Some(text.to_string())),
        (DataType::String, AnyValue::StringOwned(text)) if is_equality => ScalarValue::Utf8(Some(text.to_string())),
        (DataType::Boolean, AnyValue::Boolean(truth)) if is_equality => ScalarValue::Boolean(Some(truth)),
        _ => return None,
    };
    Some(binary_expr(ident(column), operator, lit(literal)))
}
