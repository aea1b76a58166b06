//! JPEG, decoded strictly: a file that ends early is an error, never a picture with a grey lower half.
//!
//! The `image` crate drives the same decoder in its lenient mode, which is why it is not used for this format.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::decode::check_pixels;
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

fn broken(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Media, format!("not a readable JPEG: {why}"))
}

/// The picture upright.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<DynamicImage> {
    // The decoder notices missing rows, but not a missing rest of the last one.
    if !bytes.windows(2).any(|pair| pair == [0xff, 0xd9]) {
        return Err(broken(&"it ends early"));
    }
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| broken(&error))?;
    let info = decoder.info().ok_or_else(|| broken(&"no header"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_pixels(width, height, limits)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let target = if is_grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(target));
    let pixels = decoder.decode().map_err(|error| broken(&error))?;
    let image = if is_grey {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    };
    let mut image = image.ok_or_else(|| broken(&"fewer pixels than its header says"))?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(image)
}
