//! Fixes each model call to a version and to the folder of its media, and writes out `t.*`.
//!
//! Runs as soon as a statement is planned, because a name may mean another version and a setting have another value by
//! the time that its frame is collected; a view is bound again by each statement that uses it. As a rule it also serves
//! plans that were made without SQL, ahead of DataFusion's own analyzer rules, so that they see real types.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, LogicalPlan, WindowFunctionDefinition};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::media_base::media_bases;
use crate::call::{Bound, ModelFunction, expand_wildcards, model_literal};
use crate::errors::to_datafusion;
use crate::functions::VectorFunction;
use crate::metrics::Metric;
use crate::settings::{MmSettings, OnError};

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct BindCalls;

impl AnalyzerRule for BindCalls {
    fn name(&self) -> &str {
        "bind_model_calls"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        bind_calls(plan, Binding::Rest, config)
    }
}

/// Which calls are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// All of a new statement, those of views included.
    Statement,
    /// Those that are not bound yet.
    Rest,
}

/// Binds the calls of a plan.
pub(crate) fn bind_calls(plan: LogicalPlan, which: Binding, config: &ConfigOptions) -> Result<LogicalPlan> {
    let settings = MmSettings::of(config);
    let null_on_error = settings.on_error == OnError::Null;
    let hosts = settings.limits.allowed_hosts.as_slice();
    let rule = Rule { which, null_on_error, max_metric_bytes: settings.max_metric_bytes, hosts };
    let bound = plan.transform_up_with_subqueries(|plan| bind_node(plan, rule))?;
    if !bound.transformed {
        return Ok(bound.data);
    }
    // A call may have another type now, and so have the nodes above it.
    bound.data.transform_up_with_subqueries(|plan| plan.recompute_schema().map(Transformed::yes)).map(|transformed| transformed.data)
}

#[derive(Clone, Copy)]
struct Rule<'a> {
    which: Binding,
    null_on_error: bool,
    max_metric_bytes: usize,
    /// Those that may be asked.
    hosts: &'a [String],
}

fn bind_node(plan: LogicalPlan, rule: Rule<'_>) -> Result<Transformed<LogicalPlan>> {
    let schema = match plan.inputs().as_slice() {
        [] => DFSchema::clone(plan.schema()),
        inputs => merge_schema(inputs),
    };
    let sources: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let names = NamePreserver::new(&plan);
    let bound = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let bound = expr.transform_up(|expr| bind_call(expr, rule, &schema, &sources))?;
        Ok(if bound.transformed { bound.update_data(|expr| name.restore(expr)) } else { bound })
    })?;
    if bound.transformed { bound.map_data(LogicalPlan::recompute_schema) } else { Ok(bound) }
}

fn bind_call(expr: Expr, rule: Rule<'_>, schema: &DFSchema, sources: &[LogicalPlan]) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(bound_metric(expr, rule.max_metric_bytes)) };
    if let Some(function) = call.func.inner().downcast_ref::<VectorFunction>() {
        if let Some(vectors) = function.vectors_of_model(&call.args)? {
            let bind = |vector| bind_call(vector, rule, schema, sources).map(|bound| bound.data);
            let args = vectors.into_iter().map(bind).collect::<Result<_>>()?;
            return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::new(function.fresh()), args })));
        }
        return bind_vectors(function, call, rule, schema, sources);
    }
    let Some(function) =
        call.func.inner().downcast_ref::<ModelFunction>().filter(|function| rule.which == Binding::Statement || !function.is_bound())
    else {
        return Ok(Transformed::no(expr));
    };
    let Some(reference) = function.reference().or_else(|| model_literal(&call.args)) else { return Ok(Transformed::no(expr)) };
    let version = function.resolve(reference)?;
    if let Some(endpoint) = &version.manifest.endpoint {
        endpoint.check_host(rule.hosts).map_err(to_datafusion)?;
    }
    let (options, arguments) = function.take_options(&version, &call.args[1..], schema)?;
    // Labels of a model that writes are options, and no argument any more.
    let (inputs, rest) = if options.is_some() { (arguments, Vec::new()) } else { function.split(&arguments) };
    let arguments = expand_wildcards(&version.name, &version.manifest, inputs, schema)?;
    let fields = arguments.iter().map(|argument| argument.to_field(schema).map(|(_, field)| field)).collect::<Result<Vec<_>>>()?;
    let side = function.side(&version, &fields)?;
    let bases = media_bases(&side.manifest, &arguments, sources)?;
    let model = Expr::Literal(version.pinned().into(), None);
    let args = [model].into_iter().chain(arguments).chain(rest).collect();
    let bound = Bound::new(reference, version, side, bases).with_options(options.as_deref())?;
    let func = Arc::new(function.bind_to(bound, rule.null_on_error));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
}

/// Gives a metric the limit of its memory.
fn bound_metric(expr: Expr, max_bytes: usize) -> Transformed<Expr> {
    let limited = |function: &AggregateUDF| {
        let metric = function.inner().downcast_ref::<Metric>().filter(|metric| metric.max_bytes() != max_bytes)?;
        Some(Arc::new(metric.within(max_bytes)))
    };
    match expr {
        Expr::AggregateFunction(AggregateFunction { func, params }) => match limited(&func) {
            Some(func) => Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })),
            None => Transformed::no(Expr::AggregateFunction(AggregateFunction { func, params })),
        },
        Expr::WindowFunction(mut call) => {
            let function = match &call.fun {
                WindowFunctionDefinition::AggregateUDF(function) => limited(function),
                WindowFunctionDefinition::WindowUDF(_) => None,
            };
            let Some(function) = function else { return Transformed::no(Expr::WindowFunction(call)) };
            call.fun = WindowFunctionDefinition::AggregateUDF(function);
            Transformed::yes(Expr::WindowFunction(call))
        }
        expr => Transformed::no(expr),
    }
}

/// A model call on literals is the same vector for all rows: it becomes part of the function, instead of a column.
fn bind_vectors(
    function: &VectorFunction,
    call: &ScalarFunction,
    rule: Rule<'_>,
    schema: &DFSchema,
    sources: &[LogicalPlan],
) -> Result<Transformed<Expr>> {
    let args = match (function.same_for_all(), call.args.split_first()) {
        // Bound already, as in a view: the call is bound again like any other.
        (Some(constant), Some((vector, args))) => {
            let constant = Expr::ScalarFunction(ScalarFunction { func: Arc::clone(constant), args: args.to_vec() });
            vec![vector.clone(), bind_call(constant, rule, schema, sources)?.data]
        }
        _ => call.args.clone(),
    };
    let (func, args) = match function.take_constant(&args) {
        Some((vector, constant)) => (function.fresh_with(&constant.func), [vec![vector], constant.args].concat()),
        None => (function.fresh(), args),
    };
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::new(func), args })))
}
