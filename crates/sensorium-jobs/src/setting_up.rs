//! A session as a job wants it, and its query planned in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility, cast};
use sensorium_engine::{Prepared, Session, UsedModel};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::chunks::ChunkPlan;
use crate::delta::plain_type;
use crate::error::{JobError, Result};
use crate::job_file::{Format, Job, OnError, Sink};
use crate::ledger::ModelRecord;
use crate::parameters::{Parameters, with_placeholders};

/// Work that is committed together.
const CHUNK_TIME: Duration = Duration::from_secs(20);
/// Rows of a chunk, whatever they cost: at least, so that it is worth writing down, and at most, as its rows are in memory.
const CHUNK_ROWS: (usize, usize) = (1_000, 1_000_000);
/// A file of Parquet has at most 32,767 row groups, and a chunk may have several.
const MOST_CHUNKS: usize = 10_000;
/// Folder of models where neither the command nor the job names one.
const MODELS: &str = "models";
/// What the rows of a chunk depend on besides its inputs; raised when a release writes other files.
const FORMAT: u32 = 2;

/// A job that is ready to run for a date.
#[derive(Debug)]
pub struct Ready {
    /// The session, its tables registered.
    pub session: Session,
    /// The query.
    pub prepared: Prepared,
    /// How it is parted.
    pub chunks: ChunkPlan,
    /// The query as it was planned.
    pub(crate) sql: String,
    /// Values of its parameters, as JSON.
    pub(crate) parameters: String,
    /// SHA-256 over all that decides the rows, but for the inputs.
    pub(crate) fingerprint: String,
    /// Release, machine and settings, as JSON.
    pub(crate) environment: String,
    /// Where the rows go.
    pub(crate) sink: Sink,
    /// Partitions in which a chunk is run.
    pub(crate) partitions: usize,
    /// Whether rows have receipts.
    receipts: bool,
    /// Where results are shared with other machines.
    pub(crate) shared_cache: Option<String>,
}

/// Opens a session and plans the query; nothing is run and no medium is read. Models that `pins` knows are the versions that it says.
///
/// # Errors
/// For anything wrong that can be known by then, with a hint.
pub async fn set_up(job: &Job, date: NaiveDate, models: Option<&str>, pins: &BTreeMap<String, String>) -> Result<Ready> {
    let parameters = Parameters::of(job, date)?;
    let models = models.map(str::to_string).or_else(|| job.file.models.as_deref().map(|path| job.place(path)));
    let session = Session::open(models.as_deref().unwrap_or(MODELS))?;
    let settings = settings(job);
    for (key, value) in &settings {
        session.set(key, value).await.map_err(|error| JobError::from(error).during(format!("settings.\"{key}\"")))?;
    }
    // Where results are kept says nothing about them.
    session.set("mm.cache_path", &cache(job)?).await?;
    if let Some(bytes) = job.file.limits.memory_bytes {
        session.context().sql(&format!("SET datafusion.runtime.memory_limit = '{}K'", bytes / 1024)).await?;
    }
    for (name, path) in &job.file.inputs {
        let path = job.place(&parameters.in_path(path)?);
        session.register(name, &path).await.map_err(|error| JobError::from(error).during(format!("inputs.{name} ({path})")))?;
    }
    let sql = with_placeholders(&job.sql)?;
    let prepared = session.prepare(&sql, parameters.values(), pins).await?;
    repeatable(&prepared.plan)?;
    for column in &job.file.key {
        if prepared.plan.schema().fields().iter().all(|field| field.name() != column) {
            let names: Vec<&str> = prepared.plan.schema().fields().iter().map(|field| field.name().as_str()).collect();
            return Err(JobError::new(format!("key: the query has no column '{column}'"))
                .with_hint(format!("its columns are {}", names.join(", "))));
        }
    }
    let chunks = ChunkPlan::of(&session, &prepared.plan, job.file.limits.chunk_rows.unwrap_or_else(|| chunk_rows(&prepared))).await?;
    if chunks.len() > MOST_CHUNKS {
        return Err(JobError::new(format!("{} chunks, {MOST_CHUNKS} are possible", chunks.len())).with_hint("a larger limits.chunk_rows"));
    }
    let shared = chunks.shared_inputs(&session, &prepared.plan).await?;
    let partitions = if has_one_partition(&prepared, &chunks) { 1 } else { available_parallelism().map_or(1, usize::from) };
    session.set("datafusion.execution.target_partitions", &partitions.to_string()).await?;
    let parameters_text =
        serde_json::to_string(&parameters.values().iter().map(|(name, value)| (name, value.to_string())).collect::<Vec<_>>());
    let parameters_text = parameters_text.map_err(|error| JobError::new(error.to_string()))?;
    let mut digest = Sha256::new();
    digest.update(format!("{FORMAT} {sql} {parameters_text} {settings:?} {shared:?} {} {:?}", job.file.receipts, job.file.sink.format));
    prepared.models.iter().for_each(|model| digest.update(format!(" {}", model.version.sha256)));
    let environment = json!({
        "sensorium": env!("CARGO_PKG_VERSION"),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "cores": available_parallelism().map_or(1, usize::from),
        "settings": settings.iter().cloned().collect::<BTreeMap<_, _>>(),
    });
    let sink = job.sink(&parameters)?;
    Ok(Ready {
        session,
        prepared,
        chunks,
        sql,
        parameters: parameters_text,
        fingerprint: sensorium_inference::hex(&digest.finalize()),
        environment: environment.to_string(),
        sink,
        partitions,
        receipts: job.file.receipts,
        shared_cache: job.file.shared_cache.as_deref().map(|place| job.place(place)),
    })
}

