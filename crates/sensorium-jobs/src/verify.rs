//! Whether the output of a run is still what its recorded inputs and models give.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use datafusion::prelude::ParquetReadOptions;
use object_store::path::Path;
use sensorium_engine::MEDIA;

use crate::chunks::{ChunkPlan, Piece};
use crate::delta::is_published;
use crate::error::{JobError, Result};
use crate::job_file::{Format, Job};
use crate::ledger::{Ledger, RunRecord, RunState};
use crate::retry::{Key, again, key_of};
use crate::setting_up::{Ready, set_up};
use crate::sink::Sink;
use crate::stage::{DIGEST, is_receipt};

/// What was compared, and what has come of it.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// What is not as it was written down: file, model or query, and how.
    pub changed: Vec<String>,
    /// Rows that were made again.
    pub rows: u64,
    /// Rows with other values, or that are not there any more.
    pub different: u64,
    /// Keys of some of these.
    pub examples: Vec<String>,
    /// Of some rows that are made of something else than they were, as their receipts say: which, and what their media are now.
    pub inputs: Vec<String>,
    /// The largest difference of two numbers.
    pub largest: f64,
}

impl Verified {
    /// Whether all is as it was.
    pub fn is_equal(&self) -> bool {
        self.changed.is_empty() && self.different == 0 && self.inputs.is_empty()
    }
}

/// Keys of different rows that are told.
const MOST_EXAMPLES: usize = 5;

/// Makes about `sample` rows of the output of `run` again, with the versions of models that it has used, and compares them with what was
/// written; compares files with what is known of them.
///
/// # Errors
/// For a run that is not done, or whose models are not there.
pub async fn verify(ledger: &Ledger, job: &Job, run: &str, sample: u64, models: Option<&str>) -> Result<Verified> {
    let record =
        ledger.run(run)?.ok_or_else(|| JobError::new(format!("no such run: {run}")).with_hint("`sensorium job status` lists runs"))?;
    let (RunState::Done, Some(outcome)) = (record.state, &record.outcome) else {
        return Err(JobError::new(format!("{run} is {}: only runs that are done can be verified", record.state)));
    };
    let ready = set_up(job, record.run_date, models, &record.pins()).await?;
    // Nothing is taken from where it was kept.
    ready.session.set("mm.cache_path", "").await?;
    ready.session.set("mm.run_id", run).await?;
    let mut verified = Verified::default();
    for model in ready.models() {
        let before = record.models.iter().find(|before| before.reference == model.reference);
        if before.is_some_and(|before| before.sha256 != model.sha256) {
            verified.changed.push(format!("model {}@{} has another SHA-256", model.name, model.version));
        }
    }
    for model in &ready.prepared.models {
        let damaged = ready.session.damaged_files(&model.version).await?;
        verified.changed.extend(damaged.iter().map(|file| format!("model {}: {file} has another SHA-256", model.version.pinned())));
    }
    if ready.sql != record.query || ready.parameters != record.parameters {
        verified.changed.push("query: it has another text or other parameters".into());
    }
    verified.changed.extend(inputs(ledger, run, &ready.chunks)?);
    let sink = Sink::open(&ready.sink)?;
    let path = sink.path_of(&outcome.output)?;
    if sink.format() == Format::Delta && !is_published(&sink, &path).await? {
        verified.changed.push(format!("output: {} is no file of the Delta table any more", sink.name(&path)));
    }
    let sha256 = sink.sha256(&path).await.map_err(|error| error.during(sink.name(&path)))?;
    if sha256 != outcome.output_sha256 {
        verified.changed.push(format!("output: {} has another SHA-256", sink.name(&path)));
    }
    compare(&ready, job, &record, &sink, &path, sample, &mut verified).await?;
    Ok(verified)
}

/// Files that are not as they were when the chunks were made of them.
fn inputs(ledger: &Ledger, run: &str, now: &ChunkPlan) -> Result<BTreeSet<String>> {
    let ChunkPlan::Parts { chunks, .. } = now else { return Ok(BTreeSet::new()) };
    let versions = |pieces: Vec<Piece>| pieces.into_iter().map(|piece| (piece.file.to_string(), piece.version)).collect::<Vec<_>>();
    let known: HashMap<String, String> = chunks.iter().flat_map(|chunk| versions(chunk.pieces.clone())).collect();
    let mut changed = BTreeSet::new();
    for chunk in ledger.chunks(run)? {
        let pieces: Vec<Piece> = chunk.inputs.and_then(|inputs| serde_json::from_str(&inputs).ok()).unwrap_or_default();
        for (file, version) in versions(pieces) {
            match known.get(&file) {
                Some(found) if *found == version => {}
                Some(_) => drop(changed.insert(format!("input: {file} was written again"))),
                None => drop(changed.insert(format!("input: {file} is gone"))),
            }
        }
    }
    Ok(changed)
}

