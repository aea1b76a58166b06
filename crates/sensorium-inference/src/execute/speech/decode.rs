//! A decoder's steps: all tokens so far each time, or the last one and what the step before has kept of the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use ort::value::{DynValue, Tensor};

use super::super::encode::Work;
use super::super::sessions::{Feeds, Tensors};
use super::super::tensor::floats;
use super::incomplete;
use crate::error::{Error, Kind, Result};
use crate::package::{DECODER, DECODER_WITH_PAST, Element, Feed, Port, Source, Stage};

/// The graphs of a decoder.
pub(super) struct Decoder<'a> {
    work: &'a Work<'a>,
    first: (usize, &'a Stage),
    /// The graph of later steps, where they have one of their own.
    later: Option<(usize, &'a Stage)>,
}

/// Rows that are written together.
pub(super) struct State {
    /// What the decoder looks at, `[rows, steps, width]`.
    encoded: Arc<DynValue>,
    cache: HashMap<String, Arc<DynValue>>,
    /// Tokens that the cache holds.
    cached: usize,
    rows: usize,
}

fn failed(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("the decoder cannot be run: {what}"))
}

/// Whether a carried output is of the encoder's states, which stay as they are after the first step.
fn is_of_encoder(output: &str) -> bool {
    output.contains(".encoder.")
}

impl State {
    pub(super) fn new(encoded: DynValue, rows: usize) -> Self {
        Self { encoded: Arc::new(encoded), cache: HashMap::new(), cached: 0, rows }
    }

    /// Keeps some rows, in order.
    pub(super) fn keep(&mut self, rows: &[usize]) -> Result<()> {
        self.encoded = Arc::new(rows_of(&self.encoded, rows)?);
        for value in self.cache.values_mut() {
            *value = Arc::new(rows_of(value, rows)?);
        }
        self.rows = rows.len();
        Ok(())
    }

    /// Another start with the same encoder states.
    pub(super) fn fresh(&self) -> Self {
        Self { encoded: Arc::clone(&self.encoded), cache: HashMap::new(), cached: 0, rows: self.rows }
    }
}

/// Some rows of a tensor.
fn rows_of(value: &DynValue, rows: &[usize]) -> Result<DynValue> {
    macro_rules! copied {
        ($element:ty) => {
            if let Ok((shape, values)) = value.try_extract_tensor::<$element>() {
                let shape = shape.to_vec();
                let width = values.len() / usize::try_from(shape[0]).unwrap_or(1).max(1);
                let kept: Vec<$element> = rows.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect();
                let shape: Vec<i64> = [rows.len() as i64].into_iter().chain(shape.into_iter().skip(1)).collect();
                return Tensor::from_array((shape, kept)).map(ort::value::Value::into_dyn).map_err(|error| failed(&error));
            }
        };
    }
    copied!(f32);
    copied!(f16);
    Err(failed(&"its cache is neither float32 nor float16"))
}

impl<'a> Decoder<'a> {
    pub(super) fn of(work: &'a Work<'a>) -> Result<Self> {
        let stage = |name: &str| work.model.manifest.stages.iter().enumerate().find(|(_, stage)| stage.name == name);
        Ok(Self { work, first: stage(DECODER).ok_or_else(|| incomplete("a decoder"))?, later: stage(DECODER_WITH_PAST) })
    }

    fn keeps_cache(&self) -> bool {
        let carries = |stage: &Stage| stage.feeds.iter().any(|feed| matches!(feed.source, Source::Carried { .. }));
        self.later.is_some() || carries(self.first.1)
    }

    /// The scores of each row's next token, `[rows, tokens that there are]`. `written` holds all tokens of each row.
    pub(super) fn step(&self, state: &mut State, written: &[Vec<u32>]) -> Result<(Vec<f32>, usize)> {
        let start = Instant::now();
        let is_first = state.cached == 0;
        let (index, stage) = if is_first { self.first } else { self.later.unwrap_or(self.first) };
        let feeds = stage.feeds.iter().map(|feed| Ok((feed.port.name.clone(), self.feed(feed, state, written)?)));
        let feeds: Feeds = feeds.collect::<Result<_>>()?;
        let (cancel, stats) = (self.work.request.cancel, self.work.request.stats);
        let outputs = cancel.guard(|options| self.work.model.sessions().run(index, feeds, options, stats))?;
        let scores = self.scores(stage, &outputs, state.rows)?;
        if self.keeps_cache() {
            let length = written.first().map_or(0, Vec::len);
            self.keep(outputs, state, is_first);
            state.cached = length;
        }
        stats.generate_time.since(start);
        Ok(scores)
    }

