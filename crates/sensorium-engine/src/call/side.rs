//! Which part of a joint model a call is of.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use sensorium_inference::{Error, Kind, Modality, ModelVersion, Result};

use super::arguments::signature;
use super::evaluate::Asked;

/// The part of `version` that makes what is asked for of `arguments`, or the whole where it is one.
///
/// # Errors
/// [`Kind::Argument`] where a value could belong to either side of a joint model.
pub(super) fn side_of(version: Arc<ModelVersion>, asked: Asked, arguments: &[FieldRef]) -> Result<Arc<ModelVersion>> {
    let is_of_a_side = match asked {
        Asked::Embedding | Asked::Classes => true,
        // Of a vector, or of a prediction from both sides.
        Asked::Receipt => arguments.len() == 1 && !names_all(&version, arguments),
        _ => false,
    };
    if version.manifest.joint.is_empty() || !is_of_a_side {
        return Ok(version);
    }
    let name = side_name(&version, asked, arguments)?;
    let unknown = || {
        Error::new(Kind::Argument, format!("model '{}' has no input '{name}'", version.name))
            .with_hint(format!("its inputs: {}", signature(&version.manifest)))
    };
    version.side(&name).map(Arc::new).ok_or_else(unknown)
}

/// Whether the one argument is a struct with a field for each input.
fn names_all(version: &ModelVersion, arguments: &[FieldRef]) -> bool {
    let fields = arguments.first().map(|argument| argument.data_type());
    matches!(fields, Some(DataType::Struct(fields)) if fields.len() == version.manifest.inputs.len())
}

/// The input that the call's one value belongs to.
fn side_name(version: &ModelVersion, asked: Asked, arguments: &[FieldRef]) -> Result<String> {
    let image = version.manifest.inputs.iter().find(|input| matches!(input.modality, Modality::Image(_)));
    let image = image.map(|input| input.name.clone()).unwrap_or_default();
    match arguments.first().map(|argument| argument.data_type()) {
        Some(DataType::Struct(fields)) if fields.len() == 1 => {
            let name = fields[0].name().clone();
            if asked == Asked::Classes && name != image {
                return Err(Error::new(
                    Kind::Argument,
                    format!("labels are compared with pictures: model '{}' got '{name}'", version.name),
                )
                .with_hint(format!("mm_classify(model, {{{image}: uri}}, ['a', 'b'])")));
            }
            Ok(name)
        }
        Some(DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)) => Ok(image),
        // Labels are the text.
        Some(_) if asked == Asked::Classes => Ok(image),
        _ => Err(Error::new(Kind::Argument, format!("model '{}' takes pictures and texts: which is this?", version.name))
            .with_hint("write {image: uri} or {text: note} behind the model")),
    }
}
