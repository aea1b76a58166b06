//! One call on one batch of rows.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;

use arrow::array::ArrayRef;
use ort::session::Session;
use rayon::prelude::*;

use super::answer::{Collector, Wanted, assemble};
use super::batches::{BatchRule, cut};
use super::encode::{Encoded, encode};
use super::feeds::Batch;
use super::limits::Limits;
use super::loaded::LoadedModel;
use super::models::workers;
use super::pooling::{normalize, pool};
use super::tensor::{Data, HostTensor};
use crate::error::{Error, Kind, Result};
use crate::media::MediaAccess;
use crate::modality::{Column, prepare};
use crate::package::{ClassNames, Manifest, Modality, OutputRef, Prediction, Source, Stage};

/// Rows that go to a model together with what bounds the work.
#[derive(Debug)]
pub struct Request<'a> {
    /// For each input of the manifest: nothing if it is absent, one column, or a vector's places as columns.
    pub inputs: &'a [Vec<ArrayRef>],
    /// Number of rows.
    pub rows: usize,
    /// Prediction or vector.
    pub wanted: Wanted,
    /// Where media may be read.
    pub access: &'a MediaAccess,
    /// Bounds.
    pub limits: &'a Limits,
    /// Whether one failed row makes the others worthless, so that work stops there.
    pub stop_at_failure: bool,
}

/// The result of a call.
#[derive(Debug)]
pub struct Answer {
    /// One value per row; NULL where a required input is NULL or the row failed.
    pub values: ArrayRef,
    /// Rows that failed, by row.
    pub failures: Vec<Failure>,
}

/// Why one row has no result.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Row in the request.
    pub row: usize,
    /// Its medium, if it has one.
    pub uri: Option<String>,
    /// Where it failed.
    pub step: Step,
    /// The cause.
    pub error: Error,
}

/// The stations of a row's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Conversion of the column's value.
    Input,
    /// Reading of the bytes.
    Fetch,
    /// Decoding and preparation of the picture.
    Decode,
    /// Cutting of the text.
    Tokenize,
    /// The graph.
    Model,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Fetch => "fetch",
            Self::Decode => "decode",
            Self::Tokenize => "tokenize",
            Self::Model => "model",
        })
    }
}

/// Pictures are held as tensors of about 600 kB each until their batch has run.
const IMAGE_WINDOW_ROWS_PER_WORKER: usize = 32;
/// Texts and numbers of a window; DataFusion's own batches are no longer than this by default.
const WINDOW_ROWS: usize = 65_536;

pub(super) fn run(model: &LoadedModel, request: &Request<'_>) -> Result<Answer> {
    let manifest = &*model.manifest;
    let mut failures = Vec::new();
    let mut columns = HashMap::new();
    for (input, arguments) in manifest.inputs.iter().zip(request.inputs) {
        columns.insert(input.name.clone(), prepare(input, arguments, request.rows, &mut failures)?);
    }
    let mut active = vec![true; request.rows];
    failures.iter().for_each(|failure| active[failure.row] = false);
    for input in manifest.inputs.iter().filter(|input| !input.optional) {
        active.iter_mut().zip(&columns[&input.name].present).for_each(|(active, present)| *active &= *present);
    }
    let rows: Vec<usize> = (0..request.rows).filter(|row| active[*row]).collect();
    let references = request.wanted.references(manifest)?;
    let mut collectors =
        references.iter().map(|reference| Collector::new(manifest, reference, request.rows)).collect::<Result<Vec<_>>>()?;
    for window in rows.chunks(window_rows(manifest)?) {
        if request.stop_at_failure && !failures.is_empty() {
            break;
        }
        run_window(model, &columns, window, request, &references, &mut collectors, &mut failures)?;
    }
    for failure in &failures {
        active[failure.row] = false;
    }
    let values = assemble(manifest, request.wanted, collectors, &mut active, &mut failures)?;
    failures.sort_by_key(|failure| failure.row);
    Ok(Answer { values, failures })
}

fn has_image(manifest: &Manifest) -> bool {
    manifest.inputs.iter().any(|input| matches!(input.modality, Modality::Image(_)))
}

