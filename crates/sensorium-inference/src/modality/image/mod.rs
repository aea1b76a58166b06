//! Encoded picture to tensor: decode within limits, then resize, crop and normalise as the package says.

mod decode;
mod jpeg;
mod pixels;
mod resize;

use crate::error::Result;
use crate::execute::Limits;
use crate::package::ImageSpec;

/// The tensor of one encoded picture: `channels * height * width` values in the layout of `spec`.
///
/// # Errors
/// [`crate::Kind::Media`] for bytes that are no picture, [`crate::Kind::Limit`] for more pixels than `limits` allows.
pub fn picture_to_tensor(bytes: &[u8], spec: &ImageSpec, limits: &Limits) -> Result<Vec<f32>> {
    let picture = decode::decode(bytes, spec.channels(), limits)?;
    let picture = match spec.resize {
        Some(target) => resize::resize(picture, target, spec.filter)?,
        None => picture,
    };
    pixels::to_tensor(&picture, spec)
}
