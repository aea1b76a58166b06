//! Calls out of the nodes of a plan.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, Projection};

use super::guards::Path;
use super::needs::{Known, Needs};
use super::{PREFIX, called, calls_models, owned, row_time};

/// One run of the rule.
pub(super) struct Lift {
    next: usize,
    /// `mm.keep_predicate_order`
    pub(super) keep_order: bool,
}

/// A plan whose calls are `Infer` nodes. It may have more columns than it had before: those of `known`.
pub(super) struct Lifted {
    plan: LogicalPlan,
    known: Vec<Known>,
}

impl Lift {
    pub(super) fn new(next: usize, keep_order: bool) -> Self {
        Self { next, keep_order }
    }

    /// A column name that no other call has.
    pub(super) fn name(&mut self) -> String {
        self.next += 1;
        format!("{PREFIX}{}", self.next - 1)
    }

    /// The lifted plan with just the columns that it had.
    pub(super) fn sealed(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let columns = plan.schema().columns();
        let lifted = self.lift(plan)?.plan;
        if lifted.schema().fields().len() == columns.len() {
            return Ok(lifted);
        }
        Ok(LogicalPlan::Projection(Projection::try_new(columns.into_iter().map(Expr::Column).collect(), Arc::new(lifted))?))
    }

    fn lift(&mut self, plan: LogicalPlan) -> Result<Lifted> {
        match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Join(join) => self.join(join),
            // Their rows are rows of their input, with its columns.
            plan @ (LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_) | LogicalPlan::Repartition(_)) => {
                self.node(plan, true)
            }
            plan => self.node(plan, false),
        }
    }

    /// Any node; `open` ones hand the columns of calls on.
    fn node(&mut self, plan: LogicalPlan, open: bool) -> Result<Lifted> {
        let names = match &plan {
            LogicalPlan::Sort(_) => None,
            plan => Some(NamePreserver::new(plan)),
        };
        let is_single = plan.inputs().len() == 1;
        let mut known = Vec::new();
        let below = plan.map_children(|child| {
            if !open {
                return self.sealed(child).map(Transformed::yes);
            }
            let lifted = self.lift(child)?;
            known = lifted.known;
            Ok(Transformed::yes(lifted.plan))
        })?;
        if !is_single {
            // Nothing, or several inputs: only the subqueries of its expressions can be lifted.
            return Ok(Lifted { plan: below.data.recompute_schema()?, known: Vec::new() });
        }
        let mut needs = Needs::new(known);
        let above = below.data.map_expressions(|expr| {
            if !calls_models(&expr) && !has_subquery(&expr) {
                return Ok(Transformed::no(expr));
            }
            let name = names.as_ref().map(|names| names.save(&expr));
            let expr = self.expression(expr, &Path::default(), &mut needs)?;
            Ok(Transformed::yes(match name {
                Some(name) => name.restore(expr),
                None => expr,
            }))
        })?;
        let mut known = Vec::new();
        let mut needs = Some(needs);
        let placed = above.data.map_children(|child| {
            let (child, placed) = needs.take().unwrap_or_default().place(child)?;
            known = placed;
            Ok(Transformed::yes(child))
        })?;
        if !open {
            known.clear();
        }
        Ok(Lifted { plan: placed.data.recompute_schema()?, known })
    }

    fn projection(&mut self, projection: Projection) -> Result<Lifted> {
        let names = NamePreserver::new_for_projection();
        let below = self.lift(owned(projection.input))?;
        let mut needs = Needs::new(below.known);
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in projection.expr {
            let name = names.save(&expr);
            exprs.push(name.restore(self.expression(expr, &Path::default(), &mut needs)?));
        }
        let (input, known) = needs.place(below.plan)?;
        let mut passed = Vec::new();
        for known in known {
            if passes(&exprs, &known) {
                passed.extend(handed_on(&mut exprs, known));
            }
        }
        Ok(Lifted { plan: LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?), known: passed })
    }

    fn filter(&mut self, filter: Filter) -> Result<Lifted> {
        let below = self.lift(owned(filter.input))?;
        self.filtered(below, split_conjunction_owned(filter.predicate))
    }

    /// One filter for each predicate with calls, so that the next model sees only what the last one left.
    fn filtered(&mut self, below: Lifted, mut predicates: Vec<Expr>) -> Result<Lifted> {
        if !self.keep_order {
            predicates.sort_by(|left, right| time_per_rejected_row(left).total_cmp(&time_per_rejected_row(right)));
        }
        let Lifted { mut plan, mut known } = below;
        let mut cheap: Vec<Expr> = Vec::new();
        for predicate in predicates {
            let is_cheap = !calls_models(&predicate);
            if !is_cheap {
                plan = keep(std::mem::take(&mut cheap), plan)?;
            }
            let mut needs = Needs::new(known);
            needs.decides = (!is_cheap).then(|| predicate.to_string());
            let predicate = self.expression(predicate, &Path::default(), &mut needs)?;
            (plan, known) = needs.place(plan)?;
            if is_cheap {
                cheap.push(predicate);
            } else {
                plan = keep(vec![predicate], plan)?;
            }
        }
        Ok(Lifted { plan: keep(cheap, plan)?, known })
    }

    /// Calls go to the side that they depend on. One that depends on both becomes a filter above an inner join; in
    /// other joins it stays where it is.
    fn join(&mut self, join: Join) -> Result<Lifted> {
        let (left, right) = (self.lift(owned(join.left))?, self.lift(owned(join.right))?);
        let (mut of_left, mut of_right) = (Needs::new(left.known), Needs::new(right.known));
        let mut on = Vec::with_capacity(join.on.len());
        for (first, second) in join.on {
            on.push((self.expression(first, &Path::default(), &mut of_left)?, self.expression(second, &Path::default(), &mut of_right)?));
        }
        let (mut inside, mut above) = (Vec::new(), Vec::new());
        for predicate in join.filter.map(split_conjunction_owned).unwrap_or_default() {
            let on_side = |plan: &LogicalPlan| predicate.column_refs().into_iter().all(|column| plan.schema().has_column(column));
            if !calls_models(&predicate) {
                inside.push(predicate);
            } else if on_side(&left.plan) {
                inside.push(self.expression(predicate, &Path::default(), &mut of_left)?);
            } else if on_side(&right.plan) {
                inside.push(self.expression(predicate, &Path::default(), &mut of_right)?);
            } else {
                let predicate = self.one_sided(predicate, &left.plan, &mut of_left)?;
                let predicate = self.one_sided(predicate, &right.plan, &mut of_right)?;
                if calls_models(&predicate) && join.join_type == JoinType::Inner { above.push(predicate) } else { inside.push(predicate) }
            }
        }
        let (left, left_known) = of_left.place(left.plan)?;
        let (right, right_known) = of_right.place(right.plan)?;
        let known = match join.join_type {
            JoinType::Inner => left_known.into_iter().chain(right_known).collect(),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left_known,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right_known,
            JoinType::Full => Vec::new(),
        };
        let joined = Join { left: Arc::new(left), right: Arc::new(right), on, filter: conjunction(inside), ..join };
        let below = Lifted { plan: LogicalPlan::Join(joined).recompute_schema()?, known };
        if above.is_empty() { Ok(below) } else { self.filtered(below, above) }
    }

    /// Lifts those calls of a predicate that use columns of one side only; without guards, which may use both.
    fn one_sided(&mut self, predicate: Expr, side: &LogicalPlan, needs: &mut Needs) -> Result<Expr> {
        let replaced = predicate.transform_up(|expr| {
            let is_own = called(&expr).is_some() && expr.column_refs().into_iter().all(|column| side.schema().has_column(column));
            if is_own { self.expression(expr, &Path::default(), needs).map(Transformed::yes) } else { Ok(Transformed::no(expr)) }
        })?;
        Ok(replaced.data)
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let is_subquery =
        |expr: &Expr| matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_));
    expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(false)
}

