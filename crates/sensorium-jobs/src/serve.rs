//! The scheduler: runs what is due, one run after another, until it is told to stop.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::due::due;
use crate::error::{JobError, Result};
use crate::job_file::Job;
use crate::ledger::Ledger;
use crate::run::{Finished, RunRequest, Step, run};
use crate::watch::Watch;

/// How often the clock is looked at: it may be set, and job files may change.
const TICK: Duration = Duration::from_secs(1);

/// What the scheduler tells of.
#[derive(Debug)]
pub enum Event<'e> {
    /// A job file cannot be read; the others go on.
    Refused {
        /// Which.
        file: &'e Path,
        /// Why.
        error: &'e JobError,
    },
    /// A run has come so far.
    Step {
        /// Its job.
        job: &'e str,
        /// Its date.
        date: chrono::NaiveDate,
        /// How far.
        step: Step,
    },
    /// A run is done.
    Done(&'e Finished),
    /// A run has stopped with an error.
    Failed {
        /// Its job.
        job: &'e str,
        /// Why.
        error: &'e JobError,
    },
}

/// The job files of a folder, in the order of their names.
///
/// # Errors
/// Where the folder cannot be read.
pub fn job_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| JobError::new(format!("cannot read {}: {error}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(failed)?.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    Ok(files)
}

/// Runs what is due of the jobs in `folder` until `stop` is set; a run that is going on then stops behind its chunk, and is gone on with
/// by the next scheduler. Several schedulers on one ledger share the work: each run is made by one of them.
///
/// # Errors
/// Where folder or ledger cannot be read. A run that fails is told, and does not end the others.
pub async fn serve(
    folder: &Path,
    ledger: &Ledger,
    models: Option<&str>,
    stop: &AtomicBool,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    // By job and schedule: a new one has missed nothing.
    let mut watches: HashMap<(String, String), Watch> = HashMap::new();
    let mut refused: Vec<(PathBuf, String)> = Vec::new();
    // Runs that have failed here, which would fail again each second.
    let mut failed: Vec<(String, chrono::NaiveDate)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut seen = HashSet::new();
        for file in job_files(folder)? {
            let job = match Job::read(&file) {
                Ok(job) => job,
                Err(error) => {
                    let known = (file.clone(), error.to_string());
                    if !refused.contains(&known) {
                        tell(Event::Refused { file: &file, error: &error });
                        refused.push(known);
                    }
                    continue;
                }
            };
            let Some(schedule) = &job.file.schedule else { continue };
            let key = (job.name.clone(), format!("{} {}", schedule.cron, schedule.time_zone));
            seen.insert(key.clone());
            let (now, steady) = (Utc::now(), Instant::now());
            let watched = watches.entry(key).or_insert_with(|| Watch::new(now, steady)).look(now, steady);
            let dates = match due(&job, ledger, watched, now) {
                Ok(dates) => dates,
                // A server may be back in a while.
                Err(error) => {
                    let known = (file.clone(), error.to_string());
                    if !refused.contains(&known) {
                        tell(Event::Failed { job: &job.name, error: &error });
                        refused.push(known);
                    }
                    continue;
                }
            };
            for date in dates {
                if stop.load(Ordering::Relaxed) || failed.contains(&(job.name.clone(), date)) {
                    continue;
                }
                let request = RunRequest { job: &job, date, force: false, models, stop: Some(stop) };
                match run(ledger, &request, &|step| tell(Event::Step { job: &job.name, date, step })).await {
                    Ok(done) if done.was_done => {}
                    Ok(done) => tell(Event::Done(&done)),
                    // Another scheduler has it; should that end, this one goes on with it.
                    Err(error) if error.is_busy() => {}
                    Err(error) => {
                        tell(Event::Failed { job: &job.name, error: &error });
                        failed.push((job.name.clone(), date));
                    }
                }
            }
        }
        watches.retain(|key, _| seen.contains(key));
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}
