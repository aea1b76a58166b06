//! Decoding, with the limits checked before memory is taken.
//!
//! Colour conversion follows Pillow's `convert("RGB")`: transparency is dropped, palettes and CMYK are converted,
//! 16-bit values keep their upper byte; EXIF orientation is applied first.

use std::io::Cursor;
use std::panic::catch_unwind;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};

use super::jpeg;
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

/// Memory that a decoder may take per pixel, for its working copies: 16-bit RGBA twice.
const BYTES_PER_PIXEL: u64 = 16;

/// 8-bit pixels, channels last.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
}

pub(super) fn decode(bytes: &[u8], channels: usize, limits: &Limits) -> Result<Picture> {
    open(bytes, limits).map(|image| flatten(image, channels))
}

/// A picture as it looks on white paper: text on a transparent ground would not be seen otherwise.
pub(in crate::modality) fn decode_on_white(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    let image = open(bytes, limits)?;
    if !image.color().has_alpha() {
        return to_rgb(flatten(image, 3));
    }
    let image = image.into_rgba8();
    let on_white = |color: u8, alpha: u8| {
        let (color, alpha) = (u32::from(color), u32::from(alpha));
        ((color * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let mut paper = RgbImage::new(image.width(), image.height());
    for (pixel, image::Rgba([red, green, blue, alpha])) in paper.pixels_mut().zip(image.pixels()) {
        pixel.0 = [red, green, blue].map(|color| on_white(*color, *alpha));
    }
    Ok(paper)
}

fn open(bytes: &[u8], limits: &Limits) -> Result<DynamicImage> {
    let format = image::guess_format(bytes).map_err(|_| unknown_format(bytes))?;
    // Damaged bytes must cost one row, also where a decoder does not expect them.
    let decoded = catch_unwind(|| if format == ImageFormat::Jpeg { jpeg::decode(bytes, limits) } else { other(bytes, format, limits) });
    decoded.unwrap_or_else(|_| Err(Error::new(Kind::Media, format!("the decoder of {format:?} gave up on these bytes"))))
}

/// A picture that is decoded already.
pub(super) fn of_rgb(picture: RgbImage, channels: usize) -> Picture {
    flatten(DynamicImage::ImageRgb8(picture), channels)
}

/// The pixels of a picture of three channels.
fn to_rgb(picture: Picture) -> Result<RgbImage> {
    let size = format!("{}x{}", picture.width, picture.height);
    RgbImage::from_raw(picture.width, picture.height, picture.pixels)
        .ok_or_else(|| Error::new(Kind::Media, format!("a picture of {size} with too few pixels")))
}

/// Every format but JPEG.
fn other(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut bounds = image::Limits::no_limits();
    bounds.max_alloc = Some((limits.max_image_pixels as u64).saturating_mul(BYTES_PER_PIXEL));
    reader.limits(bounds);
    let mut decoder = reader.into_decoder().map_err(|error| broken(format, &error))?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, limits)?;
    let orientation = decoder.orientation().map_err(|error| broken(format, &error))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| broken(format, &error))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Refuses a picture of too many pixels, by its header.
pub(crate) fn check_pixels(width: u32, height: u32, limits: &Limits) -> Result<()> {
    if u64::from(width) * u64::from(height) <= limits.max_image_pixels as u64 {
        return Ok(());
    }
    Err(Error::new(Kind::Limit, format!("{width}x{height} pixels are over the limit of {}", limits.max_image_pixels))
        .with_hint("SET mm.max_image_pixels"))
}

fn flatten(image: DynamicImage, channels: usize) -> Picture {
    let (width, height) = (image.width(), image.height());
    let pixels = match (channels, image) {
        (1, DynamicImage::ImageLuma8(grey)) => grey.into_raw(),
        (1, image) => flatten(image, 3).pixels.chunks_exact(3).map(luma).collect(),
        (_, DynamicImage::ImageLuma16(gray)) => gray.into_raw().into_iter().flat_map(|value| [(value >> 8) as u8; 3]).collect(),
        (_, DynamicImage::ImageLumaA16(gray)) => gray.into_raw().chunks_exact(2).flat_map(|pixel| [(pixel[0] >> 8) as u8; 3]).collect(),
        (_, DynamicImage::ImageRgb16(rgb)) => rgb.into_raw().into_iter().map(|value| (value >> 8) as u8).collect(),
        (_, DynamicImage::ImageRgba16(rgba)) => rgba
            .into_raw()
            .chunks_exact(4)
            .flat_map(|pixel| [(pixel[0] >> 8) as u8, (pixel[1] >> 8) as u8, (pixel[2] >> 8) as u8])
            .collect(),
        (_, image) => image.into_rgb8().into_raw(),
    };
    Picture { width, height, channels, pixels }
}

/// Pillow's `convert("L")`: ITU-R 601 weights in 16-bit fixed point.
fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

fn broken(format: ImageFormat, error: &ImageError) -> Error {
    let name = format.extensions_str().first().copied().unwrap_or("picture").to_uppercase();
    match error {
        ImageError::Limits(_) => Error::new(Kind::Limit, format!("this {name} needs more memory than the limit on pixels allows"))
            .with_hint("SET mm.max_image_pixels"),
        _ => Error::new(Kind::Media, format!("not a readable {name}: {error}")),
    }
}

fn unknown_format(bytes: &[u8]) -> Error {
    if bytes.is_empty() {
        return Error::new(Kind::Media, "not a picture: the file is empty");
    }
    let start: String = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).escape_debug().collect();
    Error::new(Kind::Media, format!("not a picture: it starts with \"{start}\""))
        .with_hint("JPEG, PNG, WebP, GIF, BMP, TIFF and PDF are read")
}
