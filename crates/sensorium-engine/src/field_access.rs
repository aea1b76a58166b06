//! `mm_predict(..).score`: the dot behind a function call.
//!
//! DataFusion 55's SQL planner reads a dot behind a column only, and brackets with a string everywhere; so the dot is
//! rewritten to brackets before it plans.

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Subscript, Value};

/// Rewrites `f(..).a` to `f(..)['a']`; names are in lower case unless quoted, as elsewhere.
pub(crate) fn rewrite_dots(expr: &mut Expr) {
    if let Expr::CompoundFieldAccess { root, access_chain } = expr
        && !matches!(**root, Expr::Identifier(_))
    {
        access_chain.iter_mut().for_each(rewrite_access);
    }
}

fn rewrite_access(access: &mut AccessExpr) {
    if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
        let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
        let index = Expr::Value(Value::SingleQuotedString(name).into());
        *access = AccessExpr::Subscript(Subscript::Index { index });
    }
}
