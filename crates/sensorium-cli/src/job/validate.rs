//! `sensorium job validate`: everything that can be known before a row is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::datatypes::Field;
use chrono::{NaiveDate, Utc};
use sensorium_engine::RECEIPT;
use sensorium_jobs::{ChunkPlan, Job, set_up};

use crate::run::Result;

/// Times of a schedule that are shown.
const TIMES: usize = 3;

pub(super) async fn validate(path: &Path, date: Option<NaiveDate>, models: Option<&str>) -> Result<ExitCode> {
    let job = Job::read(path)?;
    let date = match date {
        Some(date) => date,
        None => job.today(Utc::now())?,
    };
    let ready = set_up(&job, date, models, &BTreeMap::new()).await?;
    let mut lines = vec![format!("job {} for {date}", job.name)];
    if let Some(schedule) = &job.file.schedule {
        let mut moment = Utc::now();
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let next = schedule.next(moment)?;
            moment = next.to_utc();
            times.push(next.to_rfc3339());
        }
        lines.push(format!("next: {}", times.join(", ")));
    }
    let models = ready.models();
    lines.extend(models.iter().map(|model| format!("model {}@{}, sha256 {}", model.name, model.version, model.sha256)));
    lines.push(match &ready.chunks {
        ChunkPlan::Parts { table, chunks, .. } => {
            let rows: u64 = chunks.iter().map(sensorium_jobs::Chunk::rows).sum();
            let most = chunks.iter().map(sensorium_jobs::Chunk::rows).max().unwrap_or_default();
            format!("{} chunks of at most {most} rows of table '{table}', which has {rows}", chunks.len())
        }
        ChunkPlan::Whole { why } => format!("one chunk: after a crash the query is run anew as a whole, because of {why}"),
    });
    let (schema, without) = ready.output()?;
    let told = |field: &Arc<Field>| {
        if field.name().starts_with(RECEIPT) { field.name().clone() } else { format!("{} {}", field.name(), field.data_type()) }
    };
    lines.push(format!("columns: {}", schema.fields().iter().map(told).collect::<Vec<_>>().join(", ")));
    lines.extend(without.iter().map(|call| format!("no receipts of {call}")));
    lines.iter().for_each(|line| eprintln!("{line}"));
    Ok(ExitCode::SUCCESS)
}
