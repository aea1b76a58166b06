//! One picture: brought to a size in which lines can be found, its lines cut out and read (RapidOCR 1.4, `main.py`).

use std::time::Instant;

use image::{RgbImage, imageops};

use super::super::encode::Work;
use super::crop::crop;
use super::detect::{Map, boxes};
use super::lines::Line;
use super::read::{Reader, fill, run, stage};
use super::rectangle::Corner;
use crate::error::{Error, Kind, Result};
use crate::modality::resize_bilinear;
use crate::package::{DETECTOR, Ocr};

/// Sides of what the detector sees are multiples of this.
const MULTIPLE: f64 = 32.0;
/// A picture with a shorter side is made larger, in pixels.
const LEAST_SIDE: u32 = 30;
/// Pictures so many times as wide as high are put between black bars.
const WIDEST: f64 = 8.0;
/// Longest side of what the detector sees, in pixels: the maps of a strip would take gigabytes.
const MAX_DETECTOR_SIDE: u32 = 8_192;

/// A side of a picture that is scaled, in whole multiples.
fn side(length: u32, scale: f64) -> u32 {
    let scaled = (f64::from(length) * scale).floor();
    ((scaled / MULTIPLE).round_ties_even() * MULTIPLE).max(MULTIPLE) as u32
}

/// A picture that was brought to size, and how places in it become places in the original.
struct Prepared {
    picture: RgbImage,
    /// Factors on x and y.
    scale: [f64; 2],
    /// Rows that were added above.
    bar: u32,
}

fn prepare(picture: RgbImage, ocr: &Ocr) -> Result<Prepared> {
    let (width, height) = picture.dimensions();
    let mut own = picture;
    let resize = |own: &mut RgbImage, scale: f64| *own = resize_bilinear(own, side(own.width(), scale), side(own.height(), scale));
    let longest = own.width().max(own.height());
    if longest > ocr.max_side {
        resize(&mut own, f64::from(ocr.max_side) / f64::from(longest));
    }
    let shortest = own.width().min(own.height());
    if shortest < LEAST_SIDE {
        resize(&mut own, f64::from(LEAST_SIDE) / f64::from(shortest.max(1)));
    }
    let scale = [f64::from(width) / f64::from(own.width()), f64::from(height) / f64::from(own.height())];
    let (w, h) = own.dimensions();
    if h > LEAST_SIDE && f64::from(w) / f64::from(h) <= WIDEST {
        return Ok(Prepared { picture: own, scale, bar: 0 });
    }
    // Before bars are added to what is refused in the end.
    check_side(w, h, width, height)?;
    let bar = (i64::from((w / 8).max(LEAST_SIDE)) * 2 - i64::from(h)).unsigned_abs() as u32 / 2;
    let mut between = RgbImage::new(w, h + 2 * bar);
    imageops::replace(&mut between, &own, 0, i64::from(bar));
    Ok(Prepared { picture: between, scale, bar })
}

/// The lines of a picture in the order of reading.
pub(super) fn lines_of(work: &Work<'_>, reader: &Reader<'_>, ocr: &Ocr, picture: RgbImage, page: usize) -> Result<Vec<Line>> {
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let start = Instant::now();
    let prepared = prepare(picture, ocr)?;
    work.request.stats.feature_time.since(start);
    let found = detect(work, ocr, &prepared.picture)?;
    let start = Instant::now();
    let (mut corners, mut crops) = (Vec::new(), Vec::new());
    for own in found {
        work.request.cancel.check()?;
        if let Some(line) = crop(&prepared.picture, &own) {
            corners.push(own);
            crops.push(line);
        }
    }
    work.request.stats.feature_time.since(start);
    let original = |[x, y]: Corner| {
        [(x * prepared.scale[0]).clamp(0.0, width), ((y - f64::from(prepared.bar)) * prepared.scale[1]).clamp(0.0, height)]
    };
    let lines = reader.read(crops)?.into_iter().zip(corners).filter(|((_, score), _)| *score >= ocr.line_threshold);
    Ok(lines.map(|((text, score), corners)| Line { text, score, page, corners: corners.map(original) }).collect())
}

/// Refuses what would take gigabytes for the detector.
fn check_side(wide: u32, high: u32, width: u32, height: u32) -> Result<()> {
    if wide.max(high) <= MAX_DETECTOR_SIDE {
        return Ok(());
    }
    let error = format!("{width}x{height} pixels become {wide}x{high} for the detector, over the limit of {MAX_DETECTOR_SIDE}");
    Err(Error::new(Kind::Limit, error).with_hint("cut the strip into pieces that are less long"))
}

fn detect(work: &Work<'_>, ocr: &Ocr, picture: &RgbImage) -> Result<Vec<[Corner; 4]>> {
    let detector = stage(work, DETECTOR).ok_or_else(|| Error::new(Kind::Package, "a model without a detector"))?;
    let (width, height) = picture.dimensions();
    let shortest = width.min(height);
    let scale = if shortest < ocr.min_side { f64::from(ocr.min_side) / f64::from(shortest.max(1)) } else { 1.0 };
    let (wide, high) = (side(width, scale), side(height, scale));
    check_side(wide, high, width, height)?;
    let start = Instant::now();
    let mut values = vec![0.0; 3 * wide as usize * high as usize];
    fill(&resize_bilinear(picture, wide, high), &mut values, wide as usize);
    work.request.stats.feature_time.since(start);
    let (shape, values) = run(work, detector, vec![1, 3, high as usize, wide as usize], values)?;
    let start = Instant::now();
    let &[1, 1, high, wide] = shape.as_slice() else {
        return Err(Error::new(Kind::Package, format!("the detector gave something of shape {shape:?}")));
    };
    let found = boxes(&Map { width: wide, height: high, values: &values }, ocr, width, height);
    work.request.stats.feature_time.since(start);
    Ok(found)
}
