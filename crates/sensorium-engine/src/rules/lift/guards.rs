//! Conditions under which a row reaches a call.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;

use crate::infer::Guard;

/// The conditions that lie on the way to a place in an expression, outermost first.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    conditions: Vec<Expr>,
    /// Whether some condition could not be repeated, so that neither can those behind it: they may hold on it.
    is_cut: bool,
}

impl Path {
    /// The way behind one further condition. One that may give something else when it is evaluated a second time is left
    /// out: the call then runs on more rows than it must, never on fewer.
    pub(super) fn then(&self, condition: Expr) -> Self {
        let mut path = self.clone();
        path.is_cut |= !is_of_one_row(&condition);
        if !path.is_cut && !path.conditions.contains(&condition) {
            path.conditions.push(condition);
        }
        path
    }

    /// The rows that come this way.
    pub(super) fn guard(&self) -> Guard {
        Guard::of(self.conditions.clone())
    }
}

/// Whether an expression can be computed from one row of the node's input, always with the same result.
pub(super) fn is_of_one_row(expr: &Expr) -> bool {
    let is_foreign = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Lambda(_)
                | Expr::LambdaVariable(_)
                | Expr::Unnest(_)
        )
    };
    !expr.is_volatile() && !expr.exists(|expr| Ok(is_foreign(expr))).unwrap_or(true)
}
