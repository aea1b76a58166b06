//! What rows ask about besides their words: pictures, sounds and texts for an encoder become what the decoder sees of them.

use std::sync::Arc;
use std::time::Instant;

use ort::value::DynValue;

use super::super::decoder::{Inserted, Looked, integers};
use super::super::encode::{self, Outcome, Work, uri_at};
use super::super::feeds::{floats, numbers};
use super::super::fetch::Fetched;
use super::super::run::{Failure, Step};
use super::super::sessions::Tensors;
use super::super::tensor;
use super::frames::Shown;
use super::writer::Asked;
use crate::error::{Error, Kind, Result};
use crate::modality::{Column, rgb_to_tensor, sound_features, video_frames};
use crate::package::{
    AUDIO_ENCODER, AudioFeatures, AudioSpec, DECODER, Feed, Generation, ImageSpec, Input, MediaMarker, Modality, Port, Source, Stage,
    TEXT_ENCODER, TokenPart, VISION_ENCODER, VideoSpec,
};
use crate::random::Random;

/// Pictures that go through their encoder at once.
const PICTURES: usize = 4;

/// The media of a row, as their encoders take them.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pictures: Vec<Vec<f32>>,
    sounds: Vec<Sound>,
}

impl Prepared {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let values = self.pictures.iter().chain(self.sounds.iter().map(|sound| &sound.features)).map(Vec::len);
        values.sum::<usize>() * size_of::<f32>()
    }

    /// The same number for the same media, 0 for none.
    pub(super) fn digest(&self) -> u64 {
        let values = self.pictures.iter().chain(self.sounds.iter().map(|sound| &sound.features)).flatten();
        values.fold(0, |digest, value| Random::new(digest ^ u64::from(value.to_bits())).next())
    }
}

/// Features of a sound, `[frames, bands]` or whatever shape is fixed.
#[derive(Debug)]
struct Sound {
    features: Vec<f32>,
    shape: Vec<usize>,
    /// Frames that are not silence behind its end.
    heard: usize,
}

/// What the decoder sees of some rows besides their tokens.
pub(super) struct Seen {
    pub(super) looked: Option<Looked>,
    pub(super) inserted: Vec<Vec<Inserted>>,
}

/// Vectors that an encoder has made of one medium, one behind the other.
#[derive(Debug, Clone)]
struct Vectors {
    values: Arc<Vec<f32>>,
    width: usize,
}

