//! What monitoring reads: OpenMetrics (openmetrics.io), made of the ledger when it is asked for.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64};

use chrono::{DateTime, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::error::{JobError, Result};
use crate::job_file::Job;
use crate::ledger::{Ledger, RunState};
use crate::serve::job_files;

type Labels = Vec<(String, String)>;
type Number = Family<Labels, Gauge<i64, AtomicI64>>;
type Real = Family<Labels, Gauge<f64, AtomicU64>>;

/// Runs that are looked at for each job.
const LAST_RUNS: u64 = 100;

/// The figures of all jobs of a folder, as text.
pub(crate) fn metrics(folder: &Path, ledger: &Ledger, now: DateTime<Utc>) -> Result<String> {
    let mut registry = Registry::with_prefix("sensorium_job");
    let (success, seconds) = (Real::default(), Real::default());
    let (rows, rejected, cached, running, failed, readable) =
        (Number::default(), Number::default(), Number::default(), Number::default(), Number::default(), Number::default());
    let (next, checks) = (Real::default(), Real::default());
    let mut timed = |name: &str, help: &str, family: &Real| registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    timed("last_success_timestamp", "When the last run that is done was finished, Unix time", &success);
    timed("last_duration", "Time of the last run that is done", &seconds);
    timed("next_run_timestamp", "When the job is due next, Unix time", &next);
    registry.register("last_rows", "Rows of the last output", rows.clone());
    registry.register("last_rejected_rows", "Failures of rows of the last run that is done", rejected.clone());
    registry.register("last_cached_rows", "Different rows of it whose results were known already", cached.clone());
    registry.register("running", "Runs that have begun and neither ended nor failed", running.clone());
    registry.register("failed", "Whether the last run has failed", failed.clone());
    registry.register("file_readable", "Whether the job's file makes sense", readable.clone());
    registry.register("last_check", "Figures of the checks of the last run that is done", checks.clone());
    for file in job_files(folder)? {
        let job = Job::read(&file);
        let name =
            job.as_ref().map_or_else(|_| file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), |job| job.name.clone());
        let labels = vec![("job".to_string(), name)];
        readable.get_or_create(&labels).set(job.is_ok().into());
        let Ok(job) = job else { continue };
        if let Some(time) = job.file.schedule.as_ref().and_then(|schedule| schedule.next(now).ok()) {
            next.get_or_create(&labels).set(time.timestamp() as f64);
        }
        let runs = ledger.runs(Some(&job.name), LAST_RUNS)?;
        running.get_or_create(&labels).set(runs.iter().filter(|run| run.state == RunState::Running).count() as i64);
        failed.get_or_create(&labels).set(runs.first().is_some_and(|run| run.state == RunState::Failed).into());
        let Some((run, outcome)) = runs.iter().find_map(|run| Some((run, run.outcome.as_ref()?))) else { continue };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if let Ok(time) = DateTime::parse_from_rfc3339(&outcome.finished_at) {
            success.get_or_create(&labels).set(time.timestamp_millis() as f64 / 1_000.0);
        }
        seconds.get_or_create(&labels).set(outcome.seconds);
        rows.get_or_create(&labels).set(whole(outcome.rows_out));
        rejected.get_or_create(&labels).set(whole(outcome.rejected));
        cached.get_or_create(&labels).set(whole(outcome.cached));
        for check in ledger.checks(&run.run)? {
            let labels = labels.iter().cloned().chain([("check".to_string(), check.what)]).collect();
            if let Some(value) = check.value {
                checks.get_or_create(&labels).set(value);
            }
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| JobError::new(format!("metrics: {error}")))?;
    Ok(text)
}
