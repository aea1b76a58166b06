//! `mm_predict(..).score`: the dot behind a function call.
//!
//! DataFusion 55's SQL planner reads a dot behind a column only, and brackets with a string everywhere; so the dot is
//! rewritten to brackets before it plans.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Subscript, Value, VisitMut, visit_expressions_mut};

/// Rewrites `f(..).a` to `f(..)['a']` in the whole statement; names are in lower case unless quoted, as elsewhere.
pub(crate) fn rewrite_dots(statement: &mut Statement) {
    match statement {
        Statement::Statement(inner) => rewrite(inner.as_mut()),
        Statement::Explain(explain) => rewrite_dots(&mut explain.statement),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                rewrite(query.as_mut());
            }
        }
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {}
    }
}

fn rewrite(part: &mut impl VisitMut) {
    let _: ControlFlow<()> = visit_expressions_mut(part, |expr| {
        if let Expr::CompoundFieldAccess { root, access_chain } = expr
            && !matches!(**root, Expr::Identifier(_))
        {
            access_chain.iter_mut().for_each(rewrite_access);
        }
        ControlFlow::Continue(())
    });
}

fn rewrite_access(access: &mut AccessExpr) {
    if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
        let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
        let index = Expr::Value(Value::SingleQuotedString(name).into());
        *access = AccessExpr::Subscript(Subscript::Index { index });
    }
}
