//! When somebody speaks: frames of several sounds at a time through a model that remembers, then segments.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{ArrayRef, Float32Builder, Float64Builder, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use ort::value::DynValue;

use super::encode::{Work, sound_samples, uri};
use super::feeds::{floats, numbers};
use super::fetch::{Fetched, Fetches};
use super::results::Results;
use super::run::{Answer, Failure, Step, batch_rows};
use super::tensor::floats as values_of;
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::package::{AudioSpec, Feed, Input, Modality, NEXT_STATE, PROBABILITY, STATE, Source, Stage, VoiceActivity};

/// A row and its samples.
type Sound = (usize, Vec<f32>);

/// The speech of one row.
#[derive(Debug, Default)]
struct Speech {
    /// The highest probability of a frame.
    score: f32,
    /// Samples from and to.
    segments: Vec<[usize; 2]>,
}

/// The speech of each of `rows`; `failures` are those of rows that cannot be looked at.
pub(super) fn run(work: &Work<'_>, activity: &VoiceActivity, rows: &[usize], failures: Vec<Failure>) -> Result<Answer> {
    let incomplete = || Error::new(Kind::Package, "a voice activity model without a sound or a graph");
    let (Some(input), Some(stage)) = (work.model.manifest.inputs.first(), work.model.manifest.stages.first()) else {
        return Err(incomplete());
    };
    let Modality::Audio(spec) = &input.modality else { return Err(incomplete()) };
    let results = Results::new(work.request, Vec::new(), failures);
    let found: Mutex<Vec<Option<Speech>>> = Mutex::new((0..work.request.rows).map(|_| None).collect());
    let mut fetches = Fetches::start(work, rows)?;
    while let Some((rows, fetched)) = fetches.next(work)? {
        let size = batch_rows(work.model, work.request.limits).min(rows.len().div_ceil(workers::count()?)).max(1);
        workers::for_each(rows.chunks(size), |rows| {
            let sounds = decode(work, input, spec, rows, &fetched, &results);
            if sounds.is_empty() || results.is_over() {
                return;
            }
            let heard = |row: usize, speech: Speech| found.lock().unwrap_or_else(PoisonError::into_inner)[row] = Some(speech);
            hear_or_split(work, stage, activity, &sounds, &results, &heard);
            work.request.stats.model_rows.add(sounds.len());
            work.model.rows.fetch_add(sounds.len() as u64, Ordering::Relaxed);
        })?;
        work.request.cancel.check()?;
    }
    let (_, mut failures) = results.take()?;
    failures.sort_by_key(|failure| failure.row);
    let start = Instant::now();
    let values = assemble(&found.into_inner().unwrap_or_else(PoisonError::into_inner), spec.sampling_rate)?;
    work.request.stats.scatter_time.since(start);
    Ok(Answer::new(values, failures))
}

/// The samples of the rows whose sound can be used, the longest first.
fn decode(work: &Work<'_>, input: &Input, spec: &AudioSpec, rows: &[usize], fetched: &Fetched, results: &Results<'_>) -> Vec<Sound> {
    let Some(column) = work.columns.get(&input.name) else { return Vec::new() };
    let mut sounds = Vec::with_capacity(rows.len());
    for row in rows.iter().copied().take_while(|_| !results.is_over()) {
        match sound_samples(work, input, spec, column, row, fetched) {
            Ok(Some(samples)) => sounds.push((row, samples)),
            Ok(None) => {}
            Err((step, error)) => results.fail(vec![Failure { row, uri: uri(input, column, row), step, error }]),
        }
    }
    sounds.sort_by_key(|(_, samples)| std::cmp::Reverse(samples.len()));
    sounds
}

/// Hears sounds together; if the graph fails on them, in halves, so that one does not sink its neighbours.
fn hear_or_split(
    work: &Work<'_>,
    stage: &Stage,
    activity: &VoiceActivity,
    sounds: &[Sound],
    results: &Results<'_>,
    heard: &impl Fn(usize, Speech),
) {
    if results.is_over() {
        return;
    }
    match hear(work, stage, activity, sounds) {
        Ok(speech) => {
            for ((row, _), speech) in sounds.iter().zip(speech) {
                match speech {
                    Ok(speech) => heard(*row, speech),
                    Err(error) => results.fail(vec![Failure { row: *row, uri: None, step: Step::Model, error }]),
                }
            }
        }
        Err(error) if error.kind() == Kind::Model && sounds.len() > 1 => {
            let (left, right) = sounds.split_at(sounds.len() / 2);
            hear_or_split(work, stage, activity, left, results, heard);
            hear_or_split(work, stage, activity, right, results, heard);
        }
        Err(error) => results.add((sounds.iter().map(|(row, _)| *row).collect(), Err(error))),
    }
}

