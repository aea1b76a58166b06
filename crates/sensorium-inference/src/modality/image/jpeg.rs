//! JPEG, bit by bit what libjpeg-turbo (and so Pillow) decodes, and strictly: a file that ends early is an error,
//! never a picture with a grey lower half.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use libjpeg_turbo_rs::decode::boundary::find_first_sos;
use libjpeg_turbo_rs::decode::pipeline::Decoder;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, PixelFormat};

use super::decode::check_pixels;
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

/// Scans of a progressive picture; real ones have about ten. Each costs a pass over all pixels.
const MAX_SCANS: usize = 500;

fn broken(why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Media, format!("not a readable JPEG: {why}"))
}

/// The picture upright.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<DynamicImage> {
    check_end(bytes)?;
    let bounds = DecodeLimits { max_pixels: limits.max_image_pixels as u64, max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, bounds).map_err(|error| broken(&error))?;
    let header = decoder.header();
    let side = |length: usize| u32::try_from(length).map_err(|_| broken(&"a side is too long"));
    let (width, height) = (side(header.width())?, side(header.height())?);
    check_pixels(width, height, limits)?;
    let is_grey = decoder.jpeg_color_space() == ColorSpace::Grayscale;
    decoder.set_output_format(if is_grey { PixelFormat::Grayscale } else { PixelFormat::Rgb });
    decoder.set_stop_on_warning(true);
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    let pixels = decoder.decode_image().map_err(|error| broken(&error))?.into_vec();
    let image = if is_grey {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    };
    let mut image = image.ok_or_else(|| broken(&"fewer pixels than its header says"))?;
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(image)
}

/// The end marker must come behind the first scan: that of a thumbnail in the header does not count.
fn check_end(bytes: &[u8]) -> Result<()> {
    let scan = find_first_sos(bytes).ok_or_else(|| broken(&"no picture in it, or it ends early"))?;
    if bytes[scan..].windows(2).any(|pair| pair == [0xff, 0xd9]) { Ok(()) } else { Err(broken(&"it ends early")) }
}
