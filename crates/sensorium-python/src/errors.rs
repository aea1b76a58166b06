//! Errors of the engine as exceptions of `sensorium._errors`.

use datafusion::error::DataFusionError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use sensorium_engine::{CallError, find_cause, root_message};

/// The code of what is wrong with a statement itself, beside those of `sql/errors.md`.
const SQL: &str = "sql";
/// The code of what went wrong in the engine.
const ENGINE: &str = "engine";

/// The exception for an error: the one that a frame raised, or one of `sensorium`'s.
pub(crate) fn to_python(py: Python<'_>, error: &DataFusionError) -> PyErr {
    if let Some(raised) = find_cause::<PyErr>(error) {
        return raised.clone_ref(py);
    }
    let made = match find_cause::<CallError>(error) {
        Some(call) => of_call(py, call),
        None => {
            let text = root_message(error);
            let (message, hint) = match text.split_once("\n\nhint: ") {
                Some((message, hint)) => (message, Some(hint)),
                None => (text.as_str(), None),
            };
            exception(py, code(error), message, hint, None)
        }
    };
    made.unwrap_or_else(|error| error)
}

/// An exception of Sensorium's with a code of `sql/errors.md`.
pub(crate) fn raise(py: Python<'_>, code: &str, message: &str, hint: &str) -> PyErr {
    exception(py, code, message, Some(hint), None).unwrap_or_else(|error| error)
}

/// A Python exception, or whatever else kept a frame from being read, as an error of the engine's.
pub(crate) fn from_python(error: PyErr) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn of_call(py: Python<'_>, call: &CallError) -> PyResult<PyErr> {
    let cause = call.cause();
    let row = call.row().map(|at| {
        let row = PyDict::new(py);
        row.set_item("function", &at.function)?;
        row.set_item("row", at.row)?;
        row.set_item("uri", at.uri.as_deref())?;
        row.set_item("step", &at.step)?;
        PyResult::Ok(row)
    });
    let message = call.row().map_or_else(|| cause.to_string(), |at| format!("{at}: {cause}"));
    exception(py, cause.code(), &message, cause.hint(), row.transpose()?)
}

fn exception(py: Python<'_>, code: &str, message: &str, hint: Option<&str>, row: Option<Bound<'_, PyDict>>) -> PyResult<PyErr> {
    let module = py.import(intern!(py, "sensorium._errors"))?;
    let rows: Vec<Bound<'_, PyDict>> = row.into_iter().collect();
    let made = module.call_method1(intern!(py, "exception"), (code, message, hint, rows))?;
    Ok(PyErr::from_value(made))
}

/// Which class an error of DataFusion's belongs to.
fn code(error: &DataFusionError) -> &'static str {
    match error.find_root() {
        DataFusionError::SQL(..) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => SQL,
        DataFusionError::Configuration(_) => "setting",
        DataFusionError::ResourcesExhausted(_) => "limit",
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => "fetch",
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => code(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(ENGINE, code),
        _ => ENGINE,
    }
}

/// For what cannot happen while the interpreter runs.
pub(crate) fn broken(what: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("sensorium: {what}"))
}
