//! Boxes around lines of text, from the map of probabilities that a detector gives (PaddleOCR, `db_postprocess.py`).

use std::collections::HashMap;

use image::{GrayImage, Luma};
use imageproc::point::Point;
use imageproc::region_labelling::{Connectivity, connected_components};

use super::rectangle::{Corner, Rectangle, distance, in_order};
use crate::package::Ocr;

/// Boxes with a shorter side are noise, before and after they grow, in pixels of the map.
const MIN_SIDE: f64 = 3.0;
const MIN_GROWN_SIDE: f64 = 5.0;
/// Boxes in a picture with a shorter side cannot be read, in pixels.
const MIN_BOX_SIDE: f64 = 3.0;
/// More regions of one picture are not looked at.
const MAX_CANDIDATES: usize = 1_000;
/// Boxes whose upper left corners differ less in height stand in one line, in pixels.
const SAME_LINE: f64 = 10.0;

/// Probabilities of text, row by row.
pub(super) struct Map<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: &'a [f32],
}

/// Boxes in a picture of `width` and `height` in the order of reading, corners from the upper left one clockwise.
pub(super) fn boxes(map: &Map<'_>, ocr: &Ocr, width: u32, height: u32) -> Vec<[Corner; 4]> {
    let mut found: Vec<[Corner; 4]> = regions(map, ocr.threshold)
        .into_iter()
        .filter_map(|region| box_of(region, map, ocr, f64::from(width), f64::from(height)))
        .collect();
    found.sort_by(|a, b| a[0][1].total_cmp(&b[0][1]).then(a[0][0].total_cmp(&b[0][0])));
    for place in 0..found.len().saturating_sub(1) {
        for before in (0..=place).rev() {
            let (left, right) = (found[before][0], found[before + 1][0]);
            if (right[1] - left[1]).abs() >= SAME_LINE || right[0] >= left[0] {
                break;
            }
            found.swap(before, before + 1);
        }
    }
    found
}

fn box_of(region: Vec<Point<i32>>, map: &Map<'_>, ocr: &Ocr, width: f64, height: f64) -> Option<[Corner; 4]> {
    let rectangle = Rectangle::around(region);
    if rectangle.short_side < MIN_SIDE || score(map, &rectangle) < ocr.box_threshold {
        return None;
    }
    let grown = Rectangle::around(rectangle.grown(f64::from(ocr.unclip_ratio)));
    if grown.short_side < MIN_GROWN_SIDE {
        return None;
    }
    let scaled = |place: f64, from: usize, to: f64| f64::from((place as f32 / from as f32) * to as f32).round_ties_even().clamp(0.0, to);
    let corners = grown.corners.map(|[x, y]| [scaled(x, map.width, width), scaled(y, map.height, height)]);
    let corners = in_order(corners).map(|[x, y]| [x.min(width - 1.0), y.min(height - 1.0)]);
    let is_readable = |a: Corner, b: Corner| distance(a, b).floor() > MIN_BOX_SIDE;
    (is_readable(corners[0], corners[1]) && is_readable(corners[0], corners[3])).then_some(corners)
}

/// Pixels of each connected region of text, and those around each hole in one.
fn regions(map: &Map<'_>, threshold: f32) -> Vec<Vec<Point<i32>>> {
    let (width, height) = (map.width as u32, map.height as u32);
    let is_text = |x: u32, y: u32| map.values[y as usize * map.width + x as usize] > threshold;
    // Regions grow by a pixel to the right and down, so that those that nearly touch are one.
    let mask = GrayImage::from_fn(width, height, |x, y| {
        let near =
            is_text(x, y) || (x > 0 && is_text(x - 1, y)) || (y > 0 && is_text(x, y - 1)) || (x > 0 && y > 0 && is_text(x - 1, y - 1));
        Luma([u8::from(near)])
    });
    let mut found = grouped(&connected_components(&mask, Connectivity::Eight, Luma([0])));
    let holes = grouped(&connected_components(&mask, Connectivity::Four, Luma([1])));
    let is_at_border = |point: &Point<i32>| point.x == 0 || point.y == 0 || point.x == width as i32 - 1 || point.y == height as i32 - 1;
    for hole in holes.into_iter().filter(|hole| !hole.iter().any(is_at_border)) {
        let around = hole.iter().flat_map(|point| [(1, 0), (-1, 0), (0, 1), (0, -1)].map(|(x, y)| Point::new(point.x + x, point.y + y)));
        found.push(around.filter(|point| mask.get_pixel(point.x as u32, point.y as u32).0[0] == 1).collect());
    }
    found.truncate(MAX_CANDIDATES);
    found
}

