//! Pictures of single lines to text: which way up they are, and what stands in them.

use std::sync::Arc;

use image::{RgbImage, imageops};

use super::super::encode::Work;
use super::super::feeds::floats;
use super::super::tensor::floats as values_of;
use crate::error::{Error, Kind, Result};
use crate::modality::resize_bilinear;
use crate::package::{ANGLE, ANGLE_SIZE, Ocr, RECOGNISER, Stage};

/// Its second class is a line upside down.
const UPSIDE_DOWN: usize = 1;
/// The recogniser's class for nothing.
const BLANK: usize = 0;

/// What stands in a line, and the mean certainty of its characters.
pub(super) type Reading = (String, f32);

/// The graphs that read.
pub(super) struct Reader<'a> {
    work: &'a Work<'a>,
    ocr: &'a Ocr,
    recogniser: (usize, &'a Stage),
    angle: Option<(usize, &'a Stage)>,
}

/// The stage called `name` and its place.
pub(super) fn stage<'a>(work: &Work<'a>, name: &str) -> Option<(usize, &'a Stage)> {
    work.model.manifest.stages.iter().enumerate().find(|(_, stage)| stage.name == name)
}

/// Runs a graph of one input and one output. Returns the shape and values of the output.
pub(super) fn run(work: &Work<'_>, (index, stage): (usize, &Stage), shape: Vec<usize>, values: Vec<f32>) -> Result<(Vec<usize>, Vec<f32>)> {
    let (Some(feed), Some(port)) = (stage.feeds.first(), stage.outputs.first()) else {
        return Err(Error::new(Kind::Package, format!("graph {} has no input or output", stage.graph)));
    };
    let feeds = vec![(feed.port.name.clone(), Arc::new(floats(&feed.port, shape, values)?))];
    let (cancel, stats) = (work.request.cancel, work.request.stats);
    let outputs = cancel.guard(|options| work.model.sessions().run(index, feeds, options, stats))?;
    stats.batches.add(1);
    let (_, value) = outputs.first().ok_or_else(|| Error::new(Kind::Model, format!("graph {} gave nothing", stage.graph)))?;
    let (shape, values) = values_of(port, value)?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::new(Kind::Model, format!("output '{}' of {} is NaN or infinite", port.name, stage.graph)));
    }
    Ok((shape, values.into_owned()))
}

/// `(pixel / 255 - 0.5) / 0.5` of `picture`, blue first, into `values` of `[3, height, width]`, at the left.
pub(super) fn fill(picture: &RgbImage, values: &mut [f32], width: usize) {
    let plane = values.len() / 3;
    for (x, y, pixel) in picture.enumerate_pixels() {
        for (channel, value) in pixel.0.iter().rev().enumerate() {
            values[channel * plane + y as usize * width + x as usize] = (f32::from(*value) / 255.0 - 0.5) / 0.5;
        }
    }
}

/// Width by height.
fn ratio(line: &RgbImage) -> f64 {
    f64::from(line.width()) / f64::from(line.height().max(1))
}

/// Places of lines from the narrowest on.
fn by_ratio(lines: &[RgbImage]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..lines.len()).collect();
    places.sort_by(|a, b| ratio(&lines[*a]).total_cmp(&ratio(&lines[*b])));
    places
}

impl<'a> Reader<'a> {
    pub(super) fn new(work: &'a Work<'a>, ocr: &'a Ocr) -> Result<Self> {
        let recogniser = stage(work, RECOGNISER).ok_or_else(|| Error::new(Kind::Package, "a model without a recogniser"))?;
        Ok(Self { work, ocr, recogniser, angle: stage(work, ANGLE) })
    }

    /// What stands in each line. Those of one picture are padded to each other as PP-OCR's own pipeline does it, so that an
    /// answer does not depend on other pictures.
    pub(super) fn read(&self, mut lines: Vec<RgbImage>) -> Result<Vec<Reading>> {
        self.turn(&mut lines)?;
        let mut readings = vec![Reading::default(); lines.len()];
        let [height, width] = self.ocr.line_size;
        let least = f64::from(width) / f64::from(height);
        for group in by_ratio(&lines).chunks(self.ocr.lines_at_once.max(1)) {
            let widest = group.iter().map(|place| ratio(&lines[*place])).fold(least, f64::max);
            let values = padded(&lines, group, [height, (f64::from(height) * widest) as u32]);
            let (shape, values) = run(self.work, self.recogniser, values.0, values.1)?;
            let &[rows, steps, classes] = shape.as_slice() else { return Err(unexpected("recogniser", &shape)) };
            if rows != group.len() || classes != self.ocr.characters.len() + 1 {
                return Err(unexpected("recogniser", &shape));
            }
            for (place, scores) in group.iter().zip(values.chunks_exact((steps * classes).max(1))) {
                readings[*place] = self.decode(scores, classes);
            }
        }
        Ok(readings)
    }

    /// Turns lines that are upside down.
    fn turn(&self, lines: &mut [RgbImage]) -> Result<()> {
        let Some(angle) = self.angle else { return Ok(()) };
        for group in by_ratio(lines).chunks(self.ocr.lines_at_once.max(1)) {
            let (shape, values) = padded(lines, group, ANGLE_SIZE);
            let (shape, scores) = run(self.work, angle, shape, values)?;
            let &[rows, 2] = shape.as_slice() else { return Err(unexpected("classifier of turned lines", &shape)) };
            if rows != group.len() {
                return Err(unexpected("classifier of turned lines", &shape));
            }
            for (place, scores) in group.iter().zip(scores.chunks_exact(2)) {
                if scores[UPSIDE_DOWN] > scores[1 - UPSIDE_DOWN] && scores[UPSIDE_DOWN] > self.ocr.angle_threshold {
                    imageops::rotate180_in_place(&mut lines[*place]);
                }
            }
        }
        Ok(())
    }

    /// The likeliest class of each step, without blanks and repetitions (Graves et al. 2006, greedy).
    fn decode(&self, scores: &[f32], classes: usize) -> Reading {
        let (mut text, mut sum, mut count, mut before) = (String::new(), 0.0, 0, BLANK);
        for step in scores.chunks_exact(classes) {
            let (class, score) =
                step.iter().enumerate().fold((0, f32::MIN), |best, (class, score)| if *score > best.1 { (class, *score) } else { best });
            if class != BLANK && class != before {
                text.push_str(&self.ocr.characters[class - 1]);
                sum += score;
                count += 1;
            }
            before = class;
        }
        (text, if count == 0 { 0.0 } else { sum / count as f32 })
    }
}

fn unexpected(what: &str, shape: &[usize]) -> Error {
    Error::new(Kind::Package, format!("the {what} gave something of shape {shape:?}"))
}

/// The tensor of some lines: brought to the height, no wider than it, zeros behind them.
fn padded(lines: &[RgbImage], group: &[usize], [height, width]: [u32; 2]) -> (Vec<usize>, Vec<f32>) {
    let size = 3 * height as usize * width as usize;
    let mut values = vec![0.0; group.len() * size];
    for (place, values) in group.iter().zip(values.chunks_exact_mut(size.max(1))) {
        let own = width.min((f64::from(height) * ratio(&lines[*place])).ceil() as u32).max(1);
        fill(&resize_bilinear(&lines[*place], own, height), values, width as usize);
    }
    (vec![group.len(), 3, height as usize, width as usize], values)
}
