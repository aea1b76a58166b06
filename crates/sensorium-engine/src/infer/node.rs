//! The logical node: its input's columns and one more, the result of a call.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::call::InferCall;

/// Rows out are rows in, in the same order. DataFusion's rules move filters that do not need the result, limits and
/// projections through it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Infer {
    pub(crate) input: LogicalPlan,
    pub(crate) call: InferCall,
    schema: DFSchemaRef,
}

impl Infer {
    pub(crate) fn try_new(input: LogicalPlan, call: InferCall) -> Result<Self> {
        let own = input.schema();
        let fields = own.iter().map(|(table, field)| (table.cloned(), Arc::clone(field)));
        let result = (None, call.field(own)?);
        let schema = DFSchema::new_with_metadata(fields.chain([result]).collect(), own.metadata().clone())?;
        let schema = schema.with_functional_dependencies(own.functional_dependencies().clone())?;
        Ok(Self { input, call, schema: Arc::new(schema) })
    }

    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node inside a plan.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

/// Only to satisfy the trait; plans are not sorted.
impl PartialOrd for Infer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.call.column.partial_cmp(&other.call.column).filter(|order| *order != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for Infer {
    fn name(&self) -> &str {
        "Infer"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// Without the call itself, which constant folding would run.
    fn expressions(&self) -> Vec<Expr> {
        self.call.expressions()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.call.column.clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Infer: {}", self.call)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop().unwrap_or_else(|| self.input.clone());
        Self::try_new(input, self.call.with_expressions(exprs))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let inputs = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|column| *column < inputs).collect()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}
