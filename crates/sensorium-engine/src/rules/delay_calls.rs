//! Moves calls above filters and above sorts with a limit that do not look at their results, so that models run on
//! the rows that are left.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, Sort};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::infer::{Infer, InferCall};

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct DelayCalls;

impl OptimizerRule for DelayCalls {
    fn name(&self) -> &str {
        "delay_model_calls"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Filter(filter) => {
                let above = |input| Filter::try_new(filter.predicate.clone(), Arc::new(input)).map(LogicalPlan::Filter);
                Ok(delayed(&filter.input, std::slice::from_ref(&filter.predicate), above)?.map_or(Transformed::no(plan), Transformed::yes))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_some() => {
                let moved = match sort.input.as_ref() {
                    LogicalPlan::Projection(projection) => below_projection(sort, projection)?,
                    input => {
                        let keys: Vec<Expr> = sort.expr.iter().map(|key| key.expr.clone()).collect();
                        let above = |input| Ok(LogicalPlan::Sort(Sort { input: Arc::new(input), ..sort.clone() }));
                        delayed(input, &keys, above)?
                    }
                };
                Ok(moved.map_or(Transformed::no(plan), Transformed::yes))
            }
            _ => Ok(Transformed::no(plan)),
        }
    }
}

/// A sort of a projection is the projection of a sort by what its keys stand for.
fn below_projection(sort: &Sort, projection: &Projection) -> Result<Option<LogicalPlan>> {
    if projection.expr.iter().any(Expr::is_volatile) {
        return Ok(None);
    }
    let stands_for = |expr: Expr| {
        expr.transform_up(|expr| {
            let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
            let index = projection.schema.index_of_column(column)?;
            Ok(Transformed::yes(projection.expr[index].clone().unalias()))
        })
        .map(|replaced| replaced.data)
    };
    let mut keys = sort.expr.clone();
    for key in &mut keys {
        key.expr = stands_for(key.expr.clone())?;
    }
    let exprs: Vec<Expr> = keys.iter().map(|key| key.expr.clone()).collect();
    let above = |input| Ok(LogicalPlan::Sort(Sort { expr: keys.clone(), input: Arc::new(input), fetch: sort.fetch }));
    let Some(input) = delayed(&projection.input, &exprs, above)? else { return Ok(None) };
    Ok(Some(LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), Arc::new(input))?)))
}

/// With the calls on top of `input` that `used` does not need put above what `node` makes; `None` where there are none.
fn delayed(input: &LogicalPlan, used: &[Expr], node: impl FnOnce(LogicalPlan) -> Result<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let mut calls: Vec<&InferCall> = Vec::new();
    let mut base = input;
    while let Some(infer) = Infer::of(base) {
        calls.push(&infer.call);
        base = &infer.input;
    }
    let mut needed: BTreeSet<String> = names(used);
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    // From the top: a call only uses results of those below it.
    for call in calls {
        if needed.contains(&call.column) {
            needed.extend(names(&call.expressions()));
            lower.push(call);
        } else {
            upper.push(call);
        }
    }
    if upper.is_empty() || lower.is_empty() {
        // Nothing to delay, or nothing that the node waits for: a filter then moves below by itself.
        return if upper.is_empty() { Ok(None) } else { stacked(node(base.clone())?, upper).map(Some) };
    }
    let below = stacked(base.clone(), lower)?;
    stacked(node(below)?, upper).map(Some)
}

/// Puts the calls on `plan`, the last of them first.
fn stacked(plan: LogicalPlan, calls: Vec<&InferCall>) -> Result<LogicalPlan> {
    calls.into_iter().rev().try_fold(plan, |plan, call| Ok(Infer::try_new(plan, call.clone())?.into_plan()))
}

fn names(exprs: &[Expr]) -> BTreeSet<String> {
    exprs.iter().flat_map(Expr::column_refs).map(|column| column.name.clone()).collect()
}
