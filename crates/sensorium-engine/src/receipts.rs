//! The receipts of a whole plan: each model call on the way of its rows gets one beside it, which is carried up to the result.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, ScalarUDF};
use sensorium_inference::{Error, Kind};

use crate::call::Asked;
use crate::errors::to_datafusion;
use crate::functions::VectorFunction;
use crate::infer::{Infer, InferCall, model_function};
use crate::session::Session;

/// Name of the column with the receipt of a plan's only model call; of several they are `receipt_1`, `receipt_2`, .. in the order in which
/// their rows pass them.
pub const RECEIPT: &str = "receipt";
/// Name of the column with the media of all calls.
pub const MEDIA: &str = "__mm_media";

/// A plan whose rows have receipts.
#[derive(Debug, Clone)]
pub struct Receipted {
    /// The plan; as it was, but for further columns at the end.
    pub plan: LogicalPlan,
    /// Names of the columns with receipts.
    pub columns: Vec<String>,
    /// Calls that have none, and why.
    pub without: Vec<String>,
}

impl Session {
    /// Adds a column behind the others for each model call that a row of the result has passed: what `mm_receipt` gives for it. With
    /// `media`, further columns, whose names begin with [`MEDIA`], list the media of the same calls.
    ///
    /// # Errors
    /// For a plan that cannot be analysed, or whose columns have one of these names.
    pub fn with_receipts(&self, plan: LogicalPlan, media: bool) -> Result<Receipted> {
        self.engine().models.expect_receipts();
        let state = self.context().state();
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let own: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut carry = Carry { media, calls: 0, without: Vec::new() };
        let (plan, carried) = carry.up(plan)?;
        let receipts = carried.iter().filter(|call| call.kind == Asked::Receipt).count();
        let (mut columns, mut exprs, mut number) = (Vec::new(), own, 0);
        for call in carried {
            if call.kind == Asked::Media {
                exprs.push(Expr::Column(call.column));
                continue;
            }
            number += 1;
            let name = if receipts == 1 { RECEIPT.to_string() } else { format!("{RECEIPT}_{number}") };
            if names.contains(&name) {
                return Err(to_datafusion(
                    Error::new(Kind::Argument, format!("the query has a column '{name}' already, in which its receipts would be"))
                        .with_hint("call it something else, or do without receipts: receipts = false in the job's file"),
                ));
            }
            exprs.push(Expr::Column(call.column).alias(&name));
            columns.push(name);
        }
        let plan = if columns.is_empty() { plan } else { LogicalPlanBuilder::from(plan).project(exprs)?.build()? };
        Ok(Receipted { plan, columns, without: carry.without })
    }
}

/// A column that is on its way up.
struct Carried {
    column: Column,
    kind: Asked,
}

struct Carry {
    media: bool,
    calls: usize,
    without: Vec<String>,
}