impl Vectors {
    fn steps(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

/// The model's inputs that are media, with the marker that stands for each, where one does.
pub(super) fn inputs<'a>(work: &'a Work<'_>) -> impl Iterator<Item = &'a Input> {
    work.model.manifest.inputs.iter().filter(|input| input.modality.is_media())
}

/// How many media a row has.
#[derive(Debug)]
pub(super) struct Counts {
    /// Of each marker's input.
    pub(super) each: Vec<usize>,
    /// Videos, which no marker is of: frames of them are pictures. Nothing where the call has none.
    pub(super) videos: Option<usize>,
    /// Pictures that a video becomes.
    pub(super) frames: usize,
}

/// How many media of each input a row has.
pub(super) fn counts(work: &Work<'_>, markers: &[MediaMarker], row: usize) -> Result<Counts> {
    let limit = work.request.limits.max_media_per_row;
    let over = |count: usize, what: &str| {
        let message = format!("{count} {what} are over the limit of {limit}");
        Error::new(Kind::Limit, message).with_hint("SET mm.max_media_per_row")
    };
    let count = |input: &str| {
        let column = work.columns.get(input);
        let places = column.map_or(0..0, |column| column.places(row));
        let count = column.map_or(0, |column| places.clone().filter(|place| column.is_at(*place)).count());
        if count < places.len() && column.is_some_and(|column| column.is_list()) {
            let error = Error::new(Kind::Media, format!("NULL among the media of '{input}'"));
            return Err(error.with_hint("leave it out of the list: array_remove_all(list, NULL)"));
        }
        if count <= limit { Ok(count) } else { Err(over(count, &format!("media of '{input}'"))) }
    };
    let each: Vec<usize> = markers.iter().map(|marker| count(&marker.input)).collect::<Result<_>>()?;
    let video = inputs(work).find_map(|input| match &input.modality {
        Modality::Video(spec) => Some((input, spec.frames)),
        _ => None,
    });
    let Some((video, frames)) = video else { return Ok(Counts { each, videos: None, frames: 0 }) };
    let videos = count(&video.name)?;
    let pictures: usize = markers.iter().zip(&each).filter(|(marker, _)| marker.part == "image").map(|(_, count)| count).sum();
    let shown = pictures.saturating_add(videos.saturating_mul(frames));
    if shown > limit {
        return Err(over(shown, "pictures, frames of videos among them,"));
    }
    let may_have_some = videos > 0 || work.columns.get(&video.name).is_some_and(Column::is_list);
    Ok(Counts { each, videos: may_have_some.then_some(videos), frames })
}

/// Reads and decodes the media of a row; `order` says which frames of videos stand among its pictures.
pub(super) fn prepare(work: &Work<'_>, row: usize, order: &[Shown], fetched: &Fetched) -> Result<Prepared, Box<Failure>> {
    let mut prepared = Prepared::default();
    let mut videos: Vec<Vec<Vec<f32>>> = Vec::new();
    for input in inputs(work) {
        let Some(column) = work.columns.get(&input.name) else { continue };
        for place in column.places(row).filter(|place| column.is_at(*place)) {
            let one = match &input.modality {
                Modality::Image(spec) => picture(work, input, spec, place, fetched, &mut prepared),
                Modality::Audio(spec) => sound(work, input, spec, place, fetched, &mut prepared),
                Modality::Video(spec) => frames(work, input, spec, place, fetched).map(|frames| videos.push(frames)),
                _ => Ok(()),
            };
            one.map_err(|(step, error)| Failure { row, uri: uri_at(column, place), step, error })?;
        }
    }
    if !videos.is_empty() {
        let (mut pictures, mut videos) = (std::mem::take(&mut prepared.pictures).into_iter(), videos.into_iter());
        for shown in order {
            match shown {
                Shown::Picture => prepared.pictures.extend(pictures.next()),
                Shown::Video => prepared.pictures.extend(videos.next().into_iter().flatten()),
            }
        }
    }
    Ok(prepared)
}

/// The frames of a video, each as a picture.
fn frames(work: &Work<'_>, input: &Input, spec: &VideoSpec, place: usize, fetched: &Fetched) -> Outcome<Vec<Vec<f32>>> {
    let Some(column) = work.columns.get(&input.name) else { return Ok(Vec::new()) };
    let Some(bytes) = encode::medium(work, input, column, place, fetched)? else { return Ok(Vec::new()) };
    let start = Instant::now();
    let (go_on, make) = (|| work.request.cancel.check(), |frame| rgb_to_tensor(frame, &spec.image));
    let frames = video_frames(&bytes, spec, work.request.limits, &go_on, &make).map_err(|error| (Step::Decode, error));
    work.request.stats.decode_time.since(start);
    frames
}

fn picture(work: &Work<'_>, input: &Input, spec: &ImageSpec, place: usize, fetched: &Fetched, prepared: &mut Prepared) -> Outcome<()> {
    let Some(column) = work.columns.get(&input.name) else { return Ok(()) };
    prepared.pictures.push(encode::pixels(work, input, spec, column, place, fetched)?);
    Ok(())
}

fn sound(work: &Work<'_>, input: &Input, spec: &AudioSpec, place: usize, fetched: &Fetched, prepared: &mut Prepared) -> Outcome<()> {
    let Some(column) = work.columns.get(&input.name) else { return Ok(()) };
    let Some(samples) = encode::sound_samples(work, input, spec, column, place, fetched)? else { return Ok(()) };
    let longest = SPEECH_SECONDS * spec.sampling_rate as usize;
    let count = samples.len();
    let start = Instant::now();
    let features = sound_features(samples, spec);
    work.request.stats.feature_time.since(start);
    let (shape, heard) = match &spec.features {
        AudioFeatures::UniversalSpeech { mels, hop, .. } => {
            if count > longest {
                let message = format!("a sound of {} s: the model hears {SPEECH_SECONDS} s", count / spec.sampling_rate as usize);
                return Err((Step::Decode, Error::new(Kind::Limit, message).with_hint("cut it, or ask about its parts")));
            }
            let frames = features.len() / mels.max(&1);
            (vec![frames, *mels], count.div_ceil(*hop).min(frames))
        }
        _ => match spec.fixed_shape() {
            Some(shape) => (shape.to_vec(), shape[1]),
            None => (vec![features.len()], features.len()),
        },
    };
    if shape.contains(&0) {
        return Err((Step::Decode, Error::new(Kind::Media, "the sound is too short for one frame")));
    }
    prepared.sounds.push(Sound { features, shape, heard });
    Ok(())
}

/// What Gemma 3n's processor cuts sounds to.
const SPEECH_SECONDS: usize = 30;

fn failed(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("media cannot be shown to the decoder: {what}"))
}

/// Runs the encoders for some rows.
pub(super) fn see(work: &Work<'_>, generation: &Generation, asked: &[&Asked], prepared: &[Prepared]) -> Result<Seen> {
    let pictures = vectors_of_pictures(work, prepared)?;
    let sounds = vectors_of_sounds(work, prepared)?;
    let stages = &work.model.manifest.stages;
    let decoder = stages.iter().find(|stage| stage.name == DECODER).ok_or_else(|| failed(&"no decoder"))?;
    let looks = decoder.feeds.iter().find_map(|feed| match &feed.source {
        Source::States { stage, .. } => Some((&feed.port, stage.as_str())),
        _ => None,
    });
    let nothing = || asked.iter().map(|_| Vec::new()).collect();
    match looks {
        Some((_, TEXT_ENCODER)) => Ok(Seen { looked: Some(read_texts(work, asked, &pictures)?), inserted: nothing() }),
        Some((port, stage)) => {
            let (states, steps) = side_by_side(port, &pictures, stages.iter().find(|own| own.name == *stage))?;
            Ok(Seen { looked: Some(Looked { states: Arc::new(states), steps }), inserted: nothing() })
        }
        None => {
            let inserted = asked.iter().zip(pictures.iter().zip(&sounds));
            let inserted = inserted.map(|(asked, (pictures, sounds))| insert(generation, asked, pictures, sounds));
            Ok(Seen { looked: None, inserted: inserted.collect::<Result<_>>()? })
        }
    }
}

/// The vectors of a row's media in the places of their markers.
fn insert(generation: &Generation, asked: &Asked, pictures: &[Vectors], sounds: &[Vectors]) -> Result<Vec<Inserted>> {
    let mut inserted = Vec::new();
    for marker in &generation.media {
        let mut places = (0..asked.prompt.len()).filter(|place| asked.prompt[*place] == marker.token);
        let media = if marker.part == "audio" { sounds } else { pictures };
        for medium in media {
            let own: Vec<usize> = places.by_ref().take(medium.steps()).collect();
            let (Some(first), Some(last)) = (own.first(), own.last()) else { return Err(failed(&"no place for it in the prompt")) };
            if own.len() != medium.steps() || last - first + 1 != own.len() || own.len() != marker.tokens {
                return Err(failed(&format!("{} vectors of '{}' for {} tokens", medium.steps(), marker.input, marker.tokens)));
            }
            inserted.push(Inserted { tokens: *first..last + 1, vectors: Arc::clone(&medium.values) });
        }
        if places.next().is_some() {
            return Err(failed(&format!("more tokens than vectors of '{}'", marker.input)));
        }
    }
    Ok(inserted)
}

fn stage<'a>(work: &'a Work<'_>, name: &str) -> Option<(usize, &'a Stage)> {
    work.model.manifest.stages.iter().enumerate().find(|(_, stage)| stage.name == name)
}

