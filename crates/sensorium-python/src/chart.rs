//! Small pictures for notebooks.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use sensorium_report::{Bar, Chart};

/// Bars from a common zero, each with a name, a value and a text at its end, as an SVG element.
#[pyfunction]
pub(crate) fn bars(title: String, rows: Vec<(String, f64, String)>) -> PyResult<String> {
    let bars = rows.into_iter().map(|(name, value, text)| Bar { name, value, text }).collect();
    Chart::Bars { title, bars }.svg().map_err(PyRuntimeError::new_err)
}
