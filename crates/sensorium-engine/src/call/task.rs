//! Calls that need a model with a certain task: one that writes down what is said, one that reads text in pictures.

use arrow::datatypes::DataType;
use sensorium_inference::{Error, Kind, ModelVersion, Prediction, Result, Wanted, result_type};

use super::evaluate::Asked;

/// The type of what the task gives.
///
/// # Errors
/// [`Kind::Argument`] where the model is for something else.
pub(super) fn task_type(version: &ModelVersion, asked: Asked) -> Result<DataType> {
    let prediction = &version.manifest.prediction;
    let (is_able, what, hint) = match asked {
        Asked::Lines => (
            matches!(prediction, Prediction::Lines { .. }),
            "does not read text in pictures",
            "use a model such as PP-OCR, or mm_predict for this one",
        ),
        _ => (
            matches!(prediction, Prediction::Transcript { .. }),
            "does not write down what is said",
            "use a speech model such as Whisper, or mm_predict for this one",
        ),
    };
    if is_able {
        return result_type(&version.manifest, Wanted::Prediction);
    }
    Err(Error::new(Kind::Argument, format!("model '{}' {what}: its task is {}", version.name, prediction.task())).with_hint(hint))
}
