//! Centre crop and normalisation, in one pass over the pixels that are kept.

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
    let (top, left) = (offset(picture.height, size.height), offset(picture.width, size.width));
    let factors: Vec<(f32, f32)> = spec.mean.iter().zip(&spec.std).map(|(mean, std)| (spec.scale / std, -mean / std)).collect();
    let black: Vec<f32> = factors.iter().map(|(_, shift)| *shift).collect();
    let mut tensor = vec![0.0; channels * height * width];
    let plane = height * width;
    for y in 0..height {
        let source_y = y as i64 + top;
        let row = usize::try_from(source_y).ok().filter(|row| *row < picture.height as usize);
        for x in 0..width {
            let source_x = x as i64 + left;
            let column = usize::try_from(source_x).ok().filter(|column| *column < picture.width as usize);
            let pixel = row.zip(column).map(|(row, column)| (row * picture.width as usize + column) * channels);
            for channel in 0..channels {
                let (factor, shift) = factors[channel];
                let value = pixel.map_or(black[channel], |start| f32::from(picture.pixels[start + channel]).mul_add(factor, shift));
                let place = match spec.layout {
                    Layout::Nchw => channel * plane + y * width + x,
                    Layout::Nhwc => (y * width + x) * channels + channel,
                };
                tensor[place] = value;
            }
        }
    }
    Ok(tensor)
}