fn run(work: &Work<'_>, index: usize, feeds: Vec<(String, DynValue)>) -> Result<Tensors> {
    let (cancel, stats) = (work.request.cancel, work.request.stats);
    let feeds = feeds.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
    cancel.guard(|options| work.model.sessions().run(index, feeds, options, stats))
}

/// The vectors of the first `rows` of what a stage gave for `fed` media, `[fed, steps, width]`.
fn vectors(stage: &Stage, outputs: &Tensors, rows: usize, fed: usize) -> Result<Vec<Vectors>> {
    let is_states = |port: &&Port| port.shape.len() == 3 && port.element.is_float();
    let port = stage.outputs.iter().find(|port| is_states(port) && port.name == "last_hidden_state");
    let port = port.or_else(|| stage.outputs.iter().find(is_states)).ok_or_else(|| failed(&"no vectors"))?;
    let (_, value) = outputs.iter().find(|(name, _)| *name == port.name).ok_or_else(|| failed(&"no vectors"))?;
    let (shape, values) = tensor::floats(port, value)?;
    let &[found, steps, width] = shape.as_slice() else { return Err(failed(&format!("vectors of shape {shape:?}"))) };
    if found != fed || steps == 0 || width == 0 {
        return Err(failed(&format!("vectors of {found} media for {fed}")));
    }
    Ok(values.chunks_exact(steps * width).take(rows).map(|own| Vectors { values: Arc::new(own.to_vec()), width }).collect())
}

