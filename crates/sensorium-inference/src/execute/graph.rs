//! One batch through the graphs of a model.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ort::value::DynValue;

use super::cancel::Cancel;
use super::explain;
use super::feeds::Batch;
use super::loaded::LoadedModel;
use super::pooling::{normalize, pool};
use super::stats::Stats;
use super::tensor::{Data, HostTensor, floats};
use crate::error::{Error, Kind, Result};
use crate::package::{CONTEXT_STAGE, ClassNames, EXPLAIN_STAGE, Feed, Manifest, OutputRef, Pooling, Port, Prediction, Source, Stage};

/// The outputs `references` for the first `rows` rows of the batch.
pub(super) fn run_batch(
    batch: &Batch<'_>,
    model: &LoadedModel,
    references: &[OutputRef],
    rows: usize,
    cancel: &Cancel,
    stats: &Stats,
) -> Result<Vec<HostTensor>> {
    let manifest = batch.manifest;
    let mut vectors: HashMap<OutputRef, Vec<f32>> = HashMap::new();
    let mut wanted: Vec<Option<HostTensor>> = vec![None; references.len()];
    let explained = references.iter().position(|reference| *reference == explain::reference());
    let is_run = |stage: &Stage| stage.name != CONTEXT_STAGE && stage.name != EXPLAIN_STAGE;
    for (index, stage) in manifest.stages.iter().enumerate().filter(|(_, stage)| is_run(stage)) {
        let filling = Instant::now();
        if let Some(place) = explained.filter(|_| index + 1 == manifest.stages.len()) {
            wanted[place] = Some(explain_rows(batch, model, stage, &vectors, cancel, stats)?);
            continue;
        }
        let feeds = stage.feeds.iter().map(|feed| {
            let value =
                if feed.source.is_context() { model.context(cancel, stats)?.get(feed)? } else { Arc::new(batch.feed(feed, &vectors)?) };
            Ok((feed.port.name.clone(), value))
        });
        let feeds = feeds.collect::<Result<Vec<_>>>()?;
        stats.scatter_time.since(filling);
        let outputs = cancel.guard(|options| model.sessions().run(index, feeds, options, stats)).map_err(|error| failed(error, stage))?;
        let reading = Instant::now();
        let read = |reference: &OutputRef| {
            let port = manifest.port(reference)?;
            let absent = || Error::new(Kind::Model, format!("graph {} gave no '{}'", stage.graph, port.name));
            let (_, value) = outputs.iter().find(|(name, _)| *name == port.name).ok_or_else(absent)?;
            let tensor = if let Some((counts, how)) = batch.frames_of(stage)? {
                of_frames(&counts, how, port, reference, value)?
            } else if reference.pooling.is_none() && !reference.normalize {
                HostTensor::read(port, value, classes(manifest))?
            } else {
                vectors_of(batch, stage, reference, value)?
            };
            check_rows(tensor.rows(), batch.positions.len(), &port.name)?;
            match reference.first {
                Some(width) => tensor.first(width),
                None => Ok(tensor),
            }
        };
        for (place, reference) in wanted.iter_mut().zip(references).filter(|(_, reference)| reference.stage == stage.name) {
            *place = Some(read(reference)?);
        }
        for reference in used_later(manifest).filter(|reference| reference.stage == stage.name) {
            vectors.insert(reference.clone(), read(reference)?.into_f32(manifest.port(reference)?)?);
        }
        stats.scatter_time.since(reading);
    }
    let take = |(tensor, reference): (Option<HostTensor>, &OutputRef)| {
        let mut tensor = tensor.ok_or_else(|| Error::new(Kind::Package, format!("no output '{}'", reference.output)))?;
        tensor.truncate(rows);
        Ok(tensor)
    };
    wanted.into_iter().zip(references).map(take).collect()
}

