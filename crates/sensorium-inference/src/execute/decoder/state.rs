//! What a decoder has read of some rows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ort::value::DynValue;

use super::super::sessions::Tensors;
use super::cache::{self, Part};
use crate::error::Result;
use crate::package::LOGITS;

/// Rows that are written together. All have the same number of places; those of a shorter row at its front hold nothing.
pub(in super::super) struct State {
    /// What the decoder looks at besides, `[rows, steps, width]`.
    encoded: Option<Arc<DynValue>>,
    cache: HashMap<String, Arc<DynValue>>,
    /// Places that the cache holds.
    pub(super) cached: usize,
    rows: Vec<Places>,
}

/// The places of a row.
#[derive(Debug, Clone, Default)]
struct Places {
    ids: Vec<u32>,
    /// Whether there is a token.
    is_token: Vec<bool>,
}

/// Whether a carried output is of the encoder's states, which stay as they are after the first step.
pub(super) fn is_of_encoder(output: &str) -> bool {
    output.contains(".encoder.")
}

impl State {
    /// Rows of which nothing was read.
    pub(in super::super) fn new(encoded: Option<Arc<DynValue>>, rows: usize) -> Self {
        Self { encoded, cache: HashMap::new(), cached: 0, rows: vec![Places::default(); rows] }
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
        Self::new(self.encoded.clone(), self.rows.len())
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
        let mut own = Self { encoded: None, cache: HashMap::new(), cached: length, rows: Vec::new() };
        for ((state, rows), skip) in parts() {
            own.rows.extend(rows.iter().map(|row| state.rows[*row].moved(*skip, length)));
            // Either all have a cache of everything, or none has one.
            own.cached = own.cached.min(if state.cached == state.length() { length } else { 0 });
        }
        let Some((first, _)) = states.first() else { return Ok(own) };
        for name in first.cache.keys() {
            let is_whole = is_of_encoder(name);
            let part = |((state, rows), skip): (&(&Self, &'_ [usize]), &usize)| {
                Some(Part { value: Arc::clone(state.cache.get(name)?), rows: rows.to_vec(), skip: if is_whole { 0 } else { *skip } })
            };
            let found: Vec<Part> = parts().filter_map(part).collect();
            own.cache.insert(name.clone(), Arc::new(cache::join(&found, (!is_whole).then_some(length))?));
        }
        if states.iter().all(|(state, _)| state.encoded.is_some()) {
            let part = |(state, rows): &(&Self, &[usize])| Some(Part { value: state.encoded.clone()?, rows: rows.to_vec(), skip: 0 });
            let found: Vec<Part> = states.iter().filter_map(part).collect();
            own.encoded = Some(Arc::new(cache::join_rows(&found)?));
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

    pub(super) fn encoded(&self) -> Option<Arc<DynValue>> {
        self.encoded.clone()
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
        let of_row = |row: &Places| {
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

impl Places {
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
        Self { ids, is_token }
    }
}
