//! Figures by which a model is judged: aggregates over what it said and what was true.
//!
//! A [`Metric`] reads rows (`arguments`) into one of three states that can be added up across partitions, and taken from in
//! sliding windows: how often each score came (`ranking`), sums of something about each row (`sums`), or how often each
//! prediction met each label (`contingency`). The functions themselves are files of `functions/`.

mod accumulators;
mod arguments;
mod calibration;
mod contingency;
mod metric;
mod options;
mod ranking;
mod stability;
mod sums;
mod tables;

pub(crate) use arguments::Label;
pub(crate) use calibration::{CalibrationBin, add_to_bin, calibration_bins, calibration_width, probability};
pub(crate) use contingency::Contingency;
pub(crate) use metric::{Metric, State};
pub(crate) use options::{Options, Parameter};
pub(crate) use ranking::Ranking;
pub(crate) use stability::{stability_index, stability_of_bins};
pub(crate) use sums::{Row, Sums};
pub(crate) use tables::{table, table_type};

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

/// The type of most figures.
pub(crate) fn number() -> DataType {
    DataType::Float64
}

/// A figure, or NULL where there is none: no rows, or one class only.
pub(crate) fn figure(value: Option<f64>) -> ScalarValue {
    ScalarValue::Float64(value.filter(|value| !value.is_nan()))
}
