//! One batch through the graphs of a model.

use std::collections::HashMap;

use ort::session::Session;

use super::cancel::Cancel;
use super::feeds::Batch;
use super::pooling::{normalize, pool};
use super::tensor::{Data, HostTensor};
use crate::error::{Error, Kind, Result};
use crate::package::{ClassNames, Manifest, OutputRef, Prediction, Source, Stage};

/// The outputs `references` for the first `rows` rows of the batch.
pub(super) fn run_batch(
    batch: &Batch<'_>,
    sessions: &mut [Session],
    references: &[OutputRef],
    rows: usize,
    cancel: &Cancel,
) -> Result<Vec<HostTensor>> {
    let manifest = batch.manifest;
    let mut vectors: HashMap<OutputRef, Vec<f32>> = HashMap::new();
    let mut wanted: HashMap<OutputRef, HostTensor> = HashMap::new();
    for (stage, session) in manifest.stages.iter().zip(sessions) {
        let feeds = stage.feeds.iter().map(|feed| Ok((feed.port.name.as_str(), batch.feed(feed, &vectors)?)));
        let feeds = feeds.collect::<Result<Vec<_>>>()?;
        cancel.guard(|options| {
            let outputs = session
                .run_with_options(feeds, options)
                .map_err(|error| Error::new(Kind::Model, format!("graph {} failed: {error}", stage.graph)).retryable())?;
            let later = manifest.stages.iter().flat_map(|stage| &stage.feeds).filter_map(|feed| match &feed.source {
                Source::Output(reference) => Some(reference),
                _ => None,
            });
            let for_user = references.iter().map(|reference| (reference, true));
            for (reference, for_user) in for_user.chain(later.map(|reference| (reference, false))) {
                if reference.stage != stage.name {
                    continue;
                }
                let port = manifest.port(reference)?;
                let absent = || Error::new(Kind::Model, format!("graph {} gave no '{}'", stage.graph, port.name));
                let tensor = HostTensor::read(port, outputs.get(&port.name).ok_or_else(absent)?, classes(manifest))?;
                check_rows(&tensor, batch.positions.len(), &port.name)?;
                let tensor = finish(batch, stage, reference, tensor)?;
                if for_user {
                    wanted.insert(reference.clone(), tensor);
                } else {
                    vectors.insert(reference.clone(), tensor.into_f32(port)?);
                }
            }
            Ok(())
        })?;
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
