//! Drops calls whose results nobody uses.

use std::collections::BTreeSet;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::infer::Infer;

/// The rule; it runs behind the one that takes unused columns out of projections.
#[derive(Debug, Default)]
pub(crate) struct PruneCalls;

impl OptimizerRule for PruneCalls {
    fn name(&self) -> &str {
        "prune_model_calls"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut pruned = Transformed::no(plan);
        loop {
            let used = used_names(&pruned.data)?;
            let once = pruned.data.transform_up_with_subqueries(|plan| match Infer::of(&plan) {
                Some(infer) if !used.contains(&infer.call.column) => Ok(Transformed::yes(infer.input.clone())),
                _ => Ok(Transformed::no(plan)),
            })?;
            if !once.transformed {
                return Ok(Transformed::new_transformed(once.data, pruned.transformed));
            }
            // A call that is gone may have been the only one to use another's result.
            pruned = Transformed::yes(once.data.transform_up_with_subqueries(|plan| refreshed(plan).map(Transformed::yes))?.data);
        }
    }
}

/// The node over inputs that have other columns now.
fn refreshed(plan: LogicalPlan) -> Result<LogicalPlan> {
    match Infer::of(&plan) {
        Some(infer) => Ok(Infer::try_new(infer.input.clone(), infer.call.clone())?.into_plan()),
        None => plan.recompute_schema(),
    }
}

/// Names of all columns that some expression or the result of the plan uses.
fn used_names(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut used: BTreeSet<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = expr {
                    used.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(used)
}
