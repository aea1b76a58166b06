//! What goes wrong with a job.

use std::fmt;

use datafusion::error::DataFusionError;
use sensorium_engine::root_message;

/// An error with what to do about it.
#[derive(Debug)]
pub struct JobError {
    message: String,
    hint: Option<String>,
    is_busy: bool,
}

/// What jobs return.
pub type Result<T, E = JobError> = std::result::Result<T, E>;

impl JobError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, is_busy: false }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error that says that somebody else is at it.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { is_busy: true, ..Self::new(message) }
    }

    /// Whether somebody else is at it, and nothing is wrong.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// The same, and before it what was being done.
    #[must_use]
    pub fn during(mut self, action: impl fmt::Display) -> Self {
        self.message = format!("{action}: {}", self.message);
        self
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}\n\nhint: {hint}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for JobError {}

impl From<DataFusionError> for JobError {
    fn from(error: DataFusionError) -> Self {
        Self::new(root_message(&error))
    }
}

impl From<object_store::Error> for JobError {
    fn from(error: object_store::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<parquet::errors::ParquetError> for JobError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(format!("ledger: {error}"))
    }
}