/// Rows that are committed together: a core's work of some seconds by what the models' sizes say, which is the same each time.
fn chunk_rows(prepared: &Prepared) -> usize {
    let row: Duration = prepared.models.iter().map(|model| model.version.manifest.estimated_row_time()).sum();
    let rows = CHUNK_TIME.as_secs_f64() / row.as_secs_f64().max(f64::MIN_POSITIVE);
    (rows as usize).clamp(CHUNK_ROWS.0, CHUNK_ROWS.1)
}

/// Functions that say what time it is.
const CLOCKS: [&str; 4] = ["now", "current_date", "current_time", "current_timestamp"];

/// Refuses what gives other rows each time, chunk by chunk.
fn repeatable(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr {
                    let is_clock =
                        CLOCKS.contains(&call.name()) || call.func.aliases().iter().any(|alias| CLOCKS.contains(&alias.as_str()));
                    if is_clock || call.func.signature().volatility == Volatility::Volatile {
                        found.get_or_insert(call.name().to_string());
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match found {
        None => Ok(()),
        Some(name) => Err(JobError::new(format!(
            "{name}() gives something else each time, and a run must give the same rows whenever it is gone on with"
        ))
        .with_hint("{{ run_date }} is the date that a run is for; other values are parameters")),
    }
}

/// Whether more partitions would give the rows in another order each time.
fn has_one_partition(prepared: &Prepared, chunks: &ChunkPlan) -> bool {
    let mut joins = matches!(chunks, ChunkPlan::Whole { .. });
    let _ = prepared.plan.apply(|node| {
        joins |= matches!(node, LogicalPlan::Join(_)) || node.expressions().iter().any(has_subquery);
        Ok(TreeNodeRecursion::Continue)
    });
    joins
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)))).unwrap_or(true)
}

/// Folder of the results that later runs find.
fn cache(job: &Job) -> Result<String> {
    match &job.file.cache {
        Some(none) if none.is_empty() => Ok(String::new()),
        Some(path) => Ok(job.place(path)),
        None => {
            let folder = sensorium_inference::cache_dir().map_err(|error| JobError::new(error.to_string()).with_hint("or cache = \"\""))?;
            // What is shared are this job's results, and those of others that share them.
            let own = job.file.shared_cache.as_ref().map(|url| sensorium_inference::hex(&Sha256::digest(job.place(url)))[..16].to_string());
            Ok(folder.join(own.map_or_else(|| "results".to_string(), |own| format!("results-{own}"))).to_string_lossy().into_owned())
        }
    }
}

impl Ready {
    /// The plan of chunk `number`, with receipts.
    pub(crate) fn chunk(&self, number: usize) -> Result<LogicalPlan> {
        self.receipted(self.chunks.plan(&self.prepared.plan, number, self.partitions)?)
    }

    /// A plan of the query's rows, with receipts where the job wants them.
    pub(crate) fn receipted(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.receipts { self.shaped(self.session.with_receipts(plan, false)?.plan) } else { self.shaped(plan) }
    }

    /// The same with the media of each row.
    pub(crate) fn with_media(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.receipts { self.shaped(self.session.with_receipts(plan, true)?.plan) } else { self.shaped(plan) }
    }

    /// A plan whose columns have types that the sink knows.
    fn shaped(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.sink.format == Format::Parquet {
            return Ok(plan);
        }
        let column = |column: Column| {
            let field = plan.schema().field_from_column(&column)?;
            let (own, plain) = (field.data_type(), plain_type(field.data_type()));
            let name = column.name.clone();
            let expr = Expr::Column(column);
            Ok(if *own == plain { expr } else { cast(expr, plain).alias(name) })
        };
        let columns = plan.schema().columns().into_iter().map(column).collect::<datafusion::error::Result<Vec<_>>>()?;
        Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
    }

    /// The columns of the output, and calls that have no receipts.
    ///
    /// # Errors
    /// Where one of the query's columns has the name of a receipt.
    pub fn output(&self) -> Result<(SchemaRef, Vec<String>)> {
        let plan = self.prepared.plan.clone();
        let without = if self.receipts { self.session.with_receipts(plan.clone(), false)?.without } else { Vec::new() };
        Ok((Arc::clone(self.receipted(plan)?.schema().inner()), without))
    }

    /// The models that it runs.
    pub fn models(&self) -> Vec<ModelRecord> {
        let record = |model: &UsedModel| ModelRecord {
            reference: model.reference.clone(),
            name: model.version.name.clone(),
            version: model.version.version,
            sha256: model.version.sha256.clone(),
        };
        self.prepared.models.iter().map(record).collect()
    }
}

/// The settings of the session: those that jobs need, and those of the file.
fn settings(job: &Job) -> Vec<(String, String)> {
    let own = [
        ("mm.on_error", if job.file.on_error == OnError::Null { "null" } else { "fail" }.to_string()),
        ("mm.row_key", job.file.key.join(",")),
        ("mm.max_errors", MOST_FAILURES.to_string()),
        // Rows stay in the order of the input.
        ("datafusion.optimizer.repartition_file_scans", "false".to_string()),
        ("datafusion.optimizer.enable_round_robin_repartition", "false".to_string()),
    ];
    let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let said = job.file.settings.iter().map(|(key, value)| (key.clone(), text(value)));
    own.into_iter().map(|(key, value)| (key.to_string(), value)).chain(said).collect()
}

/// Failed rows of one chunk that are listed.
const MOST_FAILURES: usize = 1_000_000;
