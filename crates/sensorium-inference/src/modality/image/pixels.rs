//! Centre crop and normalisation, in one pass over the pixels that are kept.

use std::ops::Range;

use super::decode::Picture;
use crate::error::Result;
use crate::package::{ImageSpec, Layout};

/// As transformers' `center_crop`: the offset is cut off; a picture smaller than the crop is padded with black.
fn offset(length: u32, crop: u32) -> i64 {
    let (length, crop) = (i64::from(length), i64::from(crop));
    if length >= crop { (length - crop) / 2 } else { -((crop - length + 1) / 2) }
}

pub(super) fn to_tensor(picture: &Picture, spec: &ImageSpec) -> Result<Vec<f32>> {
    let size = spec.size()?;
    let (height, width, channels) = (size.height as usize, size.width as usize, picture.channels);
    let mut tensor = vec![0.0; channels * height * width];
    let rows = overlap(height, picture.height as usize, offset(picture.height, size.height));
    let columns = overlap(width, picture.width as usize, offset(picture.width, size.width));
    let is_padded = rows.kept.len() < height || columns.kept.len() < width;
    for channel in 0..channels {
        let values = values_of(spec.scale, spec.mean[channel], spec.std[channel]);
        let (first, step) = match spec.layout {
            Layout::Nchw => (channel * height * width, 1),
            Layout::Nhwc => (channel, channels),
        };
        if is_padded {
            tensor[first..].iter_mut().step_by(step).take(height * width).for_each(|place| *place = values[0]);
        }
        for (row, y) in rows.kept.clone().enumerate() {
            let source = ((rows.source + row) * picture.width as usize + columns.source) * channels + channel;
            let target = first + (y * width + columns.kept.start) * step;
            let pixels = picture.pixels[source..].iter().step_by(channels).take(columns.kept.len());
            tensor[target..].iter_mut().step_by(step).zip(pixels).for_each(|(place, pixel)| *place = values[usize::from(*pixel)]);
        }
    }
    Ok(tensor)
}

/// What each pixel value becomes: a table is faster than computing it for each pixel.
fn values_of(scale: f32, mean: f32, std: f32) -> [f32; 256] {
    let (factor, shift) = (scale / std, -mean / std);
    std::array::from_fn(|pixel| (pixel as f32).mul_add(factor, shift))
}

/// Where a picture lies in the crop along one side.
struct Overlap {
    /// Places of the crop that the picture covers.
    kept: Range<usize>,
    /// The first place of the picture that is kept.
    source: usize,
}

fn overlap(crop: usize, length: usize, offset: i64) -> Overlap {
    let first = usize::try_from(-offset).unwrap_or(0).min(crop);
    let source = usize::try_from(offset).unwrap_or(0);
    let kept = first..crop.min(first + length.saturating_sub(source));
    Overlap { kept, source }
}
