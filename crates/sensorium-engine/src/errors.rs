//! The border between the errors of models and those of DataFusion.

use std::error::Error as StdError;
use std::fmt;

use datafusion::error::DataFusionError;
use sensorium_inference::{Error, Failure};

/// An error of a model call as DataFusion carries it: message, then the hint on a line of its own.
#[derive(Debug)]
pub struct CallError {
    context: Option<String>,
    cause: Error,
}

impl CallError {
    /// The cause without its context.
    pub fn cause(&self) -> &Error {
        &self.cause
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(context) = &self.context {
            write!(f, "{context}: ")?;
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
    DataFusionError::External(Box::new(CallError { context: None, cause }))
}

/// A failed row as an error of the whole query: names row, URI and step.
pub(crate) fn row_error(function: &str, row: u64, failure: &Failure) -> DataFusionError {
    let uri = failure.uri.as_ref().map_or(String::new(), |uri| format!(" ('{uri}')"));
    let context = format!("{function}, row {row}{uri}, {}", failure.step);
    DataFusionError::External(Box::new(CallError { context: Some(context), cause: failure.error.clone() }))
}

/// What to show a person: DataFusion's wrappers taken off where one of our errors is inside.
pub fn root_message(error: &DataFusionError) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(call) = current.downcast_ref::<CallError>() {
            return call.to_string();
        }
        cause = match current.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(&**inner),
            Some(DataFusionError::Shared(inner)) => Some(&**inner),
            Some(DataFusionError::SQL(parser, _)) => return parser.to_string(),
            _ => current.source(),
        };
    }
    error.strip_backtrace()
}
