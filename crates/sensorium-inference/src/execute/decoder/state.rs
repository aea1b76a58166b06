//! What a decoder has read of some rows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ort::value::DynValue;

use super::super::sessions::Tensors;
use super::cache::{self, Fill, Part, Places};
use crate::error::Result;
use crate::package::LOGITS;

/// Rows that are written together. All have the same number of places; those of a shorter row at its front hold nothing.
pub(in super::super) struct State {
    /// What the decoder looks at besides, `[rows, steps, ..]`.
    looked: Option<Arc<DynValue>>,
    cache: HashMap<String, Arc<DynValue>>,
    /// Places that the cache holds.
    pub(super) cached: usize,
    rows: Vec<Row>,
}

/// What the decoder looks at besides its own tokens, row by row.
pub(in super::super) struct Looked {
    /// `[rows, steps, ..]`, shorter ones filled up behind.
    pub(in super::super) states: Arc<DynValue>,
    /// Steps of each row.
    pub(in super::super) steps: Vec<usize>,
}

/// Vectors that take the place of those of some tokens.
#[derive(Debug, Clone)]
pub(in super::super) struct Inserted {
    /// The tokens, counted from the first of the row.
    pub(in super::super) tokens: Range<usize>,
    /// One behind the other.
    pub(in super::super) vectors: Arc<Vec<f32>>,
}

/// The places of a row.
#[derive(Debug, Clone, Default)]
struct Row {
    ids: Vec<u32>,
    /// Whether there is a token.
    is_token: Vec<bool>,
    /// Steps of what is looked at besides.
    steps: usize,
    inserted: Arc<Vec<Inserted>>,
}

/// Dimension of a cache that counts its places.
const CACHE_PLACES: usize = 2;

/// Whether a carried output is of the encoder's states, which stay as they are after the first step.
pub(super) fn is_of_encoder(output: &str) -> bool {
    output.contains(".encoder.")
}

impl State {
    /// Rows of which nothing was read.
    pub(in super::super) fn new(looked: Option<Looked>, rows: usize) -> Self {
        let mut own = Self { looked: None, cache: HashMap::new(), cached: 0, rows: vec![Row::default(); rows] };
        if let Some(Looked { states, steps }) = looked {
            own.looked = Some(states);
            own.rows.iter_mut().zip(steps).for_each(|(row, steps)| row.steps = steps);
        }
        own
    }

    /// Rows some of whose tokens have vectors of their own.
    pub(in super::super) fn insert(&mut self, inserted: Vec<Vec<Inserted>>) {
        self.rows.iter_mut().zip(inserted).for_each(|(row, inserted)| row.inserted = Arc::new(inserted));
    }

