//! Calls that need a model which writes down what is said.

use arrow::datatypes::DataType;
use sensorium_inference::{Error, Kind, ModelVersion, Prediction, Result, Wanted, result_type};

/// The type of a transcript.
///
/// # Errors
/// [`Kind::Argument`] where the model is for something else.
pub(super) fn transcript_type(version: &ModelVersion) -> Result<DataType> {
    if matches!(version.manifest.prediction, Prediction::Transcript { .. }) {
        return result_type(&version.manifest, Wanted::Prediction);
    }
    let task = version.manifest.prediction.task();
    Err(Error::new(Kind::Argument, format!("model '{}' does not write down what is said: its task is {task}", version.name))
        .with_hint("use a speech model such as Whisper, or mm_predict for this one"))
}
