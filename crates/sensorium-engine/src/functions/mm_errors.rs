//! `mm_errors()`: the rows that failed in this session.

use std::sync::Arc;

use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::Result;

use super::TableFunctionEntry;
use crate::engine::Engine;

#[derive(Debug)]
struct Errors(Arc<Engine>);

pub(super) fn entry(engine: &Arc<Engine>) -> TableFunctionEntry {
    TableFunctionEntry {
        name: "mm_errors",
        syntax: "mm_errors()",
        description: "The rows that became NULL because they failed while mm.on_error was 'null': query (statements of the session are counted), function, \
                      model, row, key (the values of mm.row_key), uri, step, code, message, hint.",
        example: "SELECT row, uri, step, message FROM mm_errors()",
        implementation: Some(Arc::new(Errors(Arc::clone(engine)))),
    }
}

impl TableFunctionImpl for Errors {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        if !args.exprs().is_empty() {
            return plan_err!("mm_errors takes no arguments");
        }
        let batch = self.0.ledger.to_batch()?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}
