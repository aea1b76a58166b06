//! How often each prediction met each label.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};

use super::arguments::Classes;
use super::ranking::{RESIDUE, list, one_list};

/// Weights of rows by label and by prediction; names in order.
#[derive(Debug)]
pub(crate) struct Contingency {
    function: &'static str,
    /// Of false and true.
    binary: [[f64; 2]; 2],
    /// Of classes with names; None is a missing one.
    named: BTreeMap<Option<String>, BTreeMap<Option<String>, f64>>,
    cells: usize,
    max_bytes: usize,
}

/// About what a cell takes in memory: two short names, their maps and a number.
const CELL_BYTES: usize = 128;
const NAMES: [&str; 2] = ["false", "true"];

/// How much a row counts; none where that is not known.
fn weight(weights: Option<&Float64Array>, row: usize) -> Option<f64> {
    weights.map_or(Some(1.0), |weights| weights.is_valid(row).then(|| weights.value(row)))
}

impl Contingency {
    pub(super) fn new(function: &'static str, max_bytes: usize) -> Self {
        Self { function, binary: [[0.0; 2]; 2], named: BTreeMap::new(), cells: 0, max_bytes }
    }

    /// Counts rows that have a prediction and a label.
    pub(super) fn add_rows(&mut self, predicted: &Classes, labels: &Classes, weights: Option<&Float64Array>, sign: f64) -> Result<()> {
        match (predicted, labels) {
            (Classes::Binary(predicted), Classes::Binary(labels)) => {
                if let (None, None, None) = (weights, predicted.nulls(), labels.nulls()) {
                    self.count(predicted.values(), labels.values(), sign);
                    return Ok(());
                }
                for row in (0..labels.len()).filter(|row| predicted.is_valid(*row) && labels.is_valid(*row)) {
                    let Some(weight) = weight(weights, row) else { continue };
                    self.binary[usize::from(labels.value(row))][usize::from(predicted.value(row))] += sign * weight;
                }
            }
            (Classes::Named(predicted), Classes::Named(labels)) => {
                for row in (0..labels.len()).filter(|row| predicted.is_valid(*row) && labels.is_valid(*row)) {
                    let Some(weight) = weight(weights, row) else { continue };
                    let name = |names: &StringArray| Some(names.value(row).to_string());
                    self.add(name(labels), name(predicted), sign * weight)?;
                }
            }
            _ => return exec_err!("{}: predictions and labels of different kinds", self.function),
        }
        Ok(())
    }

    /// Counts rows that each count as one, all known, many at a time.
    fn count(&mut self, predicted: &BooleanBuffer, labels: &BooleanBuffer, sign: f64) {
        let both = (predicted & labels).count_set_bits();
        let (predicted, positive) = (predicted.count_set_bits(), labels.count_set_bits());
        let cells = [[labels.len() + both - predicted - positive, predicted - both], [positive - both, both]];
        self.binary.as_flattened_mut().iter_mut().zip(cells.as_flattened()).for_each(|(own, rows)| *own += sign * *rows as f64);
    }

    /// Counts values of two samples, a missing value as one of its own; `samples` says which row is of the second one.
    pub(super) fn add_spread(&mut self, values: &ArrayRef, samples: &ArrayRef, weights: Option<&Float64Array>, sign: f64) -> Result<()> {
        let (values, samples) = (cast(values, &DataType::Utf8)?, cast(samples, &DataType::Boolean)?);
        let (values, samples) = (values.as_string::<i32>(), samples.as_boolean());
        for row in (0..values.len()).filter(|row| samples.is_valid(*row)) {
            let Some(weight) = weight(weights, row) else { continue };
            let value = values.is_valid(row).then(|| values.value(row).to_string());
            self.add(Some(NAMES[usize::from(samples.value(row))].to_string()), value, sign * weight)?;
        }
        Ok(())
    }

    fn add(&mut self, label: Option<String>, predicted: Option<String>, weight: f64) -> Result<()> {
        let (function, bytes) = (self.function, self.max_bytes);
        match self.named.entry(label).or_default().entry(predicted) {
            Entry::Occupied(mut cell) => *cell.get_mut() += weight,
            Entry::Vacant(cell) => {
                cell.insert(weight);
                self.cells += 1;
            }
        }
        if self.cells * CELL_BYTES > bytes {
            return exec_err!("{function}: more different classes than fit into {bytes} bytes\n\nhint: SET mm.max_metric_bytes");
        }
        Ok(())
    }

    /// Label, prediction and weight of each cell that is not empty, in the order of their names.
    pub(crate) fn cells(&self) -> Vec<(Option<&str>, Option<&str>, f64)> {
        let named = self
            .named
            .iter()
            .flat_map(|(label, row)| row.iter().map(move |(predicted, weight)| (label.as_deref(), predicted.as_deref(), *weight)));
        let binary = (0..2).flat_map(|label| (0..2).map(move |predicted| (label, predicted)));
        let binary = binary.map(|(label, predicted)| (Some(NAMES[label]), Some(NAMES[predicted]), self.binary[label][predicted]));
        let cells: Vec<_> = named.chain(binary).collect();
        let bar = RESIDUE * cells.iter().map(|(.., weight)| weight.abs()).fold(0.0, f64::max);
        cells.into_iter().filter(|(_, _, weight)| weight.abs() > bar).collect()
    }

    /// Whether classes have names, instead of being the one that a score is for and the rest.
    pub(crate) fn is_named(&self) -> bool {
        !self.named.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells * CELL_BYTES
    }

    pub(super) fn state_types() -> Vec<(&'static str, DataType)> {
        let binary = vec![("binary", list(DataType::Float64))];
        binary
            .into_iter()
            .chain([("labels", list(DataType::Utf8)), ("predictions", list(DataType::Utf8)), ("weights", list(DataType::Float64))])
            .collect()
    }

    pub(super) fn state(&self) -> Result<Vec<ScalarValue>> {
        let named = || self.named.iter().flat_map(|(label, row)| row.iter().map(move |(predicted, weight)| (label, predicted, *weight)));
        let labels: StringArray = named().map(|(label, ..)| label.as_deref()).collect();
        let predictions: StringArray = named().map(|(_, predicted, _)| predicted.as_deref()).collect();
        let weights: Float64Array = named().map(|(.., weight)| Some(weight)).collect();
        Ok(vec![
            one_list(Some(Arc::new(Float64Array::from(self.binary.as_flattened().to_vec()))), DataType::Float64)?,
            one_list(Some(Arc::new(labels)), DataType::Utf8)?,
            one_list(Some(Arc::new(predictions)), DataType::Utf8)?,
            one_list(Some(Arc::new(weights)), DataType::Float64)?,
        ])
    }

    pub(super) fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        let parts: Vec<_> = states.iter().map(|state| state.as_list::<i32>()).collect();
        for row in (0..parts[0].len()).filter(|row| parts[0].is_valid(*row)) {
            let binary = parts[0].value(row);
            self.binary
                .as_flattened_mut()
                .iter_mut()
                .zip(binary.as_primitive::<Float64Type>().values())
                .for_each(|(own, other)| *own += other);
            let (labels, predictions, weights) = (parts[1].value(row), parts[2].value(row), parts[3].value(row));
            let (labels, predictions) = (labels.as_string::<i32>(), predictions.as_string::<i32>());
            for ((label, predicted), weight) in labels.iter().zip(predictions).zip(weights.as_primitive::<Float64Type>().values()) {
                self.add(label.map(str::to_string), predicted.map(str::to_string), *weight)?;
            }
        }
        Ok(())
    }
}
