//! `CREATE MODEL .. AS SELECT`: a model that is fitted to the rows of a query.
//!
//! Encoders turn texts, pictures and sounds into vectors through `mm_embed`, and so through the operator and its caches; the rows
//! stream into memory, `sensorium-train` fits them, and the folder that it writes is imported like any other package.

mod activity;
mod columns;
mod options;
mod task;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::error::{DataFusionError, Result};
use futures::StreamExt;
use sensorium_inference::{Cancel, CreateMode, Error, ImportOptions, Kind, ModelVersion, import, try_out};
use sensorium_train::{Builder, Dataset, Encoder, Fitted, Progress, Role, TrainOptions, fit, write};

pub(crate) use activity::Activity;
use columns::{Column, Means, column_kinds};
use options::Request;
use task::is_regression;

use crate::ddl::{Training, status_lines};
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::session::Session;
use crate::settings::MmSettings;

/// Stops the fitting when the statement's future is dropped.
struct StopOnDrop(Cancel);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An encoder of one column.
struct ColumnEncoder {
    column: String,
    version: Arc<ModelVersion>,
    folder: PathBuf,
}

/// Fits the model and adds it to the catalog.
pub(crate) async fn train(session: &Session, training: Training) -> Result<RecordBatch> {
    let engine = session.engine();
    // Said before the work and not only after it.
    match (training.mode, engine.catalog.resolve(&training.name)) {
        (CreateMode::IfNotExists, Ok(existing)) => return status_lines(vec![format!("model {} exists already", existing.pinned())]),
        (CreateMode::New, Ok(existing)) => {
            let taken = Error::new(Kind::Catalog, format!("model {} exists already", existing.pinned()));
            return Err(to_datafusion(
                taken.with_hint("CREATE OR REPLACE MODEL adds a version, CREATE MODEL IF NOT EXISTS keeps this one"),
            ));
        }
        _ => {}
    }
    let request = Request::read(training.options.clone()).map_err(to_datafusion)?;
    let stop = StopOnDrop(Cancel::default());
    let shown = engine.activity.start(&format!("training {}", training.name));
    let columns = column_kinds(session, &training.query, &request).await?;
    let (dataset, encoders) = rows(session, &training.query, &columns, &request, &shown).await?;
    let (engine, cancel, options) = (Arc::clone(engine), stop.0.clone(), request.options);
    let fitting = move || create(&engine, &training, &dataset, &encoders, &options, &cancel, &|what, loss| shown.tell(what, loss));
    let done = tokio::task::spawn_blocking(fitting).await;
    done.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(to_datafusion).and_then(status_lines)
}

/// The rows with their texts, pictures and sounds as vectors.
async fn rows(
    session: &Session,
    query: &str,
    columns: &[Column],
    request: &Request,
    shown: &activity::Shown,
) -> Result<(Dataset, Vec<ColumnEncoder>)> {
    let mut encoders = Vec::new();
    let mut selected = Vec::new();
    for column in columns {
        let name = format!("\"{}\"", column.name.replace('"', "\"\""));
        let Means::Encoded { model, modality } = &column.means else {
            selected.push(name);
            continue;
        };
        let version = session.engine().resolve(model)?;
        let (version, input) = columns::encoder_of(&version, modality).map_err(to_datafusion)?;
        let model = version.pinned().replace('\'', "''");
        let input = input.replace('"', "\"\"");
        selected.push(format!("mm_embed('{model}', {{\"{input}\": {name}}}) AS {name}"));
        let folder = session.engine().catalog.materialise(&version).map_err(to_datafusion)?;
        encoders.push(ColumnEncoder { column: column.name.clone(), version, folder });
    }
    let plan = session.logical_plan(&format!("SELECT {} FROM ({query}\n) AS mm_rows", selected.join(", "))).await?;
    let frame = session.context().execute_logical_plan(plan).await?;
    let roles = roles(columns, frame.schema().as_arrow())?;
    let max_bytes = MmSettings::of(session.context().copied_config().options()).max_training_bytes;
    let is_regression = is_regression(session, query, request).await?;
    let mut builder = Builder::new(&roles, is_regression, max_bytes);
    let mut batches = frame.execute_stream().await?;
    while let Some(batch) = batches.next().await {
        builder.push(&batch?).map_err(to_datafusion)?;
        shown.tell(&format!("{} rows read", builder.rows()), None);
    }
    Ok((builder.finish().map_err(to_datafusion)?, encoders))
}

fn roles(columns: &[Column], schema: &Schema) -> Result<Vec<(String, Role)>> {
    let role = |(column, field): (&Column, &Arc<arrow::datatypes::Field>)| {
        let role = match (&column.means, field.data_type()) {
            (Means::Role(role), _) => role.clone(),
            (Means::Encoded { .. } | Means::Vector, DataType::FixedSizeList(_, width)) => {
                Role::Vector { width: usize::try_from(*width).unwrap_or(0) }
            }
            (_, other) => {
                let error = Error::new(Kind::Argument, format!("column '{}' is {other}, whose length is not known", column.name));
                return Err(to_datafusion(error.with_hint("arrow_cast(x, 'FixedSizeList(384, Float32)')")));
            }
        };
        Ok((column.name.clone(), role))
    };
    columns.iter().zip(schema.fields()).map(role).collect()
}

fn create(
    engine: &Engine,
    training: &Training,
    dataset: &Dataset,
    encoders: &[ColumnEncoder],
    options: &TrainOptions,
    cancel: &Cancel,
    progress: &Progress<'_>,
) -> Result<Vec<String>, Error> {
    let fitted = fit(dataset, options, cancel, progress)?;
    let folder = tempfile::tempdir().map_err(|error| Error::new(Kind::Package, format!("no folder to write the model to: {error}")))?;
    let own = |encoder: &ColumnEncoder| (encoder.column.clone(), Arc::clone(&encoder.version.manifest), encoder.folder.clone());
    let owned: Vec<_> = encoders.iter().map(own).collect();
    let given: Vec<Encoder<'_>> =
        owned.iter().map(|(column, manifest, folder)| Encoder { column: column.clone(), manifest, folder }).collect();
    write(&fitted, dataset, &given, options, folder.path())?;
    let draft = import(folder.path(), &ImportOptions::default())?;
    try_out(&draft)?;
    if cancel.is_cancelled() {
        return Err(Error::new(Kind::Cancelled, "the training was cancelled"));
    }
    let (version, is_new) = engine.catalog.create(&training.name, draft, training.mode, &training.query)?;
    let verb = if is_new { "created" } else { "exists already" };
    let mut lines = vec![format!("model {} {verb}, sha256 {}", version.pinned(), version.sha256)];
    lines.extend(told(&fitted, dataset.rows()));
    Ok(lines)
}

/// What was tried and how good it was.
fn told(fitted: &Fitted, rows: usize) -> Vec<String> {
    let line = |(place, (fusion, head, score)): (usize, &(sensorium_train::Fusion, sensorium_train::Head, sensorium_train::Score))| {
        let over = match fitted.folds {
            Some(folds) => format!("over {folds} folds of {rows} rows"),
            None => format!("over a fifth of {rows} rows, which said when to stop"),
        };
        let why = match (place, fitted.tried.len()) {
            (0, 1) => format!(", {over}"),
            (0, _) => format!(", chosen by the least loss {over}"),
            _ => String::new(),
        };
        format!(
            "{} fusion, {} head: {} {:.4}, {} {:.4}{why}",
            fusion.name(),
            head.name(),
            score.quality_name,
            score.quality,
            score.loss_name,
            score.loss
        )
    };
    fitted.tried.iter().enumerate().map(line).collect()
}
