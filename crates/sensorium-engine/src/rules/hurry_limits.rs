//! Tells operators below a limit that the first rows may be all that is wanted, so that they begin with few.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions};

use crate::infer::InferExec;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct HurryLimits;

impl PhysicalOptimizerRule for HurryLimits {
    fn name(&self) -> &str {
        "hurry_limits"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        hurry(plan, false)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A node that gives nothing before it has read all, as a sort, ends what a limit above it can spare.
fn hurry(plan: Arc<dyn ExecutionPlan>, is_limited: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let waits_for_all = plan.pipeline_behavior() == EmissionType::Final;
    let is_limited = !waits_for_all && (is_limited || plan.fetch().is_some());
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    let hurried = children.iter().map(|child| hurry(Arc::clone(child), is_limited)).collect::<Result<Vec<_>>>()?;
    let plan = if hurried.iter().zip(&children).all(|(new, old)| Arc::ptr_eq(new, old)) {
        plan
    } else {
        plan.replace_children(hurried, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?
    };
    match plan.downcast_ref::<InferExec>() {
        Some(infer) if is_limited => Ok(Arc::new(infer.below_limit())),
        _ => Ok(plan),
    }
}
