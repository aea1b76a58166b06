//! A decoder's steps: all tokens so far each time, or those that it has not seen and a cache of the others.

mod cache;
mod state;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use ort::value::{DynValue, Tensor};

use super::encode::Work;
use super::feeds;
use super::sessions::{Feeds, Tensors};
use super::tensor::floats;
use crate::error::{Error, Kind, Result};
use crate::package::{DECODER, DECODER_WITH_PAST, EMBED_TOKENS, Element, Feed, INPUTS_EMBEDS, LOGITS, Manifest, Port, Source, Stage};
pub(super) use state::{Inserted, Looked, State};

/// The graphs of a decoder.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    work: &'a Work<'a>,
    first: (usize, &'a Stage),
    /// The graph of later steps, where they have one of their own.
    later: Option<(usize, &'a Stage)>,
    /// The graph that makes vectors of tokens, where the decoder takes these.
    embed: Option<(usize, &'a Stage)>,
}

/// Scores of the next token of each row: those of the last of `tokens` tokens of each, `width` of them.
pub(super) struct Scores {
    values: Values,
    tokens: usize,
    width: usize,
}

enum Values {
    /// As the graph gave them.
    Given(DynValue),
    /// In single precision.
    Copied(Vec<f32>),
}

impl Scores {
    /// Those of each row.
    pub(super) fn rows(&mut self) -> Result<impl Iterator<Item = &mut [f32]>> {
        let values = match &mut self.values {
            Values::Given(value) => value.try_extract_tensor_mut::<f32>().map_err(|error| failed(&error))?.1,
            Values::Copied(values) => values,
        };
        let last = (self.tokens - 1) * self.width;
        Ok(values.chunks_exact_mut(self.tokens * self.width).map(move |row| &mut row[last..]))
    }
}

fn failed(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("the decoder cannot be run: {what}"))
}

fn carries(stage: &Stage) -> bool {
    stage.feeds.iter().any(|feed| matches!(feed.source, Source::Carried { .. }))
}

impl<'a> Decoder<'a> {
    pub(super) fn of(work: &'a Work<'a>) -> Result<Self> {
        let stage = |name: &str| work.model.manifest.stages.iter().enumerate().find(|(_, stage)| stage.name == name);
        let first = stage(DECODER).ok_or_else(|| Error::new(Kind::Package, "a model that writes, without a decoder"))?;
        Ok(Self { work, first, later: stage(DECODER_WITH_PAST), embed: stage(EMBED_TOKENS) })
    }

    /// Whether it looks at something besides its own tokens.
    pub(super) fn looks(&self) -> bool {
        self.first.1.feeds.iter().any(|feed| matches!(feed.source, Source::States { .. }))
    }

    fn keeps_cache(&self) -> bool {
        self.later.is_some() || carries(self.first.1)
    }

    /// Scores that the graph gives for each place, if it says so.
    pub(super) fn vocabulary(&self) -> Option<usize> {
        self.first.1.outputs.iter().find(|port| port.name == LOGITS)?.shape.last().copied().flatten()
    }

    /// Whether the graph that begins gives the scores of the last token alone, however many are read.
    pub(super) fn scores_last(&self) -> bool {
        self.work.model.sessions().scores_last(self.first.0)
    }

    /// Whether a text may be read piece by piece: the graph that reads the first piece takes a cache as well. A branch for the cache
    /// is exported for one token at a time.
    pub(super) fn reads_in_pieces(&self) -> bool {
        carries(self.first.1) && !has_branch(self.first.1)
    }

    /// Reads `new` tokens behind those that `state` has of each row; shorter rows are filled up at their front.
    pub(super) fn step(&self, state: &mut State, new: &[Vec<u32>]) -> Result<Scores> {
        state.add(new);
        self.read(state, state.length())
    }

    /// The same in pieces of at most `most` places, so that scores of places that nobody asks for are never many.
    pub(super) fn step_in_pieces(&self, state: &mut State, new: &[Vec<u32>], most: usize) -> Result<Scores> {
        state.add(new);
        let most = if self.reads_in_pieces() { most.max(1) } else { usize::MAX };
        while state.length() - state.cached > most {
            self.read(state, state.cached + most)?;
        }
        self.read(state, state.length())
    }

    /// Runs the graph on the places that the cache does not have, up to `end`.
    fn read(&self, state: &mut State, end: usize) -> Result<Scores> {
        let start = Instant::now();
        let is_first = state.cached == 0;
        let (index, stage) = if is_first { self.first } else { self.later.unwrap_or(self.first) };
        let embedded = self.embedded(state, end)?;
        let feed = |feed: &Feed| match &feed.source {
            Source::Embedded { output } => {
                let value = embedded.iter().find(|(name, _)| name == output).map(|(_, value)| Arc::clone(value));
                value.ok_or_else(|| failed(&format!("nothing gives {}", feed.port)))
            }
            _ => feed_of(feed, stage, state, end),
        };
        let feeds = stage.feeds.iter().map(|own| Ok((own.port.name.clone(), feed(own)?)));
        let feeds: Feeds = feeds.collect::<Result<_>>()?;
        let (cancel, stats) = (self.work.request.cancel, self.work.request.stats);
        let outputs = cancel.guard(|options| self.work.model.sessions().run(index, feeds, options, stats))?;
        let (scores, outputs) = scores(stage, outputs, state.rows())?;
        if self.keeps_cache() {
            state.keep_cache(outputs, is_first);
            state.cached = end;
            state.forget_inserted();
        }
        stats.generate_time.since(start);
        Ok(scores)
    }

    /// The vectors of the tokens that the cache does not have, up to `end`, those of media in their places.
    fn embedded(&self, state: &State, end: usize) -> Result<Feeds> {
        let Some((index, stage)) = self.embed else { return Ok(Feeds::new()) };
        let range = state.cached..end;
        let feeds = stage.feeds.iter().map(|feed| Ok((feed.port.name.clone(), feed_of(feed, stage, state, end)?)));
        let feeds: Feeds = feeds.collect::<Result<_>>()?;
        let (cancel, stats) = (self.work.request.cancel, self.work.request.stats);
        let outputs = cancel.guard(|options| self.work.model.sessions().run(index, feeds, options, stats))?;
        let vectors = |(name, value): (String, DynValue)| {
            if name != INPUTS_EMBEDS || !state.has_inserted(&range) {
                return Ok((name, Arc::new(value)));
            }
            let port = stage.outputs.iter().find(|port| port.name == name).ok_or_else(|| failed(&"vectors without a name"))?;
            let (shape, values) = floats(port, &value)?;
            let (width, mut values) = (shape.last().copied().unwrap_or(0), values.into_owned());
            if width == 0 || !state.fits(width) {
                return Err(failed(&format!("vectors of media of another width than {width}")));
            }
            state.inserted(range.clone(), width, |place, vector| values[place * width..(place + 1) * width].copy_from_slice(vector));
            Ok((name, Arc::new(feeds::floats(port, shape, values)?)))
        };
        outputs.into_iter().map(vectors).collect()
    }
}

/// Bytes of cache that a token of one row takes, all layers together; what lies in the encoder's cache does not grow.
pub(super) fn cache_bytes_of_token(manifest: &Manifest) -> usize {
    let bytes = |feed: &Feed| match &feed.source {
        Source::Carried { output } if !state::is_of_encoder(output) => {
            let size = |place: usize| feed.port.shape.get(place).copied().flatten().unwrap_or(1);
            size(1) * size(3) * if feed.port.element == Element::Float16 { size_of::<half::f16>() } else { size_of::<f32>() }
        }
        _ => 0,
    };
    let own = |stage: &Stage| stage.feeds.iter().map(bytes).sum();
    manifest.stages.iter().map(own).max().unwrap_or(0)
}

/// The same of a step that the decoder looks at besides: what is kept of it in its cache, and itself.
pub(super) fn cache_bytes_of_step(manifest: &Manifest) -> usize {
    let bytes = |feed: &Feed| {
        let size = |place: usize| feed.port.shape.get(place).copied().flatten().unwrap_or(1);
        let element = if feed.port.element == Element::Float16 { size_of::<half::f16>() } else { size_of::<f32>() };
        match &feed.source {
            Source::Carried { output } if state::is_of_encoder(output) => size(1) * size(3) * element,
            Source::States { .. } => feed.port.shape[2..].iter().map(|size| size.unwrap_or(1)).product::<usize>() * element,
            _ => 0,
        }
    };
    let own = |stage: &Stage| stage.feeds.iter().map(bytes).sum();
    manifest.stages.iter().map(own).max().unwrap_or(0)
}

fn feed_of(feed: &Feed, stage: &Stage, state: &State, end: usize) -> Result<Arc<DynValue>> {
    // A graph without a cache reads everything anew.
    let seen = state.cached;
    let value = match &feed.source {
        Source::Written => integers(&feed.port, vec![state.rows(), end - seen], state.ids(seen..end))?,
        Source::WrittenMask => integers(&feed.port, vec![state.rows(), end], state.mask(end))?,
        Source::WrittenPlaces => integers(&feed.port, vec![state.rows(), end - seen], state.places(seen..end))?,
        Source::WrittenPositions => integers(&feed.port, vec![end - seen], (seen..end).map(|place| place as i64).collect())?,
        Source::UsesCache => {
            Tensor::from_array(([1_i64], vec![seen > 0])).map(ort::value::Value::into_dyn).map_err(|error| failed(&error))?
        }
        Source::States { .. } => return state.looked().ok_or_else(|| failed(&"nothing to look at")),
        Source::StatesMask => integers(&feed.port, vec![state.rows(), state.steps()], state.steps_mask())?,
        Source::MarkedStates { marker, end: last } => {
            let shape = vec![state.rows(), end - seen, state.steps()];
            integers(&feed.port, shape, state.marked_steps(seen..end, *marker, *last))?
        }
        Source::Carried { output } => match state.carried(output) {
            Some(value) => return Ok(value),
            None => cache::empty(&feed.port, state.rows(), has_branch(stage))?,
        },
        Source::Constant { value, shape } => integers(&feed.port, shape.clone(), vec![*value as i64; shape.iter().product()])?,
        _ => return Err(failed(&format!("unknown source of {}", feed.port))),
    };
    Ok(Arc::new(value))
}

/// Whether the graph has a branch for steps without a cache, which is then not looked at, but must have a place.
fn has_branch(stage: &Stage) -> bool {
    stage.feeds.iter().any(|feed| matches!(feed.source, Source::UsesCache))
}

/// Those of each row's last token, taken out of what the graph gave.
fn scores(stage: &Stage, mut outputs: Tensors, rows: usize) -> Result<(Scores, Tensors)> {
    let port = stage.outputs.iter().find(|port| port.name == LOGITS).ok_or_else(|| failed(&"no logits"))?;
    let place = outputs.iter().position(|(name, _)| name == LOGITS).ok_or_else(|| failed(&"no logits"))?;
    let (_, value) = outputs.swap_remove(place);
    let (shape, values) = floats(port, &value)?;
    let &[found, tokens, width] = shape.as_slice() else { return Err(failed(&format!("logits of shape {shape:?}"))) };
    if found != rows || tokens == 0 || width == 0 {
        return Err(failed(&format!("logits of {found} rows for {rows}")));
    }
    let values = match values {
        Cow::Borrowed(_) => Values::Given(value),
        Cow::Owned(values) => Values::Copied(values),
    };
    Ok((Scores { values, tokens, width }, outputs))
}

/// Whole numbers in the type of the graph.
pub(super) fn integers(port: &Port, shape: Vec<usize>, values: Vec<i64>) -> Result<DynValue> {
    let shape: Vec<i64> = shape.into_iter().map(|size| size as i64).collect();
    let value =
        match port.element {
            Element::Int64 => Tensor::from_array((shape, values)).map(ort::value::Value::into_dyn),
            Element::Int32 => Tensor::from_array((shape, values.into_iter().map(|value| value as i32).collect::<Vec<_>>()))
                .map(ort::value::Value::into_dyn),
            Element::Bool => {
                Tensor::from_array((shape, values.into_iter().map(|value| value != 0).collect::<Vec<_>>())).map(ort::value::Value::into_dyn)
            }
            Element::Float32 => Tensor::from_array((shape, values.into_iter().map(|value| value as f32).collect::<Vec<_>>()))
                .map(ort::value::Value::into_dyn),
            _ => return Err(failed(&format!("tokens for {port}"))),
        };
    value.map_err(|error| failed(&error))
}
