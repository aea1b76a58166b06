//! What is changed in a statement before DataFusion plans it.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{Expr, TableFactor, VisitMut, VisitorMut};

use crate::field_access::rewrite_dots;
use crate::functions::rewrite_searched_table;

/// Rewrites dots behind calls, and the tables that searches name, in the whole statement.
pub(crate) fn rewrite(statement: &mut Statement) {
    match statement {
        Statement::Statement(inner) => visit(inner.as_mut()),
        Statement::Explain(explain) => rewrite(&mut explain.statement),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                visit(query.as_mut());
            }
        }
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {}
    }
}

fn visit(part: &mut impl VisitMut) {
    let _: ControlFlow<()> = part.visit(&mut Rewrites);
}

struct Rewrites;

impl VisitorMut for Rewrites {
    type Break = ();

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        rewrite_searched_table(relation);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        rewrite_dots(expr);
        ControlFlow::Continue(())
    }
}
