//! Bilinear resizing without a wider filter for smaller pictures, as OpenCV's `INTER_LINEAR` on bytes does it: in fixed point
//! of 11 bits (`modules/imgproc/src/resize.cpp`).

use image::RgbImage;

const BITS: f32 = 2_048.0;
const CHANNELS: usize = 3;

/// Where a pixel of the result lies between two of the source, and their weights.
struct Place {
    left: usize,
    right: usize,
    weights: [i32; 2],
}

fn places(from: usize, to: usize) -> Vec<Place> {
    let scale = from as f64 / to as f64;
    let place = |index: usize| {
        let at = ((index as f64 + 0.5) * scale - 0.5) as f32;
        let floor = at.floor();
        let (left, part) = match floor {
            floor if floor < 0.0 => (0, 0.0),
            floor if floor as usize + 1 >= from => (from - 1, 0.0),
            floor => (floor as usize, at - floor),
        };
        let weights = [(1.0 - part) * BITS, part * BITS].map(|weight| weight.round_ties_even() as i32);
        Place { left, right: (left + 1).min(from - 1), weights }
    };
    (0..to).map(place).collect()
}

/// The picture in another size.
pub(crate) fn resize_bilinear(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (from_width, from_height) = (picture.width() as usize, picture.height() as usize);
    if picture.dimensions() == (width, height) || from_width == 0 || from_height == 0 {
        return picture.clone();
    }
    let (wide, high, source) = (width as usize, height as usize, picture.as_raw());
    let mut result = RgbImage::new(width, height);
    if from_width == 2 * wide && from_height == 2 * high {
        halve(source, from_width, &mut result);
        return result;
    }
    let (columns, rows) = (places(from_width, wide), places(from_height, high));
    // The two rows of the source, stretched, that the row of the result lies between; neighbours share them.
    let mut stretched: [(usize, Vec<i32>); 2] = [(usize::MAX, vec![0; wide * CHANNELS]), (usize::MAX, vec![0; wide * CHANNELS])];
    for (row, target) in rows.iter().zip(result.chunks_exact_mut((wide * CHANNELS).max(1))) {
        if stretched[1].0 == row.left {
            stretched.swap(0, 1);
        }
        for (own, (held, values)) in [row.left, row.right].into_iter().zip(&mut stretched) {
            if *held != own {
                *held = own;
                stretch(&source[own * from_width * CHANNELS..][..from_width * CHANNELS], &columns, values);
            }
        }
        let [upper, lower] = row.weights;
        for ((above, below), target) in stretched[0].1.iter().zip(&stretched[1].1).zip(target) {
            let value = (((upper * (above >> 4)) >> 16) + ((lower * (below >> 4)) >> 16) + 2) >> 2;
            *target = value.clamp(0, 255) as u8;
        }
    }
    result
}

fn stretch(row: &[u8], columns: &[Place], values: &mut [i32]) {
    for (column, values) in columns.iter().zip(values.chunks_exact_mut(CHANNELS)) {
        let (left, right) = (&row[column.left * CHANNELS..], &row[column.right * CHANNELS..]);
        for (channel, value) in values.iter_mut().enumerate() {
            *value = i32::from(left[channel]) * column.weights[0] + i32::from(right[channel]) * column.weights[1];
        }
    }
}

/// Means of four pixels, as OpenCV does it for exactly half the size.
fn halve(source: &[u8], from_width: usize, result: &mut RgbImage) {
    for (x, y, pixel) in result.enumerate_pixels_mut() {
        let at = |dx: usize, dy: usize| &source[((2 * y as usize + dy) * from_width + 2 * x as usize + dx) * CHANNELS..];
        for channel in 0..CHANNELS {
            let sum: u32 = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)].iter().map(|pixel| u32::from(pixel[channel])).sum();
            pixel.0[channel] = ((sum + 2) >> 2) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grey_picture_stays_grey() {
        let grey = RgbImage::from_pixel(7, 5, image::Rgb([90, 91, 92]));
        for (width, height) in [(3, 2), (14, 10), (1, 1), (50, 3)] {
            assert!(resize_bilinear(&grey, width, height).pixels().all(|pixel| pixel.0 == [90, 91, 92]));
        }
    }

    #[test]
    fn pixels_between_two_are_mixed() {
        let two = RgbImage::from_raw(2, 1, vec![0, 0, 0, 100, 100, 100]).expect("pixels");
        let four: Vec<u8> = resize_bilinear(&two, 4, 1).pixels().map(|pixel| pixel.0[0]).collect();
        assert_eq!(four, [0, 25, 75, 100]);
    }
}