impl Carry {
    /// The plan with receipts for its calls, and their columns in its schema.
    fn up(&mut self, plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Carried>)> {
        self.aside(&plan)?;
        if let Some(infer) = Infer::of(&plan) {
            let (input, mut carried) = self.up(infer.input.clone())?;
            let mut above = Infer::try_new(input, infer.call.clone())?.into_plan();
            for call in self.beside(&infer.call)? {
                carried.push(Carried { column: Column::from_name(&call.0.column), kind: call.1 });
                above = Infer::try_new(above, call.0)?.into_plan();
            }
            return Ok((above, carried));
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let (input, carried) = self.up(Arc::unwrap_or_clone(projection.input))?;
                let exprs = projection.expr.into_iter().chain(carried.iter().map(|call| Expr::Column(call.column.clone())));
                Ok((LogicalPlan::Projection(Projection::try_new(exprs.collect(), Arc::new(input))?), carried))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let (input, carried) = self.up(Arc::unwrap_or_clone(alias.input))?;
                let renamed = |call: Carried| Carried { column: Column::new(Some(alias.alias.clone()), call.column.name), ..call };
                let carried = carried.into_iter().map(renamed).collect();
                Ok((LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()?, carried))
            }
            LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Repartition(_) => {
                let (input, carried) = self.up(plan.inputs()[0].clone())?;
                Ok((plan.with_new_exprs(plan.expressions(), vec![input])?, carried))
            }
            LogicalPlan::Join(ref join) => {
                let (keeps_left, keeps_right) = match join.join_type {
                    JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => (true, true),
                    JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
                    JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (false, true),
                };
                let mut side = |input: &LogicalPlan, is_kept: bool| {
                    if is_kept {
                        self.up(input.clone())
                    } else {
                        self.stop(input, "rows of a table that is only looked up").map(|()| (input.clone(), vec![]))
                    }
                };
                let (left, mut carried) = side(&join.left, keeps_left)?;
                let (right, of_right) = side(&join.right, keeps_right)?;
                carried.extend(of_right);
                Ok((plan.with_new_exprs(plan.expressions(), vec![left, right])?, carried))
            }
            other => {
                let why = match &other {
                    LogicalPlan::Aggregate(_) => "an aggregate, whose rows come from several",
                    LogicalPlan::Distinct(_) => "DISTINCT, whose rows come from several",
                    LogicalPlan::Union(_) => "a union",
                    LogicalPlan::Unnest(_) => "UNNEST",
                    _ => "a step that does not pass on further columns",
                };
                for input in other.inputs() {
                    self.stop(input, why)?;
                }
                Ok((other, Vec::new()))
            }
        }
    }

    /// The calls that go with `call`.
    fn beside(&mut self, call: &InferCall) -> Result<Vec<(InferCall, Asked)>> {
        let function = model_function(&call.func)?;
        if !function.has_receipt() {
            return Ok(Vec::new());
        }
        let (args, _) = function.split(&call.args);
        self.calls += 1;
        let number = self.calls;
        let made = |asked: Asked, column: String| {
            let func = Arc::new(function.receipt_of(asked));
            let own = InferCall { func, args: args.clone(), column, is_repeated: false, decides: None, ..call.clone() };
            (own, asked)
        };
        let mut all = vec![made(Asked::Receipt, format!("__mm_receipt_{number}"))];
        all.extend(self.media.then(|| made(Asked::Media, format!("{MEDIA}_{number}"))));
        Ok(all)
    }

    /// Notes the calls of a node that are no column of its input: those of subqueries, of conditions of joins, and on literals alone.
    fn aside(&mut self, plan: &LogicalPlan) -> Result<()> {
        let mut subqueries = Vec::new();
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::ScalarSubquery(subquery)
                    | Expr::Exists(Exists { subquery, .. })
                    | Expr::InSubquery(InSubquery { subquery, .. }) => {
                        subqueries.push(Arc::clone(&subquery.subquery));
                    }
                    Expr::ScalarFunction(call) => self.note(&call.func, "it stands where no row of the result passes"),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        subqueries.iter().try_for_each(|subquery| self.stop(subquery, "a subquery"))
    }

    /// Notes a call that has no receipt.
    fn note(&mut self, func: &ScalarUDF, why: &str) {
        let inner = func.inner().downcast_ref::<VectorFunction>().and_then(VectorFunction::same_for_all);
        if let Ok(function) = model_function(inner.map_or(func, AsRef::as_ref))
            && function.has_receipt()
        {
            self.without.push(format!("{}: {why}", function.pinned().unwrap_or_default()));
        }
    }

    /// Notes the calls below a step that no receipt comes through.
    fn stop(&mut self, plan: &LogicalPlan, why: &str) -> Result<()> {
        plan.apply_with_subqueries(|plan| {
            if let Some(infer) = Infer::of(plan) {
                self.note(&infer.call.func, &format!("above it is {why}"));
            }
            // Those of correlated subqueries become columns only later.
            plan.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::ScalarFunction(call) = expr {
                        self.note(&call.func, &format!("above it is {why}"));
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(())
    }
}
