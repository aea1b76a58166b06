//! Sums of something about each row.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use std::sync::Arc;

use datafusion::common::{Result, ScalarValue};

use super::ranking::{list, one_list};

/// One row: what the model said, what was true, and how much it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) score: f64,
    /// 1 for true and 0 for false where labels are binary.
    pub(crate) label: f64,
    pub(crate) weight: f64,
}

/// Sums that keep what rounding takes from them, so that rows can be taken away again.
///
/// Source: A. Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54 (1974).
#[derive(Debug, Default, Clone)]
pub(crate) struct Sums {
    sums: Vec<f64>,
    lost: Vec<f64>,
}

impl Sums {
    pub(crate) fn new(width: usize) -> Self {
        Self { sums: vec![0.0; width], lost: vec![0.0; width] }
    }

    /// Adds to sum number `place`.
    pub(crate) fn add(&mut self, place: usize, value: f64) {
        let sum = self.sums[place];
        let total = sum + value;
        self.lost[place] += if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
        self.sums[place] = total;
    }

    /// Sum number `place`.
    pub(crate) fn get(&self, place: usize) -> f64 {
        self.sums[place] + self.lost[place]
    }

    /// Sum number `place` and what rounding took from it.
    pub(crate) fn parts(&self, place: usize) -> (f64, f64) {
        (self.sums[place], self.lost[place])
    }

    /// How many sums there are.
    pub(crate) fn width(&self) -> usize {
        self.sums.len()
    }

    pub(super) fn bytes(&self) -> usize {
        2 * self.sums.capacity() * size_of::<f64>()
    }

    pub(super) fn state_types() -> Vec<(&'static str, DataType)> {
        vec![("sums", list(DataType::Float64)), ("lost", list(DataType::Float64))]
    }

    pub(super) fn state(&self) -> Result<Vec<ScalarValue>> {
        let one = |values: &[f64]| one_list(Some(Arc::new(Float64Array::from(values.to_vec()))), DataType::Float64);
        Ok(vec![one(&self.sums)?, one(&self.lost)?])
    }

    pub(super) fn merge(&mut self, states: &[ArrayRef]) {
        for part in states {
            let part = part.as_list::<i32>();
            for row in (0..part.len()).filter(|row| part.is_valid(*row)) {
                let values = part.value(row);
                values.as_primitive::<Float64Type>().values().iter().enumerate().for_each(|(place, value)| self.add(place, *value));
            }
        }
    }
}