/// The speech in each sound; they come from the longest to the shortest, so that those that have ended are the last.
fn hear(work: &Work<'_>, stage: &Stage, activity: &VoiceActivity, sounds: &[Sound]) -> Result<Vec<Result<Speech>>> {
    let mut probabilities: Vec<Vec<f32>> = vec![Vec::new(); sounds.len()];
    let width = stage.feeds.iter().find(|feed| feed.port.name == STATE).and_then(|feed| feed.port.shape.last().copied().flatten());
    let width = width.ok_or_else(|| Error::new(Kind::Package, "the size of the model's state is not known"))?;
    let frames = |samples: &[f32]| samples.len().div_ceil(activity.frame);
    let longest = sounds.first().map_or(0, |(_, samples)| frames(samples));
    let (mut state, mut rows) = (vec![0.0; 2 * sounds.len() * width], sounds.len());
    for frame in 0..longest {
        let left = sounds.iter().take_while(|(_, samples)| frames(samples) > frame).count();
        if left < rows {
            state = state.chunks_exact(rows * width).flat_map(|layer| &layer[..left * width]).copied().collect();
            rows = left;
        }
        let input: Vec<f32> = sounds[..rows].iter().flat_map(|(_, samples)| framed(samples, frame, activity)).collect();
        let (heard, next) = step(work, stage, activity, input, state, rows, width)?;
        state = next;
        probabilities.iter_mut().zip(heard).for_each(|(own, probability)| own.push(probability));
    }
    work.request.stats.batches.add(1);
    let speech = |((_, samples), probabilities): (&Sound, Vec<f32>)| {
        if probabilities.iter().any(|probability| !probability.is_finite()) {
            return Err(
                Error::new(Kind::Model, "a probability is NaN or infinite").with_hint("look for NaN among the samples of the sound")
            );
        }
        Ok(Speech { score: probabilities.iter().copied().fold(0.0, f32::max), segments: segments(&probabilities, activity, samples.len()) })
    };
    Ok(sounds.iter().zip(probabilities).map(speech).collect())
}

/// A frame with the end of the one before it, zeros where there is nothing.
fn framed<'a>(samples: &'a [f32], frame: usize, activity: &'a VoiceActivity) -> impl Iterator<Item = f32> + 'a {
    let start = frame * activity.frame;
    let place =
        move |index: usize| (start + index).checked_sub(activity.context).and_then(|place| samples.get(place)).copied().unwrap_or(0.0);
    (0..activity.context + activity.frame).map(place)
}

/// One frame of each sound: probabilities, and what the model remembers.
fn step(
    work: &Work<'_>,
    stage: &Stage,
    activity: &VoiceActivity,
    input: Vec<f32>,
    state: Vec<f32>,
    rows: usize,
    width: usize,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let (mut input, mut state) = (Some(input), Some(state));
    let mut tensor = |feed: &Feed| -> Result<DynValue> {
        match &feed.source {
            Source::Sound { .. } => floats(&feed.port, vec![rows, activity.context + activity.frame], input.take().unwrap_or_default()),
            Source::Carried { .. } => floats(&feed.port, vec![2, rows, width], state.take().unwrap_or_default()),
            Source::Constant { value, shape } => numbers(&feed.port, shape.clone(), std::iter::once(*value)),
            _ => Err(Error::new(Kind::Package, format!("unknown source of {}", feed.port))),
        }
    };
    let feeds = stage.feeds.iter().map(|feed| Ok((feed.port.name.clone(), Arc::new(tensor(feed)?)))).collect::<Result<Vec<_>>>()?;
    let (cancel, stats) = (work.request.cancel, work.request.stats);
    let outputs = cancel.guard(|options| work.model.sessions().run(0, feeds, options, stats))?;
    let output = |name: &str| {
        let missing = || Error::new(Kind::Model, format!("the graph gave no '{name}'"));
        let port = stage.outputs.iter().find(|port| port.name == name).ok_or_else(missing)?;
        let (_, value) = outputs.iter().find(|(found, _)| found == name).ok_or_else(missing)?;
        values_of(port, value).map(|(_, values)| values.into_owned())
    };
    let (heard, next) = (output(PROBABILITY)?, output(NEXT_STATE)?);
    if heard.len() != rows || next.len() != 2 * rows * width {
        return Err(Error::new(Kind::Model, format!("{} probabilities for {rows} sounds", heard.len())));
    }
    Ok((heard, next))
}

