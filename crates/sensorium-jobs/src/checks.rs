//! What must hold of the rows of a run before they appear.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::prelude::ParquetReadOptions;
use sensorium_engine::Session;

use crate::error::{JobError, Result};
use crate::job_file::{Check, Job, Otherwise};
use crate::ledger::{CheckOutcome, ChunkRecord, Ledger, RunRecord};
use crate::sink::Sink;

/// Tables that expressions of checks are about.
const OUTPUT: &str = "mm_job_output";
const BEFORE: &str = "mm_job_output_before";

/// Looks at the staged rows.
pub(crate) async fn check(
    ledger: &Ledger,
    job: &Job,
    run: &RunRecord,
    sink: &Sink,
    session: &Session,
    chunks: &[ChunkRecord],
) -> Result<Vec<CheckOutcome>> {
    let rows: u64 = chunks.iter().map(|chunk| chunk.rows_out).sum();
    let rejected: u64 = chunks.iter().map(|chunk| chunk.rejected).sum();
    let needs_rows = |check: &Check| matches!(check, Check::NullShare { .. } | Check::Drift { .. } | Check::UniqueKey { .. });
    if job.file.checks.iter().any(needs_rows) {
        let (url, store) = sink.readable()?;
        let files: Vec<String> = chunks.iter().map(|chunk| format!("{}{}", url.as_str(), chunk.file)).collect();
        let context = session.context();
        context.register_object_store(url.as_ref(), store);
        let _ = context.deregister_table(OUTPUT)?;
        let frame = context.read_parquet(files, ParquetReadOptions::default().file_extension(".staged")).await?;
        context.register_table(OUTPUT, frame.into_view())?;
    }
    let mut outcomes = Vec::new();
    for check in &job.file.checks {
        let (what, value, holds, otherwise) = match check {
            Check::Rows { at_least, at_most, otherwise } => {
                let holds = at_least.is_none_or(|least| rows as f64 >= least) && at_most.is_none_or(|most| rows as f64 <= most);
                ("rows".to_string(), Some(rows as f64), holds, otherwise)
            }
            Check::ErrorShare { at_most, otherwise } => {
                let share = rejected as f64 / rows.max(1) as f64;
                ("share of failures".to_string(), Some(share), share <= *at_most, otherwise)
            }
            Check::UniqueKey { otherwise } => {
                let key: Vec<String> = job.file.key.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
                let key = key.join(", ");
                let twice =
                    figure(session, &format!("SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM {OUTPUT} GROUP BY {key})"))
                        .await?;
                ("rows whose key was there before".to_string(), twice, twice == Some(0.0), otherwise)
            }
            Check::NullShare { of, at_most, otherwise } => {
                let share = figure(session, &format!("SELECT avg(CASE WHEN ({of}) IS NULL THEN 1.0 ELSE 0.0 END) FROM {OUTPUT}")).await?;
                (format!("share of NULL in {of}"), share, share.is_none_or(|share| share <= *at_most), otherwise)
            }
            Check::Drift { of, at_most, otherwise } => {
                let moved = drift(ledger, job, run, session, of).await?;
                (format!("drift of {of}"), moved, moved.is_none_or(|moved| moved <= *at_most), otherwise)
            }
        };
        let outcome = match (holds, otherwise) {
            (true, _) => "ok",
            (false, Otherwise::Warn) => "warn",
            (false, Otherwise::Fail) => "fail",
        };
        outcomes.push(CheckOutcome { what, value, outcome: outcome.to_string() });
    }
    Ok(outcomes)
}

/// The population stability index of an expression between the last finished run and this one; none where there is no such run.
async fn drift(ledger: &Ledger, job: &Job, run: &RunRecord, session: &Session, of: &str) -> Result<Option<f64>> {
    let Some(before) = ledger.done_before(&job.name, run.run_date)?.and_then(|before| before.outcome) else { return Ok(None) };
    let _ = session.context().deregister_table(BEFORE)?;
    session
        .register(BEFORE, &before.output)
        .await
        .map_err(|error| JobError::from(error).during(format!("drift of {of}: the output of the last run")))?;
    let sql = format!(
        "SELECT mm_psi(value, is_new) FROM (SELECT {of} AS value, false AS is_new FROM {BEFORE} UNION ALL SELECT {of} AS value, true AS is_new FROM {OUTPUT})"
    );
    figure(session, &sql).await
}

async fn figure(session: &Session, sql: &str) -> Result<Option<f64>> {
    let batches = session.sql(sql).await?.collect().await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    let value = cast(batch.column(0), &DataType::Float64).map_err(|error| JobError::new(error.to_string()))?;
    Ok(value.is_valid(0).then(|| value.as_primitive::<Float64Type>().value(0)))
}
