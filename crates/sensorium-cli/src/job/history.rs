//! What the ledger knows, as tables.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use sensorium_jobs::{Ledger, RunRecord, SqlJobs, report};

use super::known_ledger;
use crate::output::{print_batch, print_text};
use crate::run::{Failure, Result, failed};

pub(super) fn list(folder: &Path, ledger: &str) -> Result<ExitCode> {
    let jobs = SqlJobs { folder: folder.to_path_buf(), ledger: ledger.to_string() };
    print_batch(&jobs.show()?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(job: Option<&str>, last: u64, ledger: &str) -> Result<ExitCode> {
    let runs = known_ledger(ledger)?.runs(job, last)?;
    let text = |value: &dyn Fn(&RunRecord) -> Option<String>| texts(runs.iter().map(value).collect());
    let number = |value: &dyn Fn(&RunRecord) -> Option<u64>| -> ArrayRef { Arc::new(runs.iter().map(value).collect::<UInt64Array>()) };
    let columns: [(&str, ArrayRef); 9] = [
        ("run", text(&|run| Some(run.run.clone()))),
        ("state", text(&|run| Some(run.state.to_string()))),
        ("started_at", text(&|run| Some(run.started_at.clone()))),
        ("seconds", text(&|run| run.outcome.as_ref().map(|outcome| format!("{:.1}", outcome.seconds)))),
        ("rows", number(&|run| run.outcome.as_ref().map(|outcome| outcome.rows_out))),
        ("rejected", number(&|run| run.outcome.as_ref().map(|outcome| outcome.rejected))),
        (
            "models",
            text(&|run| Some(run.models.iter().map(|model| format!("{}@{}", model.name, model.version)).collect::<Vec<_>>().join(", "))),
        ),
        ("output", text(&|run| run.outcome.as_ref().map(|outcome| outcome.output.clone()))),
        ("error", text(&|run| run.error.clone())),
    ];
    table(columns)
}

pub(super) fn logs(run: &str, ledger: &str) -> Result<ExitCode> {
    let ledger = known_ledger(ledger)?;
    known_run(&ledger, run)?;
    let (times, lines): (Vec<_>, Vec<_>) = ledger.lines(run)?.into_iter().map(|(time, line)| (Some(time), Some(line))).unzip();
    table([("at", texts(times)), ("line", texts(lines))])
}

pub(super) fn report_of(run: &str, to: Option<&Path>, ledger: &str) -> Result<ExitCode> {
    let page = report(&known_ledger(ledger)?, run)?;
    match to {
        None => print_text(&page)?,
        Some(path) => std::fs::write(path, page).map_err(|error| failed(format!("cannot write {}", path.display()))(&error))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn failures(run: &str, last: u64, ledger: &str) -> Result<ExitCode> {
    let ledger = known_ledger(ledger)?;
    known_run(&ledger, run)?;
    let found = ledger.failures(run, last)?;
    let text = |value: &dyn Fn(&sensorium_jobs::FailureRecord) -> Option<String>| texts(found.iter().map(value).collect());
    table([
        ("key", text(&|row| row.row_key.clone())),
        ("uri", text(&|row| row.uri.clone())),
        ("function", text(&|row| Some(row.function.clone()))),
        ("model", text(&|row| row.model.clone())),
        ("step", text(&|row| Some(row.step.clone()))),
        ("code", text(&|row| Some(row.code.clone()))),
        ("message", text(&|row| Some(row.message.clone()))),
    ])
}

fn known_run(ledger: &Ledger, run: &str) -> Result {
    match ledger.run(run)? {
        Some(_) => Ok(()),
        None => Err(Failure(format!("no such run: {run}\n\nhint: `sensorium job status` lists runs"))),
    }
}

fn texts(values: Vec<Option<String>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn table<'n>(columns: impl IntoIterator<Item = (&'n str, ArrayRef)>) -> Result<ExitCode> {
    let columns = columns.into_iter().map(|(name, values)| (name, values, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| failed("cannot print")(&error))?;
    print_batch(&batch)?;
    Ok(ExitCode::SUCCESS)
}
