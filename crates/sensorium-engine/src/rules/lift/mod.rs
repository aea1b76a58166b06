//! Takes model calls out of expressions: each becomes a column of an `Infer` node below the node that it stood in.
//!
//! Equal calls become one column. A call under CASE, AND, OR, COALESCE or NULLIF keeps a guard, the condition under
//! which a row-by-row evaluation would reach it. Runs before DataFusion's rules, which then move filters, limits and
//! projections through the nodes, and once more behind those that turn correlated subqueries into joins.

mod expression;
mod guards;
mod needs;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::call::ModelFunction;
use crate::infer::{Infer, InferCall};
use crate::settings::MmSettings;
use plan::Lift;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct LiftCalls;

impl AnalyzerRule for LiftCalls {
    fn name(&self) -> &str {
        "lift_model_calls"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        lift(plan, config)
    }
}

impl OptimizerRule for LiftCalls {
    fn name(&self) -> &str {
        "lift_model_calls"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !contains_calls(&plan)? {
            return Ok(Transformed::no(plan));
        }
        lift(plan, &config.options()).map(Transformed::yes)
    }
}

fn lift(plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
    if !contains_calls(&plan)? {
        return Ok(plan);
    }
    let keep_order = MmSettings::of(config).keep_predicate_order;
    mark_repeated(Lift::new(next_number(&plan)?, keep_order).sealed(plan)?)
}

/// Marks calls that stand in several places of the plan, as those of a CTE that is used twice.
fn mark_repeated(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut places: HashMap<(Arc<ScalarUDF>, Vec<Expr>), usize> = HashMap::new();
    let key = |call: &InferCall| (Arc::clone(&call.func), call.args.clone());
    plan.apply_with_subqueries(|plan| {
        if let Some(infer) = Infer::of(plan) {
            *places.entry(key(&infer.call)).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let is_repeated = |call: &InferCall| !call.is_repeated && places.get(&key(call)).is_some_and(|count| *count > 1);
    let mark = |plan: LogicalPlan| match Infer::of(&plan) {
        Some(infer) if is_repeated(&infer.call) => {
            let call = InferCall { is_repeated: true, ..infer.call.clone() };
            Ok(Transformed::yes(Infer::try_new(infer.input.clone(), call)?.into_plan()))
        }
        _ => Ok(Transformed::no(plan)),
    };
    plan.transform_up_with_subqueries(mark).map(|transformed| transformed.data)
}

/// Result columns are numbered; `__mm_` is not a prefix that a user's columns have.
const PREFIX: &str = "__mm_";

/// The number behind those of all `Infer` nodes of the plan.
fn next_number(plan: &LogicalPlan) -> Result<usize> {
    let mut next = 1;
    plan.apply_with_subqueries(|plan| {
        if let Some(number) = Infer::of(plan).and_then(|infer| infer.call.column.strip_prefix(PREFIX)?.parse::<usize>().ok()) {
            next = next.max(number + 1);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(next)
}

/// The bound model function that an expression calls.
fn called(expr: &Expr) -> Option<&ModelFunction> {
    match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<ModelFunction>().filter(|function| function.is_bound()),
        _ => None,
    }
}

/// What all calls of an expression take for a row.
fn row_time(expr: &Expr) -> Duration {
    let mut total = Duration::ZERO;
    let add = |expr: &Expr| {
        total += called(expr).map_or(Duration::ZERO, |function| function.row_time().time());
        Ok(TreeNodeRecursion::Continue)
    };
    expr.apply(add).map_or(Duration::MAX, |_| total)
}

fn calls_models(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(called(expr).is_some())).unwrap_or(false)
}

fn contains_calls(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            found |= calls_models(expr);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Shared ends of plans.
fn owned(plan: Arc<LogicalPlan>) -> LogicalPlan {
    Arc::unwrap_or_clone(plan)
}
