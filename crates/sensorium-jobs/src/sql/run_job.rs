//! `RUN JOB`: a run as `sensorium job run` makes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use chrono::{NaiveDate, Utc};
use sensorium_engine::Session;
use tokio::runtime::Handle;

use super::{SqlJobs, no_such_job, status};
use crate::error::{JobError, Result};
use crate::job_file::Job;
use crate::ledger::Ledger;
use crate::run::{RunRequest, run};

/// Tells a run to stop when its future is dropped.
#[derive(Debug, Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn run_job(jobs: &SqlJobs, session: &Session, name: &str, date: Option<&str>, force: bool) -> Result<RecordBatch> {
    let path = jobs.file(name, "toml");
    if !path.exists() {
        return Err(no_such_job(name));
    }
    let job = Job::read(&path)?;
    let date = match date {
        Some(date) => date
            .parse::<NaiveDate>()
            .map_err(|_| JobError::new(format!("'{date}' is no date")).with_hint("RUN JOB name FOR '2026-11-28'"))?,
        None => job.today(Utc::now())?,
    };
    let (place, models) = (jobs.ledger.clone(), session.models().to_string());
    // A run is no future that every runtime may move from thread to thread.
    let runtime = Handle::current();
    // Who does not wait for it any more has it stop behind its chunk.
    let guard = StopOnDrop::default();
    let stop = Arc::clone(&guard.0);
    let work = move || {
        let ledger = Ledger::open(&place)?;
        let request = RunRequest { job: &job, date, force, models: Some(&models), stop: Some(&stop) };
        runtime.block_on(run(&ledger, &request, &|_| {}))
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| JobError::new(format!("the run ended early: {error}")))??;
    let before = if done.was_done { " was done already" } else { " done" };
    status(format!("{}{before}: {} rows, {} failures", done.run, done.rows, done.rejected))
}
