//! Tokens, pixels and sounds of some rows.

use std::collections::HashMap;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use bytes::Bytes;

use super::fetch::Fetched;
use super::loaded::LoadedModel;
use super::run::{Failure, Request, Step, places};
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::media::{Place, fetch_local};
use crate::modality::{
    Column, Document, Tokens, Window, is_document, picture_to_tensor, rgb_to_tensor, samples, sound_features, split_page, video_to_tensor,
    window,
};
use crate::package::{AudioSpec, ImageSpec, Input, Modality, SeriesSpec, VideoSpec};

/// What a call works on.
pub(super) struct Work<'a> {
    pub(super) model: &'a LoadedModel,
    pub(super) columns: &'a HashMap<String, Column>,
    pub(super) request: &'a Request<'a>,
}

/// What rows became, indexed by their position among the rows that were encoded together.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) tokens: HashMap<String, Vec<Tokens>>,
    /// Empty for a picture that is absent; the frames of a video one behind the other.
    pub(super) pixels: HashMap<String, Vec<Vec<f32>>>,
    /// Empty for a sound that is absent.
    pub(super) sounds: HashMap<String, Vec<Vec<f32>>>,
    /// Without steps for a window that is absent.
    pub(super) series: HashMap<String, Vec<Window>>,
}

pub(super) type Outcome<T> = Result<T, (Step, Error)>;

/// Encodes every text and medium for `rows`, on all workers or on the calling one. Positions whose row failed are
/// left out of the returned list.
pub(super) fn encode(
    work: &Work<'_>,
    rows: &[usize],
    fetched: &Fetched,
    failures: &mut Vec<Failure>,
    on_all_workers: bool,
) -> (Encoded, Vec<usize>) {
    let mut encoded = Encoded::default();
    let mut is_usable = vec![true; rows.len()];
    for input in &work.model.manifest.inputs {
        let Some(column) = work.columns.get(&input.name) else { continue };
        let mut keep = |position: usize, (step, error): (Step, Error)| {
            is_usable[position] = false;
            failures.push(Failure { row: rows[position], uri: uri(input, column, rows[position]), step, error });
        };
        match &input.modality {
            Modality::Text(_) => {
                let one = |row: usize| tokens(work, &input.name, column, row);
                encoded.tokens.insert(input.name.clone(), sort_out(all(rows, one, on_all_workers), &mut keep));
            }
            Modality::Image(spec) => {
                let one = |row: usize| pixels(work, input, spec, column, row, fetched);
                encoded.pixels.insert(input.name.clone(), sort_out(all(rows, one, on_all_workers), &mut keep));
            }
            Modality::Video(spec) => {
                let one = |row: usize| video(work, input, spec, column, row, fetched);
                encoded.pixels.insert(input.name.clone(), sort_out(all(rows, one, on_all_workers), &mut keep));
            }
            Modality::Audio(spec) => {
                let one = |row: usize| sound(work, input, spec, column, row, fetched);
                encoded.sounds.insert(input.name.clone(), sort_out(all(rows, one, on_all_workers), &mut keep));
            }
            Modality::Series(spec) => {
                let one = |row: usize| series(work, spec, column, row);
                encoded.series.insert(input.name.clone(), sort_out(all(rows, one, on_all_workers), &mut keep));
            }
            _ => {}
        }
    }
    (encoded, places(&is_usable))
}

fn all<T: Send>(rows: &[usize], one: impl Fn(usize) -> Outcome<T> + Sync, on_all_workers: bool) -> Vec<Outcome<T>> {
    if on_all_workers && let Ok(outcomes) = workers::map(rows.len(), 1, |position| one(rows[position])) {
        return outcomes;
    }
    rows.iter().map(|row| one(*row)).collect()
}

fn sort_out<T: Default>(outcomes: Vec<Outcome<T>>, keep: &mut impl FnMut(usize, (Step, Error))) -> Vec<T> {
    let one = |(position, outcome): (usize, Outcome<T>)| {
        outcome.unwrap_or_else(|failure| {
            keep(position, failure);
            T::default()
        })
    };
    outcomes.into_iter().enumerate().map(one).collect()
}

/// Only media have one: a text is nobody's business in an error list.
pub(super) fn uri(input: &Input, column: &Column, row: usize) -> Option<String> {
    if !input.modality.is_media() {
        return None;
    }
    uri_at(column, column.places(row).next()?)
}

/// The URI at one of a column's places, cut where it is long.
pub(super) fn uri_at(column: &Column, place: usize) -> Option<String> {
    column.values.as_string_opt::<i32>().map(|uris| uris.value(place).chars().take(200).collect())
}

/// Tokens of a row's text; none where it cannot be cut.
pub(super) fn token_count(work: &Work<'_>, input: &str, row: usize) -> usize {
    work.columns.get(input).and_then(|column| tokens(work, input, column, row).ok()).map_or(0, |tokens| tokens.ids.len())
}

pub(super) fn tokens(work: &Work<'_>, input: &str, column: &Column, row: usize) -> Outcome<Tokens> {
    let missing = || (Step::Tokenize, Error::new(Kind::Package, format!("input '{input}' has no tokenizer")));
    let encoder = work.model.text_encoder(input).ok_or_else(missing)?;
    // An absent text still needs a token; the model's mask says that it is absent.
    let text = if column.is_present(row) { column.values.as_string::<i32>().value(row) } else { "" };
    let start = Instant::now();
    work.request.cancel.check().map_err(|error| (Step::Tokenize, error))?;
    let tokens = encoder.encode(text, work.request.limits).map_err(|error| (Step::Tokenize, error));
    work.request.stats.tokenize_time.since(start);
    tokens
}

