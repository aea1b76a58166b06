//! Encoded picture to tensor: decode within limits, then resize, crop and normalise as the package says.

mod bilinear;
mod decode;
mod jpeg;
mod pixels;
mod resize;

use image::RgbImage;

use crate::error::Result;
use crate::execute::Limits;
use crate::package::ImageSpec;
pub(crate) use bilinear::resize_bilinear;
pub(crate) use decode::check_pixels;
pub(super) use decode::decode_on_white;

/// The tensor of one encoded picture: `channels * height * width` values in the layout of `spec`.
///
/// # Errors
/// [`crate::Kind::Media`] for bytes that are no picture, [`crate::Kind::Limit`] for more pixels than `limits` allows.
pub fn picture_to_tensor(bytes: &[u8], spec: &ImageSpec, limits: &Limits) -> Result<Vec<f32>> {
    tensor(decode::decode(bytes, spec.channels(), limits)?, spec)
}

/// The tensor of a picture that is decoded already, as a page of a document or a frame of a video.
pub(crate) fn rgb_to_tensor(picture: RgbImage, spec: &ImageSpec) -> Result<Vec<f32>> {
    tensor(decode::of_rgb(picture, spec.channels()), spec)
}

fn tensor(picture: decode::Picture, spec: &ImageSpec) -> Result<Vec<f32>> {
    let picture = match spec.resize {
        Some(target) => resize::resize(picture, target, spec.filter)?,
        None => picture,
    };
    pixels::to_tensor(&picture, spec)
}
