//! The border between the errors of models and those of DataFusion.

use std::error::Error as StdError;
use std::fmt;

use datafusion::error::DataFusionError;
use sensorium_inference::{Error, Failure};

/// An error of a model call as DataFusion carries it: message, then the hint on a line of its own.
#[derive(Debug)]
pub struct CallError {
    row: Option<FailedAt>,
    cause: Error,
}

/// The row that stopped a query.
#[derive(Debug, Clone)]
pub struct FailedAt {
    /// The SQL function.
    pub function: String,
    /// Number of the row within the query.
    pub row: u64,
    /// The medium that failed.
    pub uri: Option<String>,
    /// Where it failed: `fetch`, `decode`, `run`, ..
    pub step: String,
}

impl fmt::Display for FailedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}", self.function, self.row)?;
        if let Some(uri) = &self.uri {
            write!(f, " ('{uri}')")?;
        }
        write!(f, ", {}", self.step)
    }
}

impl CallError {
    /// The cause without its context.
    pub fn cause(&self) -> &Error {
        &self.cause
    }

    /// The row, where it is one that failed.
    pub fn row(&self) -> Option<&FailedAt> {
        self.row.as_ref()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(row) = &self.row {
            write!(f, "{row}: ")?;
        }
        write!(f, "{}", self.cause)?;
        match self.cause.hint() {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for CallError {}

/// An error of a model as one of DataFusion's.
pub(crate) fn to_datafusion(cause: Error) -> DataFusionError {
    DataFusionError::External(Box::new(CallError { row: None, cause }))
}

/// A failed row as an error of the whole query: names row, URI and step.
pub(crate) fn row_error(function: &str, row: u64, failure: &Failure) -> DataFusionError {
    let row = FailedAt { function: function.to_string(), row, uri: failure.uri.clone(), step: failure.step.to_string() };
    DataFusionError::External(Box::new(CallError { row: Some(row), cause: failure.error.clone() }))
}

/// What to show a person: DataFusion's wrappers taken off where one of our errors is inside.
pub fn root_message(error: &DataFusionError) -> String {
    let parser = causes(error).find_map(|cause| match cause.downcast_ref::<DataFusionError>() {
        Some(DataFusionError::SQL(parser, _)) => Some(parser.to_string()),
        _ => cause.downcast_ref::<CallError>().map(ToString::to_string),
    });
    parser.unwrap_or_else(|| error.strip_backtrace())
}

/// The cause of the type `E` inside an error, through DataFusion's wrappers.
pub fn find_cause<E: StdError + 'static>(error: &DataFusionError) -> Option<&E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// An error and all that caused it.
fn causes(error: &DataFusionError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |current| cause(*current))
}

/// What caused an error, through the wrappers that `source` does not open.
fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match error.downcast_ref::<DataFusionError>() {
        Some(DataFusionError::External(inner)) => Some(&**inner),
        Some(DataFusionError::Shared(inner)) => Some(&**inner),
        _ => error.source(),
    }
}
