//! How often each score came, with the label and without: all that figures need which look at nothing but the order of scores.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float64Type, UInt64Type};
use std::sync::Arc;

use datafusion::common::{Result, ScalarValue, exec_err};

use super::sums::Row;

/// One score, and the weight of the rows that have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    pub(crate) score: f64,
    pub(crate) negative: f64,
    pub(crate) positive: f64,
}

/// The scores of one class, as numbers whose order is that of the scores.
#[derive(Debug, Default)]
struct Side {
    keys: Vec<u64>,
    /// Beside each key; none as long as each counts as one.
    weights: Option<Vec<f64>>,
    is_sorted: bool,
}

/// Scores of rows of two classes.
#[derive(Debug)]
pub(crate) struct Ranking {
    function: &'static str,
    /// False, true.
    sides: [Side; 2],
    max_bytes: usize,
}

/// Share of what was added and taken away that counts as nothing.
pub(super) const RESIDUE: f64 = 1e-12;

/// As `f64::total_cmp`, but for zeros, which are equal.
fn key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn score(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

impl Side {
    fn push(&mut self, key: u64, weight: f64) {
        self.is_sorted = false;
        self.keys.push(key);
        if weight != 1.0 || self.weights.is_some() {
            let known = self.keys.len() - 1;
            self.weights.get_or_insert_with(|| vec![1.0; known]).push(weight);
        }
    }

    fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<u64>() + self.weights.as_ref().map_or(0, |weights| weights.capacity() * size_of::<f64>())
    }

    fn sort(&mut self) {
        if self.is_sorted {
            return;
        }
        // Stable, as that one finds the sorted runs that other partitions have left.
        match &mut self.weights {
            None => self.keys.sort(),
            Some(_) => self.merge_equal(),
        }
        self.is_sorted = true;
    }

    /// Keeps each score once, with the weights of all its rows.
    fn merge_equal(&mut self) {
        let weights = self.weights.take().unwrap_or_else(|| vec![1.0; self.keys.len()]);
        let mut pairs: Vec<(u64, f64)> = self.keys.drain(..).zip(weights).collect();
        pairs.sort_by_key(|pair| pair.0);
        let (mut keys, mut weights) = (Vec::new(), Vec::new());
        for equal in pairs.chunk_by(|a, b| a.0 == b.0) {
            let (sum, all) = equal.iter().fold((0.0, 0.0), |(sum, all), (_, weight)| (sum + weight, all + weight.abs()));
            // What rounding leaves of rows that a window has left behind is not a row.
            if sum.abs() > RESIDUE * all {
                keys.push(equal[0].0);
                weights.push(sum);
            }
        }
        (self.keys, self.weights, self.is_sorted) = (keys, Some(weights), true);
    }

    fn at(&self, place: usize) -> (u64, f64) {
        (self.keys[place], self.weights.as_ref().map_or(1.0, |weights| weights[place]))
    }

    /// Weight of the rows from `place` on with its score, and the place behind them.
    fn run(&self, mut place: usize, key: u64) -> (f64, usize) {
        let mut weight = 0.0;
        while place < self.keys.len() && self.keys[place] == key {
            weight += self.at(place).1;
            place += 1;
        }
        (weight, place)
    }
}

impl Ranking {
    pub(super) fn new(function: &'static str, max_bytes: usize) -> Self {
        Self { function, sides: Default::default(), max_bytes }
    }

    /// Counts a row whose label is 0 or 1.
    pub(super) fn add(&mut self, row: Row) {
        self.sides[usize::from(row.label == 1.0)].push(key(row.score), row.weight);
    }

    pub(super) fn bytes(&self) -> usize {
        self.sides.iter().map(Side::bytes).sum()
    }

    /// Makes room by counting equal scores; an error where there are too many different ones.
    pub(super) fn check_bytes(&mut self) -> Result<()> {
        let length = |side: &Side| side.keys.len() * size_of::<u64>() * (1 + usize::from(side.weights.is_some()));
        if self.sides.iter().map(length).sum::<usize>() <= self.max_bytes {
            return Ok(());
        }
        self.sides.iter_mut().for_each(Side::merge_equal);
        // Half of it must be free again, or each further batch would sort everything.
        if self.sides.iter().map(length).sum::<usize>() > self.max_bytes / 2 {
            return exec_err!(
                "{}: more different scores than fit into {} bytes\n\nhint: SET mm.max_metric_bytes, or round the scores: {}(round(score, 6), label)",
                self.function,
                self.max_bytes,
                self.function
            );
        }
        Ok(())
    }