fn keep(predicates: Vec<Expr>, plan: LogicalPlan) -> Result<LogicalPlan> {
    match conjunction(predicates) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?)),
        None => Ok(plan),
    }
}

/// Share of rows that a predicate keeps which was never seen.
const UNKNOWN_SELECTIVITY: f64 = 0.5;

/// What it takes to be rid of a row by a predicate: the time of its calls over the share of rows that it rejects.
/// Predicates in this order cost the least together, if they are independent (Hellerstein and Stonebraker, 1993).
fn time_per_rejected_row(predicate: &Expr) -> f64 {
    let (time, text) = (row_time(predicate).as_secs_f64(), predicate.to_string());
    let mut selectivity = None;
    // What is found is what matters; the walk itself cannot fail.
    let _ = predicate.exists(|expr| {
        selectivity = called(expr).and_then(|function| function.learned().selectivity(&text));
        Ok(selectivity.is_some())
    });
    time / (1.0 - selectivity.unwrap_or(UNKNOWN_SELECTIVITY)).max(1e-6)
}

/// Whether a projection lets through all columns that a call's arguments use.
fn passes(exprs: &[Expr], known: &Known) -> bool {
    let call = known.call.expressions();
    call.iter().flat_map(Expr::column_refs).all(|column| exprs.iter().any(|expr| matches!(expr, Expr::Column(own) if own == column)))
}

/// The column under the name that it has behind the projection, which it is added to if need be; not where another has its
/// name there, as in `x.label AS x`.
fn handed_on(exprs: &mut Vec<Expr>, known: Known) -> Option<Known> {
    let is_it = |expr: &Expr| matches!(expr, Expr::Column(column) if *column == known.column);
    let aliased = exprs.iter().find_map(|expr| match expr {
        Expr::Alias(alias) if is_it(&alias.expr) => Some(Column::new(alias.relation.clone(), &alias.name)),
        expr if is_it(expr) => Some(known.column.clone()),
        _ => None,
    });
    if let Some(column) = aliased {
        return Some(Known { column, ..known });
    }
    if exprs.iter().any(|expr| expr.qualified_name().1 == known.column.name) {
        return None;
    }
    exprs.push(Expr::Column(known.column.clone()));
    Some(known)
}