    pub(in super::super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Places of each row.
    pub(in super::super) fn length(&self) -> usize {
        self.rows.first().map_or(0, |row| row.ids.len())
    }

    /// Another start with the same encoder states.
    pub(in super::super) fn fresh(&self) -> Self {
        let steps = self.rows.iter().map(|row| row.steps).collect();
        Self::new(self.looked.clone().map(|states| Looked { states, steps }), self.rows.len())
    }

    /// Adds tokens to each row, at the same last place.
    pub(super) fn add(&mut self, new: &[Vec<u32>]) {
        let longest = new.iter().map(Vec::len).max().unwrap_or(0);
        for (row, new) in self.rows.iter_mut().zip(new) {
            let length = row.ids.len() + longest - new.len();
            row.ids.resize(length, 0);
            row.is_token.resize(length, false);
            row.ids.extend(new);
            row.is_token.resize(length + new.len(), true);
        }
    }

    /// Some rows, in the given order, any of them several times.
    pub(in super::super) fn select(&self, rows: &[usize]) -> Result<Self> {
        Self::join(&[(self, rows)])
    }

    /// Rows of several states in one, without the front places that none of them uses.
    pub(in super::super) fn join(states: &[(&Self, &[usize])]) -> Result<Self> {
        let unused = |(state, rows): &(&Self, &[usize])| rows.iter().map(|row| state.rows[*row].unused()).min().unwrap_or(0);
        let skips: Vec<usize> = states.iter().map(unused).collect();
        let length = states.iter().zip(&skips).map(|((state, _), skip)| state.length() - skip).max().unwrap_or(0);
        let parts = || states.iter().zip(&skips);
        let mut own = Self { looked: None, cache: HashMap::new(), cached: length, rows: Vec::new() };
        for ((state, rows), skip) in parts() {
            own.rows.extend(rows.iter().map(|row| state.rows[*row].moved(*skip, length)));
            // Either all have a cache of everything, or none has one.
            own.cached = own.cached.min(if state.cached == state.length() { length } else { 0 });
        }
        let Some((first, _)) = states.first() else { return Ok(own) };
        let steps = own.steps();
        for name in first.cache.keys() {
            let is_whole = is_of_encoder(name);
            let part = |((state, rows), skip): (&(&Self, &'_ [usize]), &usize)| {
                Some(Part { value: Arc::clone(state.cache.get(name)?), rows: rows.to_vec(), skip: if is_whole { 0 } else { *skip } })
            };
            let found: Vec<Part> = parts().filter_map(part).collect();
            let places = if is_whole {
                Places { axis: CACHE_PLACES, length: steps, fill: Fill::Behind }
            } else {
                Places { axis: CACHE_PLACES, length, fill: Fill::Front }
            };
            own.cache.insert(name.clone(), Arc::new(cache::join(&found, places)?));
        }
        if states.iter().all(|(state, _)| state.looked.is_some()) {
            let part = |(state, rows): &(&Self, &[usize])| Some(Part { value: state.looked.clone()?, rows: rows.to_vec(), skip: 0 });
            let found: Vec<Part> = states.iter().filter_map(part).collect();
            own.looked = Some(Arc::new(cache::join(&found, Places { axis: 1, length: steps, fill: Fill::Behind })?));
        }
        Ok(own)
    }

    /// What the next step looks back to. A graph with a branch for the cache returns the encoder's part on the first
    /// step only, and something without meaning later.
    pub(super) fn keep_cache(&mut self, outputs: Tensors, is_first: bool) {
        for (name, value) in outputs {
            if name != LOGITS && (is_first || !is_of_encoder(&name)) {
                self.cache.insert(name, Arc::new(value));
            }
        }
    }

    pub(super) fn looked(&self) -> Option<Arc<DynValue>> {
        self.looked.clone()
    }

    /// Steps of what is looked at besides, filled up as they are.
    pub(super) fn steps(&self) -> usize {
        self.rows.iter().map(|row| row.steps).max().unwrap_or(0)
    }

    /// 1 for the steps of a row, 0 for what fills it up: `[rows, steps]`.
    pub(super) fn steps_mask(&self) -> Vec<i64> {
        let steps = self.steps();
        self.rows.iter().flat_map(|row| (0..steps).map(|step| i64::from(step < row.steps))).collect()
    }

    /// For each place the step that belongs to the last `marker` up to it, as 1 among zeros, and none before the first, behind an `end`
    /// or where there is no token: `[rows, places, steps]`.
    pub(super) fn marked_steps(&self, range: Range<usize>, marker: u32, end: Option<u32>) -> Vec<i64> {
        let steps = self.steps();
        let mut mask = Vec::with_capacity(self.rows.len() * range.len() * steps);
        for row in &self.rows {
            let (mut seen, mut is_over) = (0, false);
            for place in 0..range.end {
                let is_token = row.is_token[place];
                if is_token && row.ids[place] == marker {
                    seen += 1;
                    is_over = false;
                }
                if place >= range.start {
                    mask.extend((1..=steps).map(|step| i64::from(is_token && !is_over && step == seen)));
                }
                is_over |= is_token && end == Some(row.ids[place]);
            }
        }
        mask
    }

    /// Lets go of the vectors of tokens that the cache has.
    pub(super) fn forget_inserted(&mut self) {
        if self.cached == self.length() {
            self.rows.iter_mut().for_each(|row| row.inserted = Arc::default());
        }
    }

    /// Whether what is inserted has one vector of `width` for each of its tokens.
    pub(super) fn fits(&self, width: usize) -> bool {
        let mut all = self.rows.iter().flat_map(|row| row.inserted.iter());
        all.all(|inserted| inserted.vectors.len() == inserted.tokens.len() * width)
    }

    /// Calls `put` for each vector that takes the place of a token's: with the number of the place among those of `range`, row by row.
    pub(super) fn inserted(&self, range: Range<usize>, width: usize, mut put: impl FnMut(usize, &[f32])) {
        for (number, row) in self.rows.iter().enumerate().filter(|(_, row)| !row.inserted.is_empty()) {
            let places = row.places();
            for inserted in row.inserted.iter() {
                for (token, vector) in inserted.tokens.clone().zip(inserted.vectors.chunks_exact(width)) {
                    if let Some(place) = places.get(token).filter(|place| range.contains(place)) {
                        put(number * range.len() + place - range.start, vector);
                    }
                }
            }
        }
    }

    /// Whether some place of `range` has a vector of its own.
    pub(super) fn has_inserted(&self, range: &Range<usize>) -> bool {
        let is_in = |row: &Row| {
            let places = row.places();
            let mut own = row.inserted.iter().flat_map(|inserted| inserted.tokens.clone()).filter_map(|token| places.get(token));
            own.any(|place| range.contains(place))
        };
        self.rows.iter().filter(|row| !row.inserted.is_empty()).any(is_in)
    }

    pub(super) fn carried(&self, output: &str) -> Option<Arc<DynValue>> {
        self.cache.get(output).cloned()
    }

    pub(super) fn ids(&self, range: Range<usize>) -> Vec<i64> {
        self.rows.iter().flat_map(|row| &row.ids[range.clone()]).map(|token| i64::from(*token)).collect()
    }

    pub(super) fn mask(&self, end: usize) -> Vec<i64> {
        self.rows.iter().flat_map(|row| &row.is_token[..end]).map(|is_token| i64::from(*is_token)).collect()
    }

    /// How many tokens of its row stand before each place; 0 where there is none, as transformers has it but for places that nothing
    /// looks at.
    pub(super) fn places(&self, range: Range<usize>) -> Vec<i64> {
        let of_row = |row: &Row| {
            let mut before = row.is_token[..range.start].iter().filter(|is_token| **is_token).count() as i64;
            let places: Vec<i64> = row.is_token[range.clone()]
                .iter()
                .map(|is_token| {
                    before += i64::from(*is_token);
                    (before - 1).max(0)
                })
                .collect();
            places
        };
        self.rows.iter().flat_map(of_row).collect()
    }
}

impl Row {
    /// Where its tokens are: what fills it up may also lie behind a start that it shares with longer rows.
    fn places(&self) -> Vec<usize> {
        (0..self.is_token.len()).filter(|place| self.is_token[*place]).collect()
    }

    /// Front places without a token.
    fn unused(&self) -> usize {
        self.is_token.iter().position(|is_token| *is_token).unwrap_or(self.is_token.len())
    }

    /// Without the first `skip` places, filled up at the front to `length`.
    fn moved(&self, skip: usize, length: usize) -> Self {
        let own = self.ids.len() - skip;
        let mut ids = vec![0; length - own];
        let mut is_token = vec![false; length - own];
        ids.extend(&self.ids[skip..]);
        is_token.extend(&self.is_token[skip..]);
        Self { ids, is_token, steps: self.steps, inserted: Arc::clone(&self.inserted) }
    }
}
