//! `SHOW JOBS`: the jobs of the folder, their next time and their last run.

use arrow::array::RecordBatch;
use chrono::Utc;

use super::{SqlJobs, table, texts};
use crate::error::Result;
use crate::job_file::Job;
use crate::serve::job_files;

pub(super) fn show(jobs: &SqlJobs) -> Result<RecordBatch> {
    let files = if jobs.folder.exists() { job_files(&jobs.folder)? } else { Vec::new() };
    let ledger = jobs.known_ledger()?;
    let mut rows: [Vec<Option<String>>; 7] = Default::default();
    for file in files {
        let line = match Job::read(&file) {
            Ok(job) => {
                let last =
                    ledger.as_ref().map(|ledger| ledger.runs(Some(&job.name), 1)).transpose()?.and_then(|runs| runs.into_iter().next());
                let schedule = job.file.schedule.as_ref();
                let next = schedule.map(|schedule| schedule.next(Utc::now())).transpose()?;
                [
                    Some(job.name.clone()),
                    schedule.map(|schedule| format!("{} {}", schedule.cron, schedule.time_zone)),
                    next.map(|next| next.to_rfc3339()),
                    last.map(|run| format!("{} {}", run.run_date, run.state)),
                    Some(job.file.sink.path),
                    Some(job.file.description),
                    None,
                ]
            }
            Err(error) => {
                let name = file.file_stem().map(|name| name.to_string_lossy().into_owned());
                [name, None, None, None, None, None, Some(error.to_string())]
            }
        };
        rows.iter_mut().zip(line).for_each(|(column, value)| column.push(value));
    }
    table(["job", "schedule", "next", "last", "sink", "description", "error"].into_iter().zip(rows.map(texts)))
}