/// Takes from `all` as many as each row has.
fn by_row(all: Vec<Vectors>, counts: impl Iterator<Item = usize>) -> Vec<Vec<Vectors>> {
    let mut all = all.into_iter();
    counts.map(|count| all.by_ref().take(count).collect()).collect()
}

fn vectors_of_pictures(work: &Work<'_>, prepared: &[Prepared]) -> Result<Vec<Vec<Vectors>>> {
    let pictures: Vec<&Vec<f32>> = prepared.iter().flat_map(|row| &row.pictures).collect();
    let mut all = Vec::with_capacity(pictures.len());
    if let Some((index, stage)) = stage(work, VISION_ENCODER).filter(|_| !pictures.is_empty()) {
        let [Feed { port, source: Source::Pixels { input } }] = stage.feeds.as_slice() else { return Err(failed(&"no pixels")) };
        let Some(Modality::Image(spec)) = work.model.manifest.input(input).map(|input| &input.modality) else {
            return Err(failed(&"no pictures"));
        };
        let (size, channels) = (spec.size()?, spec.channels());
        let fixed = stage.fixed_batch();
        for chunk in pictures.chunks(fixed.unwrap_or(PICTURES).max(1)) {
            let rows = fixed.unwrap_or(chunk.len());
            let mut values: Vec<f32> = Vec::with_capacity(rows * chunk[0].len());
            (0..rows).for_each(|row| values.extend(chunk[row.min(chunk.len() - 1)]));
            let value = floats(port, vec![rows, channels, size.height as usize, size.width as usize], values)?;
            all.extend(vectors(stage, &run(work, index, vec![(port.name.clone(), value)])?, chunk.len(), rows)?);
        }
    }
    Ok(by_row(all, prepared.iter().map(|row| row.pictures.len())))
}

/// One by one: each has a length of its own.
fn vectors_of_sounds(work: &Work<'_>, prepared: &[Prepared]) -> Result<Vec<Vec<Vectors>>> {
    let mut all = Vec::new();
    if let Some((index, stage)) = stage(work, AUDIO_ENCODER) {
        for sound in prepared.iter().flat_map(|row| &row.sounds) {
            let feed = |feed: &Feed| {
                let value = match &feed.source {
                    Source::Sound { .. } => {
                        let shape = [1].into_iter().chain(sound.shape.iter().copied()).collect();
                        floats(&feed.port, shape, sound.features.clone())?
                    }
                    _ => {
                        let mask = (0..sound.shape[0]).map(|frame| f64::from(u8::from(frame < sound.heard)));
                        numbers(&feed.port, vec![1, sound.shape[0]], mask)?
                    }
                };
                Ok((feed.port.name.clone(), value))
            };
            let feeds = stage.feeds.iter().map(feed).collect::<Result<Vec<_>>>()?;
            all.extend(vectors(stage, &run(work, index, feeds)?, 1, 1)?);
        }
    }
    Ok(by_row(all, prepared.iter().map(|row| row.sounds.len())))
}

