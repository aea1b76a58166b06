//! Fixes each model call to a version and to the folder of its media, and writes out `t.*`.
//!
//! Runs before DataFusion's own analyzer rules, so that they see real types. The version is pinned here, because a
//! name may mean another version while the query runs.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::media_base::media_bases;
use crate::call::{Bound, ModelFunction, expand_wildcards, model_literal};
use crate::functions::VectorFunction;

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct BindCalls;

impl AnalyzerRule for BindCalls {
    fn name(&self) -> &str {
        "bind_model_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(bind_node).map(|transformed| transformed.data)
    }
}

fn bind_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = match plan.inputs().as_slice() {
        [] => DFSchema::clone(plan.schema()),
        inputs => merge_schema(inputs),
    };
    let sources: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let names = NamePreserver::new(&plan);
    let bound = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let bound = expr.transform_up(|expr| bind_call(expr, &schema, &sources))?;
        Ok(if bound.transformed { bound.update_data(|expr| name.restore(expr)) } else { bound })
    })?;
    if bound.transformed { bound.map_data(LogicalPlan::recompute_schema) } else { Ok(bound) }
}

fn bind_call(expr: Expr, schema: &DFSchema, sources: &[LogicalPlan]) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    if let Some(function) = call.func.inner().downcast_ref::<VectorFunction>() {
        let func = Arc::new(function.fresh());
        return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: call.args.clone() })));
    }
    let Some(function) = call.func.inner().downcast_ref::<ModelFunction>().filter(|function| !function.is_bound()) else {
        return Ok(Transformed::no(expr));
    };
    let Some(reference) = model_literal(&call.args) else { return Ok(Transformed::no(expr)) };
    let version = function.resolve(reference)?;
    let arguments = expand_wildcards(&version.name, &version.manifest, call.args[1..].to_vec(), schema)?;
    let bases = media_bases(&version.manifest, &arguments, sources);
    let model = Expr::Literal(version.pinned().into(), None);
    let args = [model].into_iter().chain(arguments).collect();
    let func = Arc::new(function.bind_to(Bound::new(version, bases)));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
}
