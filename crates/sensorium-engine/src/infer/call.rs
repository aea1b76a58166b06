//! One model call, taken out of the expression that it stood in.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::{DFSchema, ScalarValue, internal_datafusion_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable, ReturnFieldArgs, ScalarUDF};

use super::guard::Guard;
use crate::call::ModelFunction;

/// A bound model function, what it is called with, for which rows, and the column that holds its results.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InferCall {
    /// The function, bound to its model.
    pub(crate) func: Arc<ScalarUDF>,
    /// The model's name as a literal, as the function takes it.
    pub(crate) model: Expr,
    /// The arguments behind the model.
    pub(crate) args: Vec<Expr>,
    /// Other rows do not need the call and get NULL.
    pub(crate) guard: Guard,
    /// Name of the result.
    pub(crate) column: String,
    /// Whether the plan has the same call elsewhere, so that rows are worth telling apart whatever the model costs.
    pub(crate) is_repeated: bool,
    /// The predicate that the results decide, as later plans will know it.
    pub(crate) decides: Option<String>,
}

impl InferCall {
    /// The result column over rows of `schema`.
    pub(crate) fn field(&self, schema: &DFSchema) -> Result<FieldRef> {
        let all = || std::iter::once(&self.model).chain(&self.args);
        let fields = all().map(|arg| arg.to_field(schema).map(|(_, field)| field)).collect::<Result<Vec<_>>>()?;
        let literals: Vec<Option<&ScalarValue>> = all().map(literal).collect();
        let field = self.func.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &literals })?;
        let nullable = field.is_nullable() || !self.guard.is_none();
        Ok(Arc::new(Field::new(&self.column, field.data_type().clone(), nullable)))
    }

    /// Expressions over the input's columns: the arguments, then the conditions of the guard.
    pub(crate) fn expressions(&self) -> Vec<Expr> {
        self.args.iter().chain(self.guard.expressions()).cloned().collect()
    }

    /// The same call with other expressions, in the order of [`InferCall::expressions`].
    pub(crate) fn with_expressions(&self, mut args: Vec<Expr>) -> Self {
        let conditions = args.split_off(self.args.len());
        Self { args: args.into_iter().map(Expr::unalias).collect(), guard: self.guard.with_expressions(conditions), ..self.clone() }
    }
}

/// The model function inside a UDF.
pub(crate) fn model_function(func: &ScalarUDF) -> Result<&ModelFunction> {
    func.inner().downcast_ref::<ModelFunction>().ok_or_else(|| internal_datafusion_err!("{} is no model function", func.name()))
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

impl fmt::Display for InferCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}(", self.column, self.func.name())?;
        for (index, arg) in std::iter::once(&self.model).chain(&self.args).enumerate() {
            write!(f, "{}{arg}", if index > 0 { ", " } else { "" })?;
        }
        write!(f, "){}{}", self.guard, if self.is_repeated { ", shared" } else { "" })
    }
}
