//! The rows of a finished run that failed, once more: the others stay as they are.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches, interleave};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::array_value_to_string;
use chrono::Utc;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast as cast_expr, lit};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{DataFrame, ParquetReadOptions};
use futures::StreamExt;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use sha2::{Digest, Sha256};

use crate::chunks::ChunkPlan;
use crate::delta::{Publication, TOKEN, publish};
use crate::error::{JobError, Result};
use crate::job_file::{Format, Job};
use crate::ledger::{FailureRecord, Ledger, Outcome, RunState, now};
use crate::setting_up::{Ready, set_up};
use crate::sink::{Sink, Written};
use crate::stage::properties;

/// What a retry has come to.
#[derive(Debug, Clone)]
pub struct Retried {
    /// Rows that were tried again.
    pub rows: u64,
    /// Failures that are left.
    pub rejected: u64,
    /// Of these rows, such as could not be put into their places.
    pub unplaced: u64,
}

/// Runs the query again for the rows of `run` that failed, and puts what it gives in their places.
///
/// # Errors
/// For a run that is not done; where the job has become another one since; for a query that cannot be run for some rows alone.
pub async fn retry(ledger: &Ledger, job: &Job, run: &str, models: Option<&str>) -> Result<Retried> {
    let _lock = ledger.lock(&job.name)?;
    let record =
        ledger.run(run)?.ok_or_else(|| JobError::new(format!("no such run: {run}")).with_hint("`sensorium job status` lists runs"))?;
    let (RunState::Done, Some(outcome)) = (record.state, &record.outcome) else {
        return Err(JobError::new(format!("{run} is {}: only runs that are done have rows to try again", record.state))
            .with_hint("`sensorium job run` goes on with it"));
    };
    let failures = ledger.failures(run, u64::try_from(i64::MAX).unwrap_or_default())?;
    let keys = keys(&failures)?;
    if keys.is_empty() {
        return Ok(Retried { rows: 0, rejected: 0, unplaced: 0 });
    }
    let ready = set_up(job, record.run_date, models, &record.pins()).await?;
    if ready.fingerprint != record.fingerprint {
        return Err(JobError::new(format!("{run}: query, models or settings are others than they were"))
            .with_hint(format!("`sensorium job run --date {} --force` makes all rows with those of now", record.run_date)));
    }
    if let ChunkPlan::Whole { why } = &ready.chunks {
        return Err(JobError::new(format!("{run}: the query cannot be run for some rows alone, because of {why}"))
            .with_hint("--force runs it as a whole"));
    }
    ready.session.set("mm.run_id", run).await?;
    let rows = again(&ready, job, &keys, false).await?;
    let (failed, _) = ready.session.take_failures();
    let attempts = failures.iter().map(|failure| failure.attempts).max().unwrap_or_default() + 1;
    let mut places = HashMap::new();
    for row in 0..rows.num_rows() {
        let key = key_of(&rows, &job.file.key, row)?;
        // Where keys have several columns, rows with others may have come along.
        if keys.contains(&key) && places.insert(key.clone(), row).is_some() {
            return Err(two_rows(&key));
        }
    }
    let sink = Sink::open(&ready.sink)?;
    let before = sink.path_of(&outcome.output)?;
    // Another file than any before, in a table that keeps them.
    let token = sensorium_inference::hex(&Sha256::digest(format!("{run} {}", Utc::now().to_rfc3339())))[..TOKEN].to_string();
    let path = sink.output(record.run_date, &job.name, &token);
    let (written, placed) = replace(&ready, job, &sink, (&before, &path), &rows, &places).await?;
    if sink.format() == Format::Delta {
        let (schema, _) = ready.output()?;
        let (job, date) = (job.name.as_str(), record.run_date);
        let publication = Publication { job, date, path: &path, rows: outcome.rows_out, schema: &schema };
        publish(&sink, &publication, &written).await?;
    }
    let is_placed = |failure: &FailureRecord| failure.key().is_some_and(|key| placed.contains(&key));
    // A row that is in its place has failed again or not at all; of others nothing new is known.
    let failed_again = failed.into_iter().map(|row| FailureRecord::of(row, RETRIED, attempts)).filter(is_placed);
    let left: Vec<FailureRecord> = failed_again.chain(failures.iter().filter(|failure| !is_placed(failure)).cloned()).collect();
    let outcome = Outcome {
        finished_at: now(),
        output: sink.name(&path),
        output_sha256: written.sha256,
        output_bytes: written.bytes,
        rejected: left.len() as u64,
        ..outcome.clone()
    };
    ledger.retried(&record, &outcome, &left)?;
    ledger.log(run, &format!("{} rows tried again, {} failures left", keys.len(), left.len()))?;
    Ok(Retried { rows: keys.len() as u64, rejected: left.len() as u64, unplaced: (keys.len() - placed.len()) as u64 })
}

fn two_rows(key: &Key) -> JobError {
    JobError::new(format!("{}: two rows have this key", key.join(", "))).with_hint("the columns of `key` must tell rows apart")
}

/// Number of the chunk of rows that were tried again.
const RETRIED: u64 = 0;