async fn compare(
    ready: &Ready,
    job: &Job,
    record: &RunRecord,
    sink: &Sink,
    path: &Path,
    sample: u64,
    verified: &mut Verified,
) -> Result<()> {
    let (url, store) = sink.readable()?;
    let context = ready.session.context();
    context.register_object_store(url.as_ref(), store);
    context.register_parquet(WRITTEN, format!("{}{path}", url.as_str()), ParquetReadOptions::default()).await?;
    let columns: Vec<String> = job.file.key.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
    let texts: Vec<String> = columns.iter().map(|column| format!("arrow_cast({column}, 'Utf8')")).collect();
    // The same rows each time, whatever their order.
    let sql = format!("SELECT * FROM {WRITTEN} ORDER BY reverse(concat_ws(chr(31), {})) LIMIT {sample}", texts.join(", "));
    let written = rows(ready, &sql).await?;
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    for row in 0..written.num_rows() {
        places.insert(key_of(&written, &job.file.key, row)?, row);
    }
    verified.rows = places.len() as u64;
    let found = match &ready.chunks {
        ChunkPlan::Parts { .. } => again(ready, job, &places.keys().cloned().collect(), true).await?,
        ChunkPlan::Whole { .. } => {
            let frame = datafusion::prelude::DataFrame::new(context.state(), ready.with_media(ready.prepared.plan.clone())?);
            let schema = SchemaRef::clone(frame.schema().inner());
            concat_batches(&schema, &frame.collect().await?).map_err(|error| JobError::new(error.to_string()))?
        }
    };
    let mut made: HashMap<Key, usize> = HashMap::new();
    for row in 0..found.num_rows() {
        made.insert(key_of(&found, &job.file.key, row)?, row);
    }
    let columns = pairs(&written, &found, verified)?;
    for (key, row) in &places {
        let name = key.join(", ");
        let Some(place) = made.get(key) else {
            verified.differs(&name, &record.run);
            continue;
        };
        let mut is_equal = true;
        for Pair { old, new, is_digest } in &columns {
            if old.slice(*row, 1).to_data() == new.slice(*place, 1).to_data() {
                continue;
            }
            is_equal = false;
            if *is_digest {
                verified.has_other_inputs(&name, &media_of(&found, *place));
            } else {
                verified.largest = verified.largest.max(distance(old, *row, new, *place)?);
            }
        }
        if !is_equal {
            verified.differs(&name, &record.run);
        }
    }
    Ok(())
}

/// A column as it was written and as it is made now.
struct Pair {
    old: ArrayRef,
    new: ArrayRef,
    /// Whether it says what rows were made of.
    is_digest: bool,
}

/// The columns that were written beside those of now. Of receipts only the digests count: what ran a row may have another name today.
fn pairs(written: &RecordBatch, found: &RecordBatch, verified: &mut Verified) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (field, old) in written.schema().fields().iter().zip(written.columns()) {
        let Some(new) = found.column_by_name(field.name()) else {
            verified.changed.push(format!("query: it has no column '{}' any more", field.name()));
            continue;
        };
        let digest = |column: &ArrayRef| column.as_struct_opt().and_then(|receipt| receipt.column_by_name(DIGEST)).cloned();
        let is_digest = found.schema().field_with_name(field.name()).is_ok_and(is_receipt);
        let (old, new) = match (digest(old), digest(new)) {
            (Some(old), Some(new)) if is_digest => (old, new),
            _ => (Arc::clone(old), Arc::clone(new)),
        };
        let new = cast(&new, old.data_type()).map_err(|error| JobError::new(error.to_string()))?;
        pairs.push(Pair { old, new, is_digest });
    }
    Ok(pairs)
}

/// What the media of a row are now.
fn media_of(found: &RecordBatch, row: usize) -> String {
    let schema = found.schema();
    let columns = schema.fields().iter().zip(found.columns()).filter(|(field, _)| field.name().starts_with(MEDIA));
    let texts = columns.filter_map(|(_, column)| column.as_list_opt::<i32>()).map(|lists| lists.value(row));
    let texts: BTreeSet<String> =
        texts.flat_map(|texts| texts.as_string::<i32>().iter().flatten().map(str::to_string).collect::<Vec<_>>()).collect();
    texts.into_iter().collect::<Vec<_>>().join("; ")
}

impl Verified {
    fn differs(&mut self, key: &str, run: &str) {
        self.different += 1;
        if self.examples.len() < MOST_EXAMPLES {
            self.examples.push(format!("{key} of {run}"));
        }
    }

    fn has_other_inputs(&mut self, key: &str, media: &str) {
        if self.inputs.len() < MOST_EXAMPLES {
            let media = if media.is_empty() { String::new() } else { format!("; its media are now: {media}") };
            self.inputs.push(format!("input: row {key} is made of other values or media than it was{media}"));
        }
    }
}

/// Name of the output in the session.
const WRITTEN: &str = "mm_job_written";

async fn rows(ready: &Ready, sql: &str) -> Result<RecordBatch> {
    let frame = ready.session.sql(sql).await?;
    let schema = SchemaRef::clone(frame.schema().inner());
    concat_batches(&schema, &frame.collect().await?).map_err(|error| JobError::new(error.to_string()))
}

/// How far two values are from each other, if they are numbers.
fn distance(old: &ArrayRef, row: usize, new: &ArrayRef, place: usize) -> Result<f64> {
    if !old.data_type().is_numeric() || old.is_null(row) || new.is_null(place) {
        return Ok(0.0);
    }
    let number = |array: &ArrayRef, row: usize| -> Result<f64> {
        let array = cast(&array.slice(row, 1), &DataType::Float64).map_err(|error| JobError::new(error.to_string()))?;
        Ok(array.as_primitive::<Float64Type>().value(0))
    };
    Ok((number(old, row)? - number(new, place)?).abs())
}
