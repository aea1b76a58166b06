//! Calls out of one expression, with their guards.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{AggregateFunction, BinaryExpr, Exists, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::{Case, Expr, Operator, Subquery, binary_expr};

use super::guards::{Path, is_of_one_row};
use super::needs::Needs;
use super::plan::Lift;
use super::{called, owned, row_time};
use crate::infer::InferCall;

impl Lift {
    /// `expr` with columns in place of its calls, which are added to `needs`. `path` leads to it.
    pub(super) fn expression(&mut self, expr: Expr, path: &Path, needs: &mut Needs) -> Result<Expr> {
        match expr {
            Expr::Case(case) if case.when_then_expr.len() < 64 => self.case(case, path, needs),
            Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), left, right }) => {
                self.connective(op, [*left, *right], path, needs)
            }
            Expr::AggregateFunction(aggregate) => self.aggregate(aggregate, path, needs),
            Expr::ScalarFunction(function) => self.function(function, path, needs),
            Expr::ScalarSubquery(subquery) => Ok(Expr::ScalarSubquery(self.subquery(subquery)?)),
            Expr::Exists(Exists { subquery, negated }) => Ok(Expr::Exists(Exists { subquery: self.subquery(subquery)?, negated })),
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let expr = Box::new(self.expression(*expr, path, needs)?);
                Ok(Expr::InSubquery(InSubquery { expr, subquery: self.subquery(subquery)?, negated }))
            }
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                let expr = Box::new(self.expression(*expr, path, needs)?);
                Ok(Expr::SetComparison(SetComparison { expr, subquery: self.subquery(subquery)?, op, quantifier }))
            }
            other => other.map_children(|child| self.expression(child, path, needs).map(Transformed::yes)).map(|done| done.data),
        }
    }

    /// One that uses columns of the query around it stays as it is until it is a join: DataFusion's rules for that do
    /// not look through our nodes.
    fn subquery(&mut self, subquery: Subquery) -> Result<Subquery> {
        if !subquery.outer_ref_columns.is_empty() {
            return Ok(subquery);
        }
        let plan = self.sealed(owned(Arc::clone(&subquery.subquery)))?;
        Ok(subquery.with_plan(Arc::new(plan)))
    }

    /// A branch is reached where its condition is true and none before it was.
    fn case(&mut self, case: Case, path: &Path, needs: &mut Needs) -> Result<Expr> {
        let operand = case.expr.map(|operand| self.expression(*operand, path, needs)).transpose()?;
        let mut open = path.clone();
        let mut branches = Vec::with_capacity(case.when_then_expr.len());
        for (when, then) in case.when_then_expr {
            let when = self.expression(*when, &open, needs)?;
            let condition = match &operand {
                Some(operand) => binary_expr(operand.clone(), Operator::Eq, when.clone()),
                None => when.clone(),
            };
            let then = self.expression(*then, &open.then(condition.clone().is_true()), needs)?;
            open = open.then(condition.is_not_true());
            branches.push((Box::new(when), Box::new(then)));
        }
        let otherwise = case.else_expr.map(|other| self.expression(*other, &open, needs)).transpose()?;
        Ok(Expr::Case(Case::new(operand.map(Box::new), branches, otherwise.map(Box::new))))
    }

    /// AND and OR: the cheapest operands are looked at first, or all in their order where it is to be kept.
    fn connective(&mut self, op: Operator, sides: [Expr; 2], path: &Path, needs: &mut Needs) -> Result<Expr> {
        let operands: Vec<Expr> = sides.into_iter().flat_map(|side| flat(side, op)).collect();
        let mut order: Vec<usize> = (0..operands.len()).collect();
        if !self.keep_order {
            order.sort_by_key(|index| row_time(&operands[*index]));
        }
        let mut done: Vec<Option<Expr>> = vec![None; operands.len()];
        let mut open = path.clone();
        let mut operands: Vec<Option<Expr>> = operands.into_iter().map(Some).collect();
        for index in order {
            let Some(operand) = operands[index].take() else { continue };
            let operand = self.expression(operand, &open, needs)?;
            let undecided = if op == Operator::And { operand.clone().is_not_false() } else { operand.clone().is_not_true() };
            open = open.then(undecided);
            done[index] = Some(operand);
        }
        let joined = done.into_iter().flatten().reduce(|left, right| binary_expr(left, op, right));
        joined.ok_or_else(|| datafusion::common::internal_datafusion_err!("{op} without operands"))
    }

    /// FILTER decides which rows an aggregate sees.
    fn aggregate(&mut self, aggregate: AggregateFunction, path: &Path, needs: &mut Needs) -> Result<Expr> {
        let AggregateFunction { func, mut params } = aggregate;
        let mut inside = path.clone();
        if let Some(filter) = params.filter.take() {
            let filter = self.expression(*filter, path, needs)?;
            inside = path.then(filter.clone().is_true());
            params.filter = Some(Box::new(filter));
        }
        params.args = self.all(params.args, &inside, needs)?;
        for sort in &mut params.order_by {
            sort.expr = self.expression(sort.expr.clone(), &inside, needs)?;
        }
        Ok(Expr::AggregateFunction(AggregateFunction { func, params }))
    }

    fn all(&mut self, exprs: Vec<Expr>, path: &Path, needs: &mut Needs) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.expression(expr, path, needs)).collect()
    }

    fn function(&mut self, function: ScalarFunction, path: &Path, needs: &mut Needs) -> Result<Expr> {
        let ScalarFunction { func, args } = function;
        let args = match (func.name(), args.len()) {
            ("coalesce", _) | ("nvl" | "ifnull", 2) => {
                let mut open = path.clone();
                let mut done = Vec::with_capacity(args.len());
                for arg in args {
                    let arg = self.expression(arg, &open, needs)?;
                    open = open.then(arg.clone().is_null());
                    done.push(arg);
                }
                done
            }
            ("nvl2" | "nullif", _) => {
                let mut args = args.into_iter();
                let mut done = Vec::new();
                if let Some(first) = args.next() {
                    let first = self.expression(first, path, needs)?;
                    let (present, absent) = (path.then(first.clone().is_not_null()), path.then(first.clone().is_null()));
                    done.push(first);
                    for (arg, reached) in args.zip([present, absent]) {
                        done.push(self.expression(arg, &reached, needs)?);
                    }
                }
                done
            }
            _ => self.all(args, path, needs)?,
        };
        let call = Expr::ScalarFunction(ScalarFunction { func, args });
        if called(&call).is_none() || !is_of_one_row(&call) {
            return Ok(call);
        }
        let Expr::ScalarFunction(ScalarFunction { func, mut args }) = call else { unreachable!("built above") };
        let model = args.remove(0);
        let column = self.name();
        let call = InferCall { func, model, args, guard: path.guard(), column, is_repeated: false, decides: None };
        Ok(Expr::Column(needs.column(call)))
    }
}

fn flat(expr: Expr, op: Operator) -> Vec<Expr> {
    match expr {
        Expr::BinaryExpr(binary) if binary.op == op => flat(*binary.left, op).into_iter().chain(flat(*binary.right, op)).collect(),
        other => vec![other],
    }
}
