//! Lets operators see how many rows the filter above them keeps, from which later plans choose their order.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::infer::InferExec;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct ObservePredicates;

impl PhysicalOptimizerRule for ObservePredicates {
    fn name(&self) -> &str {
        "observe_predicates"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(observe).map(|transformed| transformed.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn observe(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(plan)) };
    match observed(filter.input(), Arc::clone(filter.predicate()))? {
        Some(input) => with_input(plan, input).map(Transformed::yes),
        None => Ok(Transformed::no(plan)),
    }
}

/// `input` with its operator observed by `predicate`. In between may stand a projection, which gives it other columns, and
/// what only hands rows to other partitions.
fn observed(input: &Arc<dyn ExecutionPlan>, predicate: Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(infer) = input.downcast_ref::<InferExec>().filter(|infer| infer.decides()) {
        return Ok(Some(Arc::new(infer.observed_by(predicate))));
    }
    if let Some(repartition) = input.downcast_ref::<RepartitionExec>() {
        let below = observed(repartition.input(), predicate)?;
        return below.map(|below| with_input(Arc::clone(input), below)).transpose();
    }
    let Some(projection) = input.downcast_ref::<ProjectionExec>() else { return Ok(None) };
    let stands_for = |expr: Arc<dyn PhysicalExpr>| match expr.downcast_ref::<Column>() {
        Some(column) => Ok(Transformed::yes(Arc::clone(&projection.expr()[column.index()].expr))),
        None => Ok(Transformed::no(expr)),
    };
    let predicate = predicate.transform_up(stands_for)?.data;
    let below = observed(projection.input(), predicate)?;
    below.map(|below| with_input(Arc::clone(input), below)).transpose()
}

fn with_input(plan: Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(vec![input], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
}