    /// What the next step looks back to. A graph with a branch for the cache returns the encoder's part on the first
    /// step only, and something without meaning later.
    fn keep(&self, outputs: Tensors, state: &mut State, is_first: bool) {
        for (name, value) in outputs {
            if name != "logits" && (is_first || !is_of_encoder(&name)) {
                state.cache.insert(name, Arc::new(value));
            }
        }
    }

    fn feed(&self, feed: &Feed, state: &State, written: &[Vec<u32>]) -> Result<Arc<DynValue>> {
        let seen = state.cached;
        let length = written.first().map_or(0, Vec::len);
        let value = match &feed.source {
            Source::Written => {
                let ids: Vec<i64> = written.iter().flat_map(|tokens| &tokens[seen..]).map(|token| i64::from(*token)).collect();
                integers(&feed.port, vec![written.len(), length - seen], ids)?
            }
            Source::WrittenPositions => integers(&feed.port, vec![length - seen], (seen..length).map(|place| place as i64).collect())?,
            Source::UsesCache => {
                Tensor::from_array(([1_i64], vec![seen > 0])).map(ort::value::Value::into_dyn).map_err(|error| failed(&error))?
            }
            Source::States { .. } => return Ok(Arc::clone(&state.encoded)),
            Source::Carried { output } => match state.cache.get(output) {
                Some(value) => return Ok(Arc::clone(value)),
                None => empty_cache(&feed.port, state.rows)?,
            },
            _ => return Err(failed(&format!("unknown source of {}", feed.port))),
        };
        Ok(Arc::new(value))
    }

    /// Of each row's last token.
    fn scores(&self, stage: &Stage, outputs: &Tensors, rows: usize) -> Result<(Vec<f32>, usize)> {
        let port = stage.outputs.iter().find(|port| port.name == "logits").ok_or_else(|| incomplete("logits"))?;
        let (_, value) = outputs.iter().find(|(name, _)| name == "logits").ok_or_else(|| failed(&"no logits"))?;
        let (shape, values) = floats(port, value)?;
        let &[found, tokens, width] = shape.as_slice() else { return Err(failed(&format!("logits of shape {shape:?}"))) };
        if found != rows || tokens == 0 {
            return Err(failed(&format!("logits of {found} rows for {rows}")));
        }
        let last = values.chunks_exact(tokens * width).flat_map(|row| &row[(tokens - 1) * width..]).copied().collect();
        Ok((last, width))
    }
}

fn integers(port: &Port, shape: Vec<usize>, values: Vec<i64>) -> Result<DynValue> {
    let shape: Vec<i64> = shape.into_iter().map(|size| size as i64).collect();
    let value = match port.element {
        Element::Int64 => Tensor::from_array((shape, values)).map(ort::value::Value::into_dyn),
        Element::Int32 => {
            Tensor::from_array((shape, values.into_iter().map(|value| value as i32).collect::<Vec<_>>())).map(ort::value::Value::into_dyn)
        }
        _ => return Err(failed(&format!("tokens for {port}"))),
    };
    value.map_err(|error| failed(&error))
}

/// What a graph with a branch for the cache gets before there is one: a place that is not looked at.
fn empty_cache(port: &Port, rows: usize) -> Result<DynValue> {
    let size = |place: usize| port.shape.get(place).copied().flatten().ok_or_else(|| failed(&format!("the size of {port} is not known")));
    let (heads, width) = (size(1)?, size(3)?);
    let shape = [rows as i64, heads as i64, 1, width as i64];
    let count = rows * heads * width;
    let value = match port.element {
        Element::Float32 => Tensor::from_array((shape, vec![0.0_f32; count])).map(ort::value::Value::into_dyn),
        Element::Float16 => Tensor::from_array((shape, vec![f16::ZERO; count])).map(ort::value::Value::into_dyn),
        _ => return Err(failed(&format!("a cache of {port}"))),
    };
    value.map_err(|error| failed(&error))
}