/// The pixels of each region but the background, whose label is 0; those at the bottom of the picture first.
fn grouped(labels: &image::ImageBuffer<Luma<u32>, Vec<u32>>) -> Vec<Vec<Point<i32>>> {
    let mut found: HashMap<u32, Vec<Point<i32>>> = HashMap::new();
    for (x, y, label) in labels.enumerate_pixels().filter(|(_, _, label)| label.0[0] != 0) {
        found.entry(label.0[0]).or_default().push(Point::new(x as i32, y as i32));
    }
    let mut regions: Vec<_> = found.into_iter().collect();
    regions.sort_unstable_by_key(|(label, _)| std::cmp::Reverse(*label));
    regions.into_iter().map(|(_, points)| points).collect()
}

/// The mean probability in the rectangle, whose corners are cut off to whole pixels.
fn score(map: &Map<'_>, rectangle: &Rectangle) -> f32 {
    let corners = &rectangle.corners;
    let range = |axis: usize, size: usize| {
        let places = corners.map(|corner| corner[axis]);
        let (least, most) =
            places.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), place| (least.min(*place), most.max(*place)));
        (least.floor().clamp(0.0, (size - 1) as f64) as usize, most.ceil().clamp(0.0, (size - 1) as f64) as usize)
    };
    let ((left, right), (top, bottom)) = (range(0, map.width), range(1, map.height));
    let corners = corners.map(|[x, y]| [(x - left as f64).trunc() as i64, (y - top as f64).trunc() as i64]);
    let (width, height) = (right - left + 1, bottom - top + 1);
    let filled = fill(&corners, width, height);
    let (mut sum, mut count) = (0.0_f64, 0_usize);
    for (y, row) in filled.chunks_exact(width).enumerate() {
        let values = &map.values[(top + y) * map.width + left..][..width];
        for (value, _) in values.iter().zip(row).filter(|(_, is_in)| **is_in) {
            sum += f64::from(*value);
            count += 1;
        }
    }
    if count == 0 { 0.0 } else { (sum / count as f64) as f32 }
}

/// Which pixels a convex polygon covers, its border among them.
fn fill(corners: &[[i64; 2]; 4], width: usize, height: usize) -> Vec<bool> {
    let mut filled = vec![false; width * height];
    let edges = (0..4).map(|place| (corners[place], corners[(place + 1) % 4]));
    for y in 0..height as i64 {
        let crossings = edges.clone().filter_map(|(a, b)| {
            let ([xa, ya], [xb, yb]) = if a[1] > b[1] { (b, a) } else { (a, b) };
            (ya <= y && y < yb).then(|| xa as f64 + (xb - xa) as f64 * (y - ya) as f64 / (yb - ya) as f64)
        });
        let (least, most) = crossings.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), x| (least.min(x), most.max(x)));
        if least < most {
            let (first, last) = (least.ceil().max(0.0) as usize, (most.floor() + 1.0).clamp(0.0, width as f64) as usize);
            filled[y as usize * width..][first.min(last)..last].fill(true);
        }
    }
    for (a, b) in edges {
        let steps = (b[0] - a[0]).abs().max((b[1] - a[1]).abs());
        for step in 0..=steps {
            let at = |from: i64, to: i64| (from as f64 + (to - from) as f64 * step as f64 / steps.max(1) as f64 + 0.5).floor();
            let (x, y) = (at(a[0], b[0]), at(a[1], b[1]));
            if (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y) {
                filled[y as usize * width + x as usize] = true;
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_in_a_line_are_read_from_left_to_right() {
        let (width, height) = (120, 60);
        let mut values = vec![0.0; width * height];
        // The right one begins a little higher, a third one stands below.
        for (left, top) in [(10, 12), (70, 10), (10, 40)] {
            for y in top..top + 10 {
                values[y * width + left..y * width + left + 30].fill(0.9);
            }
        }
        let ocr = Ocr::of_characters(Vec::new());
        let found = boxes(&Map { width, height, values: &values }, &ocr, 240, 120);
        let places: Vec<(bool, bool)> = found.iter().map(|corners| (corners[0][0] < 60.0, corners[0][1] < 60.0)).collect();
        assert_eq!(places, [(true, true), (false, true), (true, false)]);
        assert!(boxes(&Map { width, height, values: &vec![0.29; width * height] }, &ocr, 240, 120).is_empty());
    }
}