    /// All scores once, from the lowest to the highest.
    pub(crate) fn steps(&mut self) -> impl Iterator<Item = Step> + '_ {
        self.sides.iter_mut().for_each(Side::sort);
        let [negative, positive] = &self.sides;
        let (mut low, mut high) = (0, 0);
        std::iter::from_fn(move || {
            let next = [negative.keys.get(low), positive.keys.get(high)].into_iter().flatten().min()?;
            let (negatives, positives);
            (negatives, low) = negative.run(low, *next);
            (positives, high) = positive.run(high, *next);
            Some(Step { score: score(*next), negative: negatives, positive: positives })
        })
        .filter(|step| step.negative != 0.0 || step.positive != 0.0)
    }

    /// Weight of all rows: of those without the label and of those with it.
    pub(crate) fn totals(&mut self) -> (f64, f64) {
        self.sides.iter_mut().for_each(Side::sort);
        let total = |side: &Side| side.weights.as_ref().map_or(side.keys.len() as f64, |weights| weights.iter().sum());
        (total(&self.sides[0]), total(&self.sides[1]))
    }

    /// The totals, if there are rows of both classes.
    pub(crate) fn both(&mut self) -> Option<(f64, f64)> {
        Some(self.totals()).filter(|(negative, positive)| *negative > 0.0 && *positive > 0.0)
    }

    pub(super) fn state_types() -> Vec<(&'static str, DataType)> {
        vec![
            ("negative", list(DataType::UInt64)),
            ("negative_weights", list(DataType::Float64)),
            ("positive", list(DataType::UInt64)),
            ("positive_weights", list(DataType::Float64)),
        ]
    }

    /// Sorted, so that partitions share the work; the weights are NULL where each row counts as one.
    pub(super) fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = Vec::new();
        for side in &mut self.sides {
            side.sort();
            state.push(one_list(Some(Arc::new(UInt64Array::from(std::mem::take(&mut side.keys)))), DataType::UInt64)?);
            let weights = side.weights.take().map(|weights| Arc::new(Float64Array::from(weights)) as ArrayRef);
            state.push(one_list(weights, DataType::Float64)?);
        }
        Ok(state)
    }

    pub(super) fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (side, state) in self.sides.iter_mut().zip(states.chunks_exact(2)) {
            let (keys, weights) = (state[0].as_list::<i32>(), state[1].as_list::<i32>());
            for row in (0..keys.len()).filter(|row| keys.is_valid(*row)) {
                let own = keys.value(row);
                let own = own.as_primitive::<UInt64Type>().values();
                let own_weights = weights.is_valid(row).then(|| weights.value(row));
                side.is_sorted = false;
                if own_weights.is_some() || side.weights.is_some() {
                    let all = side.weights.get_or_insert_with(|| vec![1.0; side.keys.len()]);
                    match &own_weights {
                        Some(weights) => all.extend_from_slice(weights.as_primitive::<Float64Type>().values()),
                        None => all.resize(all.len() + own.len(), 1.0),
                    }
                }
                side.keys.extend_from_slice(own);
            }
        }
        self.check_bytes()
    }
}

pub(super) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// A list as one value, or NULL.
pub(super) fn one_list(values: Option<ArrayRef>, item: DataType) -> Result<ScalarValue> {
    let Some(values) = values else { return ScalarValue::try_from(&list(item)) };
    let field = Arc::new(Field::new_list_field(item, true));
    Ok(ScalarValue::List(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths([values.len()]), values, None)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_scores_and_come_back() {
        let scores = [f64::NEG_INFINITY, -1.5, -1e-300, 0.0, 1e-300, 2.0, f64::INFINITY];
        assert!(scores.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert!(scores.iter().all(|value| score(key(*value)) == *value));
        assert_eq!(key(-0.0), key(0.0));
    }
}
