//! `mm_predict_table`: every column of a query and its prediction.

use datafusion::common::{DataFusionError, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, TableAlias, TableFactor, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::TableFunctionEntry;

const NAME: &str = "mm_predict_table";

pub(super) fn entry() -> TableFunctionEntry {
    TableFunctionEntry {
        name: NAME,
        syntax: "mm_predict_table(model, (query))",
        description: "Every column of the query and, as the last column `prediction`, what mm_predict gives for the columns whose names are inputs of the model.",
        example: "SELECT * FROM mm_predict_table('credit', (SELECT * FROM loans))",
        implementation: None,
    }
}

/// Rewrites the call to `SELECT *, mm_predict(model, t.*) AS prediction FROM (query) AS t`.
#[derive(Debug)]
pub(crate) struct PredictTable;

impl RelationPlanner for PredictTable {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let Some((arguments, alias)) = call(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(model))),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))),
        ] = arguments.as_slice()
        else {
            return plan_err!(
                "mm_predict_table takes a model as a literal and a query in parentheses: mm_predict_table('credit', (SELECT * FROM loans))"
            );
        };
        let Value::SingleQuotedString(model) = &model.value else {
            return plan_err!("mm_predict_table: the model must be a string literal");
        };
        let plan =
            context.plan(TableFactor::Derived { lateral: false, subquery: Box::new(rewrite(model, query)?), alias: None, sample: None })?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn call(relation: &TableFactor) -> Option<(Vec<FunctionArg>, Option<TableAlias>)> {
    let is_ours = |name: &ObjectName| name.to_string().eq_ignore_ascii_case(NAME);
    match relation {
        TableFactor::Table { name, args: Some(args), alias, .. } if is_ours(name) => Some((args.args.clone(), alias.clone())),
        TableFactor::Function { name, args, alias, .. } if is_ours(name) => Some((args.clone(), alias.clone())),
        _ => None,
    }
}

fn rewrite(model: &str, query: &Query) -> Result<Query> {
    let model = model.replace('\'', "''");
    let sql = format!("SELECT *, mm_predict('{model}', mm_rows.*) AS prediction FROM ({query}) AS mm_rows");
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&sql).and_then(|mut parser| parser.parse_query());
    parsed.map(|query| *query).map_err(|error| DataFusionError::SQL(Box::new(error), None))
}