fn window_rows(manifest: &Manifest) -> Result<usize> {
    let workers = workers()?.current_num_threads();
    Ok(if has_image(manifest) { IMAGE_WINDOW_ROWS_PER_WORKER * workers } else { WINDOW_ROWS })
}

fn run_window(
    model: &LoadedModel,
    columns: &HashMap<String, Column>,
    window: &[usize],
    request: &Request<'_>,
    references: &[OutputRef],
    collectors: &mut [Collector],
    failures: &mut Vec<Failure>,
) -> Result<()> {
    let (encoded, usable) = encode(model, columns, window, request, failures)?;
    let batches = plan(&model.manifest, &encoded, usable, request.limits);
    let run = |positions: Vec<usize>| {
        let results = run_or_split(model, columns, &encoded, window, positions, references);
        model.rows.fetch_add(results.iter().map(|(positions, _)| positions.len() as u64).sum(), Ordering::Relaxed);
        results
    };
    let results: Vec<_> = workers()?.install(|| batches.into_par_iter().flat_map_iter(run).collect());
    for (positions, result) in results {
        let rows: Vec<usize> = positions.iter().map(|position| window[*position]).collect();
        match result {
            Ok(tensors) => {
                for (collector, tensor) in collectors.iter_mut().zip(tensors) {
                    collector.scatter(&rows, tensor)?;
                }
            }
            Err(error) if matches!(error.kind(), Kind::Model) => {
                failures.extend(rows.iter().map(|row| Failure { row: *row, uri: None, step: Step::Model, error: error.clone() }));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Rows of a batch where `mm.batch_rows` is 0: what one core does best, found by trying powers of two.
fn batch_rows(manifest: &Manifest, limits: &Limits) -> usize {
    match limits.batch_rows {
        0 if has_image(manifest) => 16,
        0 => 4_096,
        rows => rows,
    }
}

fn plan(manifest: &Manifest, encoded: &Encoded, usable: Vec<usize>, limits: &Limits) -> Vec<Vec<usize>> {
    let fixed = manifest.stages.iter().find_map(Stage::fixed_batch);
    let equal_lengths = manifest.inputs.iter().any(|input| matches!(&input.modality, Modality::Text(spec) if !spec.masked));
    // Lengths of several texts are compared by their sum, which does not make each of them equal.
    let alone = equal_lengths && encoded.tokens.len() > 1;
    let max_rows = if alone { 1 } else { fixed.unwrap_or_else(|| batch_rows(manifest, limits)) };
    let rule = BatchRule { max_rows, max_tokens: limits.batch_tokens, equal_lengths };
    let length = |position: usize| encoded.tokens.values().map(|tokens| tokens[position].ids.len()).sum::<usize>();
    cut(usable, (!encoded.tokens.is_empty()).then_some(&length as &dyn Fn(usize) -> usize), rule)
}

type Outcome = (Vec<usize>, Result<Vec<HostTensor>>);

/// Runs a batch; if the graph fails on it, its halves, so that one row does not sink its neighbours.
fn run_or_split(
    model: &LoadedModel,
    columns: &HashMap<String, Column>,
    encoded: &Encoded,
    window: &[usize],
    positions: Vec<usize>,
    references: &[OutputRef],
) -> Vec<Outcome> {
    let batch = Batch { manifest: &model.manifest, columns, encoded, window, positions: fill_up(&model.manifest, positions.clone()) };
    let worker = rayon::current_thread_index().unwrap_or(0);
    let result = model.with_sessions(worker, |sessions| run_batch(&batch, sessions, references, positions.len()));
    match result {
        Err(error) if error.kind() == Kind::Model && error.is_retryable() && positions.len() > 1 => {
            let (left, right) = positions.split_at(positions.len() / 2);
            let half = |positions: &[usize]| run_or_split(model, columns, encoded, window, positions.to_vec(), references);
            let mut results = half(left);
            results.extend(half(right));
            results
        }
        result => vec![(positions, result)],
    }
}

/// A graph with a fixed batch gets the last row as often as it needs; those answers are not used.
fn fill_up(manifest: &Manifest, mut positions: Vec<usize>) -> Vec<usize> {
    if let (Some(rows), Some(last)) = (manifest.stages.iter().find_map(Stage::fixed_batch), positions.last().copied()) {
        positions.resize(rows.max(positions.len()), last);
    }
    positions
}

fn run_batch(batch: &Batch<'_>, sessions: &mut [Session], references: &[OutputRef], rows: usize) -> Result<Vec<HostTensor>> {
    let manifest = batch.manifest;
    let mut vectors: HashMap<OutputRef, Vec<f32>> = HashMap::new();
    let mut wanted: HashMap<OutputRef, HostTensor> = HashMap::new();
    for (stage, session) in manifest.stages.iter().zip(sessions) {
        let feeds = stage.feeds.iter().map(|feed| Ok((feed.port.name.as_str(), batch.feed(feed, &vectors)?)));
        let feeds = feeds.collect::<Result<Vec<_>>>()?;
        let outputs =
            session.run(feeds).map_err(|error| Error::new(Kind::Model, format!("graph {} failed: {error}", stage.graph)).retryable())?;
        let later = manifest.stages.iter().flat_map(|stage| &stage.feeds).filter_map(|feed| match &feed.source {
            Source::Output(reference) => Some(reference),
            _ => None,
        });
        for (reference, for_user) in references.iter().map(|reference| (reference, true)).chain(later.map(|reference| (reference, false))) {
            if reference.stage != stage.name {
                continue;
            }
            let port = manifest.port(reference)?;
            let value =
                outputs.get(&port.name).ok_or_else(|| Error::new(Kind::Model, format!("graph {} gave no '{}'", stage.graph, port.name)))?;
            let tensor = HostTensor::read(port, value, classes(manifest))?;
            check_rows(&tensor, batch.positions.len(), &port.name)?;
            let tensor = finish(batch, stage, reference, tensor)?;
            if for_user {
                wanted.insert(reference.clone(), tensor);
            } else {
                vectors.insert(reference.clone(), tensor.into_f32(port)?);
            }
        }
    }
    let take = |reference: &OutputRef| {
        let mut tensor =
            wanted.get(reference).cloned().ok_or_else(|| Error::new(Kind::Package, format!("no output '{}'", reference.output)))?;
        tensor.truncate(rows);
        Ok(tensor)
    };
    references.iter().map(take).collect()
}

fn classes(manifest: &Manifest) -> Option<&ClassNames> {
    match &manifest.prediction {
        Prediction::Classification { classes, .. } => Some(classes),
        _ => None,
    }
}

fn check_rows(tensor: &HostTensor, rows: usize, name: &str) -> Result<()> {
    if tensor.rows() == rows {
        return Ok(());
    }
    Err(Error::new(Kind::Model, format!("output '{name}' has {} rows for {rows} rows of input", tensor.rows()))
        .with_hint("the graph does not work row by row; export it with a dynamic first dimension"))
}

/// Pooling and normalisation of a reference.
fn finish(batch: &Batch<'_>, stage: &Stage, reference: &OutputRef, tensor: HostTensor) -> Result<HostTensor> {
    if reference.pooling.is_none() && !reference.normalize {
        return Ok(tensor);
    }
    let port = batch.manifest.port(reference)?;
    let shape = tensor.shape.clone();
    let mut values = tensor.into_f32(port)?;
    let width = shape.last().copied().unwrap_or(1);
    if let Some(how) = reference.pooling {
        let text = stage.feeds.iter().find_map(|feed| match &feed.source {
            Source::Tokens { input, .. } => Some(input),
            _ => None,
        });
        let &[_, tokens, width] = shape.as_slice() else {
            return Err(Error::new(Kind::Model, format!("output '{}' cannot be pooled: it has {} dimensions", port.name, shape.len())));
        };
        let (lengths, _) =
            text.and_then(|input| batch.token_lengths(input)).unwrap_or_else(|| (vec![tokens; batch.positions.len()], tokens));
        values = pool(&values, &lengths, tokens, width, how);
    }
    if reference.normalize {
        normalize(&mut values, width);
    }
    Ok(HostTensor { shape: vec![batch.positions.len(), width], data: Data::Float32(values) })
}