/// The texts of rows through the encoder, which may look at their pictures.
fn read_texts(work: &Work<'_>, asked: &[&Asked], pictures: &[Vec<Vectors>]) -> Result<Looked> {
    let (index, stage) = stage(work, TEXT_ENCODER).ok_or_else(|| failed(&"no encoder"))?;
    let steps: Vec<usize> = asked.iter().map(|asked| asked.question.len()).collect();
    let longest = steps.iter().copied().max().unwrap_or(0);
    let padded = |part: TokenPart| {
        let of_row = move |asked: &&Asked| {
            let tokens = asked.question.clone();
            (0..longest).map(move |place| match (tokens.get(place), part) {
                (Some(token), TokenPart::InputIds) => i64::from(*token),
                (token, _) => i64::from(token.is_some() && part != TokenPart::InputIds),
            })
        };
        asked.iter().flat_map(of_row).collect::<Vec<i64>>()
    };
    let seen = pictures.iter().map(|pictures| pictures.first().map_or(0, Vectors::steps)).max().unwrap_or(0);
    let feed = |feed: &Feed| {
        let value = match &feed.source {
            Source::Asked { part } => integers(&feed.port, vec![asked.len(), longest], padded(*part))?,
            Source::States { .. } => side_by_side(&feed.port, pictures, None)?.0,
            _ => integers(&feed.port, vec![asked.len(), seen], vec![1; asked.len() * seen])?,
        };
        Ok((feed.port.name.clone(), value))
    };
    let feeds = stage.feeds.iter().map(feed).collect::<Result<Vec<_>>>()?;
    let stats = work.request.stats;
    stats.tokens.add(steps.iter().sum());
    stats.padded_tokens.add(longest * steps.len());
    let outputs = run(work, index, feeds)?;
    let is_states = |port: &&Port| port.shape.len() == 3 && port.element.is_float();
    let port = stage.outputs.iter().find(|port| is_states(port) && port.name == "last_hidden_state");
    let port = port.or_else(|| stage.outputs.iter().find(is_states)).ok_or_else(|| failed(&"no vectors"))?;
    let states = outputs.into_iter().find(|(name, _)| *name == port.name).map(|(_, value)| value);
    Ok(Looked { states: Arc::new(states.ok_or_else(|| failed(&"no vectors"))?), steps })
}

/// The vectors of pictures as the decoder looks at them: `[rows, vectors, width]` of one picture each, or `[rows, pictures, vectors,
/// width]`, where a row without one has an empty one.
fn side_by_side(port: &Port, pictures: &[Vec<Vectors>], encoder: Option<&Stage>) -> Result<(DynValue, Vec<usize>)> {
    let first = pictures.iter().flatten().next();
    if port.shape.len() == 3 {
        let (Some(first), true) = (first, pictures.iter().all(|row| row.len() == 1)) else { return Err(failed(&"one picture a row")) };
        let values = pictures.iter().flatten().flat_map(|own| own.values.iter().copied()).collect();
        let states = floats(port, vec![pictures.len(), first.steps(), first.width], values)?;
        return Ok((states, vec![first.steps(); pictures.len()]));
    }
    let given = encoder.and_then(|stage| stage.outputs.iter().find(|port| port.shape.len() == 3));
    let size = |place: usize| {
        let own = port.shape.get(place).copied().flatten();
        own.or_else(|| given?.shape.get(place - 1).copied().flatten())
    };
    let (steps, width) = match (first, size(2), size(3)) {
        (Some(first), ..) => (first.steps(), first.width),
        (None, Some(steps), Some(width)) => (steps, width),
        _ => return Err(failed(&"no picture, and the graph does not say what an empty one is like")),
    };
    let most = pictures.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut values = Vec::with_capacity(pictures.len() * most * steps * width);
    for (row, own) in pictures.iter().enumerate() {
        own.iter().for_each(|picture| values.extend(picture.values.iter()));
        values.resize((row + 1) * most * steps * width, 0.0);
    }
    let states = floats(port, vec![pictures.len(), most, steps, width], values)?;
    // One step at least, so that there is something to look at.
    Ok((states, pictures.iter().map(|row| row.len().max(1)).collect()))
}
