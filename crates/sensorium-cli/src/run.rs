//! The runtime of the command and its one error type.

use std::error::Error;
use std::future::Future;

use datafusion::error::DataFusionError;
use sensorium_engine::root_message;

/// What a command fails with: the text for the person, hint included.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self(root_message(&error))
    }
}

impl From<sensorium_inference::Error> for Failure {
    fn from(error: sensorium_inference::Error) -> Self {
        Self(error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\n\nhint: {hint}")))
    }
}

impl From<sensorium_jobs::JobError> for Failure {
    fn from(error: sensorium_jobs::JobError) -> Self {
        Self(error.to_string())
    }
}

/// An error of the operating system with what was being done.
pub(crate) fn failed(action: impl std::fmt::Display) -> impl FnOnce(&dyn Error) -> Failure {
    move |error| Failure(format!("{action}: {error}"))
}

/// Runs `future` on a runtime of its own.
pub(crate) fn blocking<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed("cannot start")(&error))?;
    runtime.block_on(future)
}
