//! `mm_runs()`: the runs that the ledger knows, as a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, RecordBatch, UInt64Array};
use arrow::datatypes::Date32Type;
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};

use super::{SqlJobs, table, texts};
use crate::ledger::{Outcome, RunRecord};

/// What a reference page says of a table function.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// How it is called.
    pub syntax: &'static str,
    /// What it gives.
    pub description: &'static str,
    /// A query with it.
    pub example: &'static str,
}

/// `mm_runs()`
pub const ENTRY: Entry = Entry {
    name: "mm_runs",
    syntax: "mm_runs()",
    description: "The runs of jobs that the ledger knows, the newest first: run, job, run_date, state, started_at, finished_at (UTC), seconds, rows_in, rows_out, rejected, cached, chunks, models, output, output_sha256, error. Where the ledger is say `--ledger` and SENSORIUM_LEDGER.",
    example: "SELECT job, run_date, rows_out, seconds FROM mm_runs() WHERE state = 'done'",
};

/// Runs that are listed.
const MOST_RUNS: u64 = 100_000;

#[derive(Debug)]
pub(super) struct Runs(pub(super) SqlJobs);

impl TableFunctionImpl for Runs {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        if !args.exprs().is_empty() {
            return plan_err!("mm_runs takes no arguments");
        }
        let failed = |error: crate::JobError| DataFusionError::External(Box::new(error));
        let runs = match self.0.known_ledger().map_err(failed)? {
            Some(ledger) => ledger.runs(None, MOST_RUNS).map_err(failed)?,
            None => Vec::new(),
        };
        let batch = batch(&runs).map_err(failed)?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}

fn batch(runs: &[RunRecord]) -> crate::Result<RecordBatch> {
    let text = |value: &dyn Fn(&RunRecord) -> Option<String>| texts(runs.iter().map(value).collect());
    let outcome = |value: &dyn Fn(&Outcome) -> Option<String>| texts(runs.iter().map(|run| run.outcome.as_ref().and_then(value)).collect());
    let number = |value: &dyn Fn(&Outcome) -> Option<u64>| -> ArrayRef {
        Arc::new(runs.iter().map(|run| run.outcome.as_ref().and_then(value)).collect::<UInt64Array>())
    };
    let dates: Date32Array = runs.iter().map(|run| Some(Date32Type::from_naive_date(run.run_date))).collect();
    let seconds: Float64Array = runs.iter().map(|run| run.outcome.as_ref().map(|outcome| outcome.seconds)).collect();
    let models =
        |run: &RunRecord| Some(run.models.iter().map(|model| format!("{}@{}", model.name, model.version)).collect::<Vec<_>>().join(", "));
    table([
        ("run", text(&|run| Some(run.run.clone()))),
        ("job", text(&|run| Some(run.job.clone()))),
        ("run_date", Arc::new(dates) as ArrayRef),
        ("state", text(&|run| Some(run.state.to_string()))),
        ("started_at", text(&|run| Some(run.started_at.clone()))),
        ("finished_at", outcome(&|outcome| Some(outcome.finished_at.clone()))),
        ("seconds", Arc::new(seconds)),
        ("rows_in", number(&|outcome| outcome.rows_in)),
        ("rows_out", number(&|outcome| Some(outcome.rows_out))),
        ("rejected", number(&|outcome| Some(outcome.rejected))),
        ("cached", number(&|outcome| Some(outcome.cached))),
        ("chunks", number(&|outcome| Some(outcome.chunks))),
        ("models", text(&models)),
        ("output", outcome(&|outcome| Some(outcome.output.clone()))),
        ("output_sha256", outcome(&|outcome| Some(outcome.output_sha256.clone()))),
        ("error", text(&|run| run.error.clone())),
    ])
}