pub(crate) type Key = Vec<String>;

fn keys(failures: &[FailureRecord]) -> Result<BTreeSet<Key>> {
    let key = |failure: &FailureRecord| {
        failure.key().ok_or_else(|| {
            JobError::new("a row failed whose key is not known: the columns of the key do not reach the call under their names")
                .with_hint("have the query pass them on as they are, or run it again with --force")
        })
    };
    failures.iter().map(key).collect()
}

/// The query's rows with these keys, on demand with what their media are, and with some others where a key has several columns.
pub(crate) async fn again(ready: &Ready, job: &Job, keys: &BTreeSet<Key>, media: bool) -> Result<RecordBatch> {
    let plan = with_keys(ready.prepared.plan.clone(), &job.file.key, keys)?;
    let plan = if media { ready.with_media(plan)? } else { ready.receipted(plan)? };
    let frame = DataFrame::new(ready.session.context().state(), plan);
    let schema = SchemaRef::clone(frame.schema().inner());
    concat_batches(&schema, &frame.collect().await?).map_err(|error| JobError::new(error.to_string()))
}

/// Above the query, from where the optimizer takes it below the calls of models.
fn with_keys(plan: LogicalPlan, columns: &[String], keys: &BTreeSet<Key>) -> Result<LogicalPlan> {
    let mut builder = LogicalPlanBuilder::from(plan);
    for (number, column) in columns.iter().enumerate() {
        let values: BTreeSet<&String> = keys.iter().filter_map(|key| key.get(number)).collect();
        let text = cast_expr(Expr::Column(Column::from_name(column)), DataType::Utf8);
        builder = builder.filter(text.in_list(values.into_iter().map(|value| lit(value.as_str())).collect(), false))?;
    }
    Ok(builder.build()?)
}

pub(crate) fn key_of(batch: &RecordBatch, columns: &[String], row: usize) -> Result<Key> {
    let value = |name: &String| -> Result<String> {
        let column = batch.column_by_name(name).ok_or_else(|| JobError::new(format!("the output has no column '{name}'")))?;
        array_value_to_string(column, row).map_err(|error| JobError::new(error.to_string()))
    };
    columns.iter().map(value).collect()
}

/// Writes the output anew, with those of `rows` that `places` names in the places of the rows with their keys; says which were there.
async fn replace(
    ready: &Ready,
    job: &Job,
    sink: &Sink,
    (output, path): (&Path, &Path),
    rows: &RecordBatch,
    places: &HashMap<Key, usize>,
) -> Result<(Written, BTreeSet<Key>)> {
    let (url, store) = sink.readable()?;
    let context = ready.session.context();
    context.register_object_store(url.as_ref(), store);
    let before = context.read_parquet(format!("{}{output}", url.as_str()), ParquetReadOptions::default()).await?;
    // One partition, so that the rows stay in their order.
    let before = before.repartition(datafusion::logical_expr::Partitioning::RoundRobinBatch(1))?.execute_stream().await?;
    let failed = |error: &dyn std::fmt::Display| JobError::new(format!("{}: {error}", sink.name(path)));
    let mut writer = AsyncArrowWriter::try_new(sink.upload(path), before.schema(), Some(properties(&before.schema())?))
        .map_err(|error| failed(&error))?;
    match copy(before, &mut writer, rows, places, &job.file.key).await {
        Ok(placed) => {
            writer.finish().await.map_err(|error| failed(&error))?;
            let written = writer.into_inner().written().await?;
            sink.sync(path)?;
            Ok((written, placed))
        }
        Err(error) => {
            writer.into_inner().abort().await;
            Err(error.during(sink.name(path)))
        }
    }
}

async fn copy(
    mut before: SendableRecordBatchStream,
    writer: &mut AsyncArrowWriter<crate::sink::Upload>,
    rows: &RecordBatch,
    places: &HashMap<Key, usize>,
    key: &[String],
) -> Result<BTreeSet<Key>> {
    let mut placed = BTreeSet::new();
    let arrow = |error: arrow::error::ArrowError| JobError::new(error.to_string());
    let schema = before.schema();
    let new: Vec<ArrayRef> = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(column, field.data_type()).map_err(arrow))
        .collect::<Result<_>>()?;
    while let Some(batch) = before.next().await {
        let batch = batch?;
        let mut from = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let key = key_of(&batch, key, row)?;
            from.push(places.get(&key).map_or((0, row), |place| (1, *place)));
            if places.contains_key(&key) && !placed.insert(key.clone()) {
                return Err(two_rows(&key));
            }
        }
        if from.iter().all(|(source, _)| *source == 0) {
            writer.write(&batch).await?;
            continue;
        }
        let column = |(old, new): (&ArrayRef, &ArrayRef)| interleave(&[old as &dyn Array, new], &from).map_err(arrow);
        let columns = batch.columns().iter().zip(&new).map(column).collect::<Result<_>>()?;
        writer.write(&RecordBatch::try_new(SchemaRef::clone(&schema), columns).map_err(arrow)?).await?;
    }
    Ok(placed)
}