fn series(work: &Work<'_>, spec: &SeriesSpec, column: &Column, row: usize) -> Outcome<Window> {
    if !column.is_present(row) {
        return Ok(Window::default());
    }
    let start = Instant::now();
    let samples = column.values.as_list::<i64>().value(row);
    let samples = samples.as_primitive::<Float64Type>().iter().map(|value| value.unwrap_or(f64::NAN)).collect();
    let window = window(samples, spec, work.request.limits.max_series_steps).map_err(|error| (Step::Input, error));
    work.request.stats.feature_time.since(start);
    window
}

pub(super) fn pixels(
    work: &Work<'_>,
    input: &Input,
    spec: &ImageSpec,
    column: &Column,
    place: usize,
    fetched: &Fetched,
) -> Outcome<Vec<f32>> {
    let Some(bytes) = medium(work, input, column, place, fetched)? else { return Ok(Vec::new()) };
    let start = Instant::now();
    let tensor = picture(&bytes, spec, page(column, place), work).map_err(|error| (Step::Decode, error));
    work.request.stats.decode_time.since(start);
    tensor
}

fn video(work: &Work<'_>, input: &Input, spec: &VideoSpec, column: &Column, row: usize, fetched: &Fetched) -> Outcome<Vec<f32>> {
    let Some(bytes) = medium(work, input, column, row, fetched)? else { return Ok(Vec::new()) };
    let start = Instant::now();
    let tensor = video_to_tensor(&bytes, spec, work.request.limits, &|| work.request.cancel.check()).map_err(|error| (Step::Decode, error));
    work.request.stats.decode_time.since(start);
    tensor
}

/// The tensor of a picture, or of a page of a document.
fn picture(bytes: &Bytes, spec: &ImageSpec, page: Option<usize>, work: &Work<'_>) -> Result<Vec<f32>> {
    let limits = work.request.limits;
    if !is_document(bytes, page) {
        return picture_to_tensor(bytes, spec, limits);
    }
    rgb_to_tensor(Document::open(bytes, limits)?.picture(page, limits, &|| work.request.cancel.check())?, spec)
}

/// The page that a URI names.
pub(super) fn page(column: &Column, place: usize) -> Option<usize> {
    column.values.as_string_opt::<i32>().and_then(|uris| split_page(uris.value(place)).1)
}

fn sound(work: &Work<'_>, input: &Input, spec: &AudioSpec, column: &Column, row: usize, fetched: &Fetched) -> Outcome<Vec<f32>> {
    let Some(samples) = sound_samples(work, input, spec, column, row, fetched)? else { return Ok(Vec::new()) };
    let start = Instant::now();
    let features = sound_features(samples, spec);
    work.request.stats.feature_time.since(start);
    Ok(features)
}

/// The samples of a sound; `None` where it is absent.
pub(super) fn sound_samples(
    work: &Work<'_>,
    input: &Input,
    spec: &AudioSpec,
    column: &Column,
    place: usize,
    fetched: &Fetched,
) -> Outcome<Option<Vec<f32>>> {
    let Some(bytes) = medium(work, input, column, place, fetched)? else { return Ok(None) };
    let start = Instant::now();
    let samples = samples(bytes, spec, work.request.limits).map_err(|error| (Step::Decode, error));
    work.request.stats.decode_time.since(start);
    samples.map(Some)
}

/// The bytes of the medium at one of a column's places, which are its rows but for lists; `None` where it is absent.
pub(super) fn medium(work: &Work<'_>, input: &Input, column: &Column, place: usize, fetched: &Fetched) -> Outcome<Option<Bytes>> {
    let (limits, stats) = (work.request.limits, work.request.stats);
    work.request.cancel.check().map_err(|error| (Step::Fetch, error))?;
    if !column.is_at(place) {
        return Ok(None);
    }
    if page(column, place).is_some() && !matches!(input.modality, Modality::Image(_) | Modality::Document) {
        let error =
            Error::new(Kind::Argument, format!("a page of what is no document: input '{}' takes {}", input.name, input.modality.article()));
        return Err((Step::Fetch, error.with_hint("leave out what stands behind '#'")));
    }
    let start = Instant::now();
    let bytes = match column.values.as_binary_opt::<i64>() {
        Some(values) => Bytes::copy_from_slice(values.value(place)),
        None => read(work, input, column.values.as_string::<i32>().value(place), place, fetched).map_err(|error| (Step::Fetch, error))?,
    };
    stats.fetch_time.since(start);
    if bytes.len() > limits.max_media_bytes {
        let error = Error::new(Kind::Limit, format!("{} bytes are over the limit of {}", bytes.len(), limits.max_media_bytes));
        return Err((Step::Fetch, error.with_hint("SET mm.max_media_bytes")));
    }
    Ok(Some(bytes))
}

fn read(work: &Work<'_>, input: &Input, uri: &str, place: usize, fetched: &Fetched) -> Result<Bytes> {
    let bytes = match work.request.access.locate(&input.name, uri)? {
        Place::Local(path) => {
            let bytes = fetch_local(&path, work.request.limits)?;
            work.model.digests.saw_file(&path, work.request.statement, &bytes, work.request.limits)?;
            bytes
        }
        Place::Remote(url) => {
            let missing = || Error::new(Kind::Fetch, format!("not read ahead: {url}"));
            fetched.get(&(input.name.clone(), place)).cloned().ok_or_else(missing)??
        }
    };
    work.request.stats.fetched_bytes.add(bytes.len());
    Ok(bytes)
}
