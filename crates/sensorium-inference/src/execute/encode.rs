//! Tokens and pixels of a window of rows, made on all cores before the device sees any of them.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use bytes::Bytes;
use futures::{StreamExt, stream};
use rayon::prelude::*;

use super::loaded::LoadedModel;
use super::models::workers;
use super::run::{Failure, Request, Step};
use crate::error::{Error, Kind, Result};
use crate::io;
use crate::media::{Place, fetch_local, fetch_remote};
use crate::modality::{Column, Tokens, picture_to_tensor};
use crate::package::{ImageSpec, Input, Modality};

/// What a window's rows became, indexed by their position in the window.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) tokens: HashMap<String, Vec<Tokens>>,
    /// Empty for a picture that is absent.
    pub(super) pixels: HashMap<String, Vec<Vec<f32>>>,
}

type Outcome<T> = Result<T, (Step, Error)>;

/// Encodes every text and image input for `rows`. Positions whose row failed are left out of the returned list.
pub(super) fn encode(
    model: &LoadedModel,
    columns: &HashMap<String, Column>,
    rows: &[usize],
    request: &Request<'_>,
    failures: &mut Vec<Failure>,
) -> Result<(Encoded, Vec<usize>)> {
    let mut encoded = Encoded::default();
    let mut failed = vec![false; rows.len()];
    for input in &model.manifest.inputs {
        let Some(column) = columns.get(&input.name) else { continue };
        let mut keep = |outcome: Outcome<()>, position: usize| {
            if let Err((step, error)) = outcome {
                failed[position] = true;
                failures.push(Failure { row: rows[position], uri: uri(input, column, rows[position]), step, error });
            }
        };
        match &input.modality {
            Modality::Text(_) => {
                let outcomes = tokenize(model, &input.name, column, rows, request)?;
                encoded.tokens.insert(input.name.clone(), sort_out(outcomes, &mut keep));
            }
            Modality::Image(spec) => {
                let outcomes = pictures(&input.name, spec, column, rows, request)?;
                encoded.pixels.insert(input.name.clone(), sort_out(outcomes, &mut keep));
            }
            _ => {}
        }
    }
    let usable = (0..rows.len()).filter(|position| !failed[*position]).collect();
    Ok((encoded, usable))
}

fn sort_out<T: Default>(outcomes: Vec<Outcome<T>>, keep: &mut impl FnMut(Outcome<()>, usize)) -> Vec<T> {
    let one = |(position, outcome): (usize, Outcome<T>)| match outcome {
        Ok(value) => value,
        Err(failure) => {
            keep(Err(failure), position);
            T::default()
        }
    };
    outcomes.into_iter().enumerate().map(one).collect()
}

/// Only media have one: a text is nobody's business in an error list.
fn uri(input: &Input, column: &Column, row: usize) -> Option<String> {
    if !matches!(input.modality, Modality::Image(_)) {
        return None;
    }
    column.values.as_string_opt::<i32>().map(|uris| uris.value(row).chars().take(200).collect())
}

fn tokenize(model: &LoadedModel, input: &str, column: &Column, rows: &[usize], request: &Request<'_>) -> Result<Vec<Outcome<Tokens>>> {
    let encoder = model.text_encoder(input).ok_or_else(|| Error::new(Kind::Package, format!("input '{input}' has no tokenizer")))?;
    let texts = column.values.as_string::<i32>();
    let one = |row: &usize| {
        // An absent text still needs a token; the model's mask says that it is absent.
        let text = if column.present[*row] { texts.value(*row) } else { "" };
        encoder.encode(text, request.limits).map_err(|error| (Step::Tokenize, error))
    };
    Ok(workers()?.install(|| rows.par_iter().map(one).collect()))
}

fn pictures(input: &str, spec: &ImageSpec, column: &Column, rows: &[usize], request: &Request<'_>) -> Result<Vec<Outcome<Vec<f32>>>> {
    let sources = sources(input, &column.values, &column.present, rows, request)?;
    let one = |source: Outcome<Source>| {
        let fetched = match source? {
            Source::Absent => return Ok(Vec::new()),
            Source::Local(path) => fetch_local(&path, request.limits).map_err(|error| (Step::Fetch, error))?,
            Source::Bytes(bytes) => bytes,
        };
        if fetched.len() > request.limits.max_media_bytes {
            let error =
                Error::new(Kind::Limit, format!("{} bytes are over the limit of {}", fetched.len(), request.limits.max_media_bytes));
            return Err((Step::Fetch, error.with_hint("SET mm.max_media_bytes")));
        }
        picture_to_tensor(&fetched, spec, request.limits).map_err(|error| (Step::Decode, error))
    };
    Ok(workers()?.install(|| sources.into_par_iter().map(one).collect()))
}

/// Where the bytes of one picture are.
enum Source {
    Absent,
    /// Read by the worker that decodes it.
    Local(std::path::PathBuf),
    Bytes(Bytes),
}

/// Reads remote pictures, many at once; local ones are only located.
fn sources(input: &str, values: &ArrayRef, present: &[bool], rows: &[usize], request: &Request<'_>) -> Result<Vec<Outcome<Source>>> {
    if let Some(bytes) = values.as_binary_opt::<i64>() {
        let one = |row: &usize| Ok(if present[*row] { Source::Bytes(Bytes::copy_from_slice(bytes.value(*row))) } else { Source::Absent });
        return Ok(rows.iter().map(one).collect());
    }
    let uris = values.as_string::<i32>();
    let mut remote = Vec::new();
    let mut sources: Vec<Outcome<Source>> = Vec::with_capacity(rows.len());
    for (position, row) in rows.iter().enumerate() {
        if !present[*row] || uris.is_null(*row) {
            sources.push(Ok(Source::Absent));
            continue;
        }
        sources.push(match request.access.locate(input, uris.value(*row)) {
            Ok(Place::Local(path)) => Ok(Source::Local(path)),
            Ok(Place::Remote(url)) => {
                remote.push((position, url));
                Ok(Source::Absent)
            }
            Err(error) => Err((Step::Fetch, error)),
        });
    }
    let limits = request.limits.clone();
    let fetched = io::wait(async move {
        let concurrency = limits.fetch_concurrency.max(1);
        let limits = &limits;
        let fetches = remote.into_iter().map(|(position, url)| async move { (position, fetch_remote(&url, limits).await) });
        Ok(stream::iter(fetches).buffer_unordered(concurrency).collect::<Vec<_>>().await)
    })?;
    for (position, outcome) in fetched {
        sources[position] = outcome.map(Source::Bytes).map_err(|error| (Step::Fetch, error));
    }
    Ok(sources)
}