/// The explanations of a batch whose encoders have run; `stage` is the head.
fn explain_rows(
    batch: &Batch<'_>,
    model: &LoadedModel,
    stage: &Stage,
    vectors: &HashMap<OutputRef, Vec<f32>>,
    cancel: &Cancel,
    stats: &Stats,
) -> Result<HostTensor> {
    let own = |feed: &Feed| HostTensor::read(&feed.port, &batch.feed(feed, vectors)?, None);
    let own = stage.feeds.iter().map(own).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let explained = model.explainer()?.explain(&explain::Place { model, cancel, stats }, &own, batch.positions.len());
    stats.explain_time.since(start);
    explained.map_err(|error| failed(error, stage))
}

fn failed(error: Error, stage: &Stage) -> Error {
    if error.kind() != Kind::Model {
        return error;
    }
    let named = Error::new(Kind::Model, format!("graph {} failed: {error}", stage.graph));
    if error.is_retryable() { named.retryable() } else { named }
}

/// Outputs that are inputs of later stages.
fn used_later(manifest: &Manifest) -> impl Iterator<Item = &OutputRef> {
    manifest.stages.iter().flat_map(|stage| &stage.feeds).filter_map(|feed| match &feed.source {
        Source::Output(reference) => Some(reference),
        _ => None,
    })
}

/// A vector for each video from those of its frames; `counts` are the frames of each.
fn of_frames(counts: &[usize], how: Pooling, port: &Port, reference: &OutputRef, value: &DynValue) -> Result<HostTensor> {
    let (shape, values) = floats(port, value)?;
    let &[frames, width] = shape.as_slice() else {
        return Err(Error::new(Kind::Model, format!("output '{}' of {} dimensions cannot be pooled over frames", port.name, shape.len())));
    };
    check_rows(frames, counts.iter().sum(), &port.name)?;
    let (mut pooled, mut rest) = (Vec::with_capacity(counts.len() * width), values.as_ref());
    for count in counts {
        let (own, others) = rest.split_at(count * width);
        pooled.extend(pool(own, &[*count], *count, width, how));
        rest = others;
    }
    if reference.normalize {
        normalize(&mut pooled, width);
    }
    Ok(HostTensor { shape: vec![counts.len(), width], data: Data::Float32(pooled) })
}

fn classes(manifest: &Manifest) -> Option<&ClassNames> {
    match &manifest.prediction {
        Prediction::Classification { classes, .. } => Some(classes),
        _ => None,
    }
}

fn check_rows(found: usize, rows: usize, name: &str) -> Result<()> {
    if found == rows {
        return Ok(());
    }
    Err(Error::new(Kind::Model, format!("output '{name}' has {found} rows for {rows} rows of input"))
        .with_hint("the graph does not work row by row; export it with a dynamic first dimension"))
}

/// A vector for each row: pooled over its tokens, normalised, or both. What is pooled is read where ONNX Runtime wrote it.
fn vectors_of(batch: &Batch<'_>, stage: &Stage, reference: &OutputRef, value: &DynValue) -> Result<HostTensor> {
    let port = batch.manifest.port(reference)?;
    let (shape, values) = floats(port, value)?;
    let rows = shape.first().copied().unwrap_or(0);
    check_rows(rows, batch.positions.len(), &port.name)?;
    let width = shape.last().copied().unwrap_or(1);
    let mut values = match reference.pooling {
        None => values.into_owned(),
        Some(how) => {
            let text = stage.feeds.iter().find_map(|feed| match &feed.source {
                Source::Tokens { input, .. } => Some(input),
                _ => None,
            });
            let &[_, tokens, width] = shape.as_slice() else {
                return Err(Error::new(Kind::Model, format!("output '{}' cannot be pooled: it has {} dimensions", port.name, shape.len())));
            };
            let (lengths, _) = text.and_then(|input| batch.token_lengths(input)).unwrap_or_else(|| (vec![tokens; rows], tokens));
            pool(&values, &lengths, tokens, width, how)
        }
    };
    if reference.normalize {
        normalize(&mut values, width);
    }
    Ok(HostTensor { shape: vec![rows, width], data: Data::Float32(values) })
}
