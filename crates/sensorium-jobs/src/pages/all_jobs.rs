//! All jobs of a folder, with their last run.

use std::path::Path;

use chrono::{DateTime, Utc};
use sensorium_report::{Part, Report, Section, Table};

use super::{count, duration, minute, of};
use crate::error::Result;
use crate::job_file::Job;
use crate::ledger::Ledger;
use crate::serve::job_files;

/// Runs that are listed.
const LAST_RUNS: u64 = 30;

/// The page of a folder of jobs.
pub(crate) fn all_jobs(folder: &Path, ledger: &Ledger, now: DateTime<Utc>) -> Result<Report> {
    let mut jobs = Table::new(&["job", "next (its clock)", "last run", "state", "rows", "failures", "took", "what for"]);
    for file in job_files(folder)? {
        match Job::read(&file) {
            Ok(job) => {
                let next = job.file.schedule.as_ref().and_then(|schedule| schedule.next(now).ok());
                let next = next.map_or_else(|| "by hand".to_string(), |next| next.format("%Y-%m-%d %H:%M %Z").to_string());
                let last = ledger.runs(Some(&job.name), 1)?.into_iter().next();
                let text = |figure: &dyn Fn(&crate::RunRecord) -> String| last.as_ref().map_or_else(String::new, figure);
                jobs.push([
                    job.name.clone(),
                    next,
                    text(&|run| run.run_date.to_string()),
                    text(&|run| run.state.to_string()),
                    text(&|run| of(run, |outcome| count(outcome.rows_out))),
                    text(&|run| of(run, |outcome| count(outcome.rejected))),
                    text(&|run| of(run, |outcome| duration(outcome.seconds))),
                    job.file.description.clone(),
                ]);
                jobs.link(0, format!("/jobs/{}", job.name));
                if let Some(last) = &last {
                    jobs.link(2, format!("/runs/{}", last.run));
                }
            }
            Err(error) => jobs.push([
                file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                String::new(),
                String::new(),
                "cannot be read".into(),
                String::new(),
                String::new(),
                String::new(),
                error.to_string(),
            ]),
        }
    }
    let mut runs = Table::new(&["run", "state", "begun (UTC)", "rows", "failures", "took", "error"]);
    for run in ledger.runs(None, LAST_RUNS)? {
        runs.push([
            run.run.clone(),
            run.state.to_string(),
            minute(&run.started_at),
            of(&run, |outcome| count(outcome.rows_out)),
            of(&run, |outcome| count(outcome.rejected)),
            of(&run, |outcome| duration(outcome.seconds)),
            run.error.clone().unwrap_or_default(),
        ]);
        runs.link(0, format!("/runs/{}", run.run));
    }
    let section = |title: &str, table| Section { title: title.into(), parts: vec![Part::Table(table)] };
    Ok(Report {
        title: "Jobs".into(),
        subtitle: format!("{}, {} UTC", folder.display(), now.format("%Y-%m-%d %H:%M:%S")),
        sections: vec![section("Jobs", jobs), section("Last runs", runs)],
    })
}
