//! Resizing of 8-bit pixels with Pillow's filters and rounding of sizes.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::decode::Picture;
use crate::error::{Error, Kind, Result};
use crate::package::{Filter, Resize};

pub(super) fn resize(picture: Picture, target: Resize, filter: Filter) -> Result<Picture> {
    let (width, height) = target_size(&picture, target)?;
    if (width, height) == (picture.width, picture.height) {
        return Ok(picture);
    }
    // Pillow resizes rows first and rounds to 8 bits in between; the resizer alone would begin with columns, and the
    // last bits of the result would differ.
    let rows = pass(picture, width, None, filter)?;
    pass(rows, width, Some(height), filter)
}

/// One direction: to `width`, or to `height` where it is given.
fn pass(picture: Picture, width: u32, height: Option<u32>, filter: Filter) -> Result<Picture> {
    let height = height.unwrap_or(picture.height);
    if (width, height) == (picture.width, picture.height) {
        return Ok(picture);
    }
    let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Media, format!("cannot be resized to {width}x{height}: {error}"));
    let kind = if picture.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = Image::from_vec_u8(picture.width, picture.height, picture.pixels, kind).map_err(|error| failed(&error))?;
    let mut resized = Image::new(width, height, kind);
    let options = ResizeOptions::new().resize_alg(algorithm(filter)).use_alpha(false);
    Resizer::new().resize(&source, &mut resized, &options).map_err(|error| failed(&error))?;
    Ok(Picture { width, height, channels: picture.channels, pixels: resized.into_vec() })
}

fn algorithm(filter: Filter) -> ResizeAlg {
    ResizeAlg::Convolution(match filter {
        Filter::Nearest => return ResizeAlg::Nearest,
        Filter::Lanczos => FilterType::Lanczos3,
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Box => FilterType::Box,
        Filter::Hamming => FilterType::Hamming,
    })
}

/// Longest side after a shortest-edge resize; a 1 x 65000 strip would otherwise become 256 x 16 million pixels.
const MAX_RESIZED_EDGE: u64 = 65_500;

/// As transformers' `get_resize_output_image_size`: the longer side is cut off, not rounded.
fn target_size(picture: &Picture, target: Resize) -> Result<(u32, u32)> {
    let edge = match target {
        Resize::Exact(size) => return Ok((size.width, size.height)),
        Resize::ShortestEdge { shortest_edge } => shortest_edge,
    };
    let (short, long) = (picture.width.min(picture.height), picture.width.max(picture.height));
    let longer = u64::from(edge) * u64::from(long) / u64::from(short.max(1));
    let longer = u32::try_from(longer.max(1)).ok().filter(|side| u64::from(*side) <= MAX_RESIZED_EDGE).ok_or_else(|| {
        Error::new(
            Kind::Media,
            format!(
                "too narrow a picture: {}x{} resized to {edge} on its shorter side has a side of {longer}",
                picture.width, picture.height
            ),
        )
    })?;
    Ok(if picture.width <= picture.height { (edge, longer) } else { (longer, edge) })
}
