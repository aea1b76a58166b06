//! The calls that one node needs, as columns.

use std::collections::BTreeSet;

use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::infer::{Guard, Infer, InferCall};

/// A column that holds the results of a call.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) call: InferCall,
    /// What the column is called where it is known.
    pub(super) column: Column,
}

impl Known {
    /// Whether the column also serves a call with this guard.
    fn serves(&self, call: &InferCall) -> bool {
        let is_same = self.call.func == call.func && self.call.args == call.args;
        is_same && (self.call.guard.is_none() || self.call.guard == call.guard)
    }
}

/// Calls that were met in the expressions of a node, and those that its input has computed already.
#[derive(Debug, Default)]
pub(super) struct Needs {
    known: Vec<Known>,
    new: Vec<InferCall>,
    /// The predicate that the last of the new calls completes.
    pub(super) decides: Option<String>,
}

impl Needs {
    pub(super) fn new(known: Vec<Known>) -> Self {
        Self { known, ..Self::default() }
    }

    /// The column that holds the call's results.
    pub(super) fn column(&mut self, call: InferCall) -> Column {
        if let Some(known) = self.known.iter().find(|known| known.serves(&call)) {
            return known.column.clone();
        }
        let same = (0..self.new.len()).filter(|index| self.new[*index].func == call.func && self.new[*index].args == call.args);
        let joined = same.into_iter().find_map(|index| Some((index, self.joined(&self.new[index], &call)?)));
        match joined {
            Some((index, guard)) => {
                self.new[index].guard = guard;
                Column::from_name(&self.new[index].column)
            }
            None => {
                let column = Column::from_name(&call.column);
                self.new.push(call);
                column
            }
        }
    }

    /// The guard under which one column serves both calls. There is none where it would need the results of the call
    /// itself: as when a second use waits for another call, which waits for the first use. Then there are two columns,
    /// and rows that both need are told by their values.
    fn joined(&self, own: &InferCall, call: &InferCall) -> Option<Guard> {
        let guard = own.guard.clone().or(call.guard.clone())?;
        let is_circular = guard.expressions().any(|condition| self.depends(condition, &own.column, &mut BTreeSet::new()));
        (!is_circular).then_some(guard)
    }

    /// Whether `expr` uses the results of `column`, directly or through other calls.
    fn depends(&self, expr: &Expr, column: &str, seen: &mut BTreeSet<String>) -> bool {
        expr.column_refs().into_iter().any(|used| {
            used.name == column
                || (seen.insert(used.name.clone())
                    && self
                        .new
                        .iter()
                        .find(|call| call.column == used.name)
                        .is_some_and(|call| call.expressions().iter().any(|expr| self.depends(expr, column, seen))))
        })
    }

    /// Puts `Infer` nodes for the new calls on `input`, each behind those that it uses.
    pub(super) fn place(self, mut input: LogicalPlan) -> Result<(LogicalPlan, Vec<Known>)> {
        let Self { mut known, mut new, decides } = self;
        while !new.is_empty() {
            let waits = |call: &InferCall| {
                let expressions = call.expressions();
                let used: BTreeSet<&str> = expressions.iter().flat_map(Expr::column_refs).map(|column| column.name.as_str()).collect();
                new.iter().any(|other| used.contains(other.column.as_str()))
            };
            let Some(next) = new.iter().position(|call| !waits(call)) else { return internal_err!("calls that wait for each other") };
            let mut call = new.remove(next);
            if new.is_empty() {
                call.decides.clone_from(&decides);
            }
            known.push(Known { column: Column::from_name(&call.column), call: call.clone() });
            input = Infer::try_new(input, call)?.into_plan();
        }
        Ok((input, known))
    }
}