/// Frames that are speech, joined and padded (silero-vad 6.2, `get_speech_timestamps` with its defaults).
fn segments(probabilities: &[f32], activity: &VoiceActivity, samples: usize) -> Vec<[usize; 2]> {
    let mut found: Vec<[usize; 2]> = Vec::new();
    let (mut start, mut silence): (Option<usize>, Option<usize>) = (None, None);
    for (frame, probability) in probabilities.iter().enumerate() {
        let now = frame * activity.frame;
        if *probability >= activity.threshold {
            silence = None;
            start = start.or(Some(now));
            continue;
        }
        let Some(began) = start.filter(|_| *probability < activity.silence_threshold) else { continue };
        let ended = *silence.get_or_insert(now);
        if now - ended >= activity.min_silence {
            if ended - began > activity.min_speech {
                found.push([began, ended]);
            }
            (start, silence) = (None, None);
        }
    }
    if let Some(began) = start.filter(|began| samples - began > activity.min_speech) {
        found.push([began, samples]);
    }
    let padding = activity.padding;
    if let Some(first) = found.first_mut() {
        first[0] = first[0].saturating_sub(padding);
    }
    for place in 1..found.len() {
        let gap = found[place][0] - found[place - 1][1];
        let added = if gap < 2 * padding { gap / 2 } else { padding };
        found[place - 1][1] = (found[place - 1][1] + added).min(samples);
        found[place][0] = found[place][0].saturating_sub(added);
    }
    if let Some(last) = found.last_mut() {
        last[1] = (last[1] + padding).min(samples);
    }
    found
}

fn segment_fields() -> Fields {
    Fields::from(vec![Field::new("start", DataType::Float64, true), Field::new("end", DataType::Float64, true)])
}

/// `{score, seconds, segments: [{start, end}]}`.
pub(super) fn voice_activity_fields() -> Fields {
    let segment = Arc::new(Field::new_list_field(DataType::Struct(segment_fields()), true));
    Fields::from(vec![
        Field::new("score", DataType::Float32, true),
        Field::new("seconds", DataType::Float64, true),
        Field::new("segments", DataType::List(segment), true),
    ])
}

fn assemble(rows: &[Option<Speech>], rate: u32) -> Result<ArrayRef> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Model, format!("the segments cannot be returned: {error}"));
    let time = |samples: usize| samples as f64 / f64::from(rate);
    let (mut scores, mut seconds) = (Float32Builder::new(), Float64Builder::new());
    let (mut starts, mut ends) = (Float64Builder::new(), Float64Builder::new());
    for row in rows {
        scores.append_option(row.as_ref().map(|speech| speech.score));
        seconds.append_option(row.as_ref().map(|speech| time(speech.segments.iter().map(|[start, end]| end - start).sum())));
        for [start, end] in row.iter().flat_map(|speech| &speech.segments) {
            starts.append_value(time(*start));
            ends.append_value(time(*end));
        }
    }
    let items = StructArray::try_new(segment_fields(), vec![Arc::new(starts.finish()), Arc::new(ends.finish())], None).map_err(failed)?;
    let fields = voice_activity_fields();
    let DataType::List(item) = fields[2].data_type() else { return Err(Error::new(Kind::Model, "segments are not a list")) };
    let is_there: Vec<bool> = rows.iter().map(Option::is_some).collect();
    let nulls = is_there.contains(&false).then(|| NullBuffer::from(is_there));
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, |speech| speech.segments.len())));
    let segments = ListArray::try_new(Arc::clone(item), lengths, Arc::new(items), nulls.clone()).map_err(failed)?;
    let columns: Vec<ArrayRef> = vec![Arc::new(scores.finish()), Arc::new(seconds.finish()), Arc::new(segments)];
    StructArray::try_new(fields, columns, nulls).map(|array| Arc::new(array) as ArrayRef).map_err(failed)
}
