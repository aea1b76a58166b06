//! From logical to physical nodes.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::call::model_function;
use super::exec::{InferExec, PhysicalCall};
use super::node::Infer;
use crate::settings::MmSettings;

/// DataFusion's planner, which also knows the inference operator.
#[derive(Debug)]
pub(crate) struct MmQueryPlanner;

#[async_trait]
impl QueryPlanner for MmQueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(InferPlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct InferPlanner;

#[async_trait]
impl ExtensionPlanner for InferPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(infer), [input]) = (node.as_any().downcast_ref::<Infer>(), inputs) else { return Ok(None) };
        let schema = infer.input.schema();
        let physical = |expr: &Expr| planner.create_physical_expr(expr, schema, session, context);
        let call = &infer.call;
        let args = call.args.iter().map(physical).collect::<Result<Vec<_>>>()?;
        let guard = call.guard.physical(physical)?;
        let limits = MmSettings::of(session.config_options()).limits;
        let call = PhysicalCall {
            func: Arc::clone(&call.func),
            args,
            guard,
            field: call.field(schema)?,
            is_repeated: call.is_repeated,
            decides: call.decides.clone(),
            batches: model_function(&call.func)?.batch_plan(&limits),
        };
        Ok(Some(Arc::new(InferExec::try_new(Arc::clone(input), call)?)))
    }
}
