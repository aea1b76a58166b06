//! Lines cut out of a picture and made straight, as OpenCV's `warpPerspective` with `INTER_CUBIC` does it.

use image::{RgbImage, imageops};
use imageproc::geometric_transformations::Projection;

use super::rectangle::{Corner, distance};

/// Places between pixels are rounded to this part of one (`modules/imgproc/src/imgwarp.cpp`, `INTER_TAB_SIZE`).
const PARTS: i32 = 32;
/// OpenCV's parameter of cubic interpolation.
const SHARPNESS: f32 = -0.75;
/// Lines so many times as high as wide are written downwards.
const UPRIGHT: f64 = 1.5;

/// The pixels between `corners`, which go from the upper left one clockwise; lines that are written downwards are turned to
/// the left. `None` for corners without an area.
pub(super) fn crop(picture: &RgbImage, corners: &[Corner; 4]) -> Option<RgbImage> {
    let width = distance(corners[0], corners[1]).max(distance(corners[2], corners[3])).floor();
    let height = distance(corners[0], corners[3]).max(distance(corners[1], corners[2])).floor();
    let (w, h) = (width as f32, height as f32);
    let to = corners.map(|[x, y]| (x as f32, y as f32));
    let projection = Projection::from_control_points([(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)], to)?;
    let weights: Vec<[f32; 4]> = (0..PARTS).map(weights).collect();
    let sample = |x: u32, y: u32| {
        let (x, y) = projection * (x as f32, y as f32);
        let (x, y) = ((x * PARTS as f32).round_ties_even() as i32, (y * PARTS as f32).round_ties_even() as i32);
        let (across, down) = (&weights[(x & (PARTS - 1)) as usize], &weights[(y & (PARTS - 1)) as usize]);
        let mut sums = [0.5_f32; 3];
        for (row, down) in down.iter().enumerate() {
            for (column, across) in across.iter().enumerate() {
                let at = |place: i32, tap: usize, size: u32| (place.div_euclid(PARTS) + tap as i32 - 1).clamp(0, size as i32 - 1) as u32;
                let pixel = picture.get_pixel(at(x, column, picture.width()), at(y, row, picture.height()));
                sums.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += down * across * f32::from(value));
            }
        }
        image::Rgb(sums.map(|sum| sum.floor().clamp(0.0, 255.0) as u8))
    };
    let straight = RgbImage::from_fn(width as u32, height as u32, sample);
    Some(if height / width >= UPRIGHT { imageops::rotate270(&straight) } else { straight })
}

/// Weights of the four pixels around a place `part` parts behind the second of them.
fn weights(part: i32) -> [f32; 4] {
    let x = part as f32 / PARTS as f32;
    let near = |x: f32| ((SHARPNESS + 2.0) * x - (SHARPNESS + 3.0)) * x * x + 1.0;
    let first = ((SHARPNESS * (x + 1.0) - 5.0 * SHARPNESS) * (x + 1.0) + 8.0 * SHARPNESS) * (x + 1.0) - 4.0 * SHARPNESS;
    let (second, third) = (near(x), near(1.0 - x));
    [first, second, third, 1.0 - first - second - third]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upright_box_is_cut_out_as_it_is() {
        let picture = RgbImage::from_fn(20, 10, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let found = crop(&picture, &[[3.0, 2.0], [15.0, 2.0], [15.0, 8.0], [3.0, 8.0]]).expect("an area");
        assert_eq!(found.dimensions(), (12, 6));
        assert!(found.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == [x as u8 + 3, y as u8 + 2, 7]));
    }

    #[test]
    fn a_high_box_is_turned_to_the_left() {
        let picture = RgbImage::from_fn(10, 20, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let found = crop(&picture, &[[2.0, 3.0], [6.0, 3.0], [6.0, 15.0], [2.0, 15.0]]).expect("an area");
        assert_eq!(found.dimensions(), (12, 4));
        // What was at the top is to the left, what was to the right is at the top.
        assert_eq!(found.get_pixel(0, 0).0, [5, 3, 7]);
    }
}
