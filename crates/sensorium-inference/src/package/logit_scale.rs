//! The scale and bias with which a joint graph compares its vectors.
//!
//! Both are learned and end up as constants somewhere in the graph, under names that depend on the exporter. They are
//! found by running it: `logits = scale * cosine + bias` for a few made-up pictures and texts.

use std::path::Path;

use ort::session::Session;
use ort::value::Tensor;

use super::feeds::token_part;
use super::manifest::{Manifest, Modality, TokenPart};
use super::port::{Port, Signature};
use crate::error::{Error, Kind, Result};
use crate::runtime::{GpuOptions, Provider, Source, open_session};
use crate::vectors::wide_cosine;

/// Made-up rows of each side.
const ROWS: usize = 4;
/// Tokens of a made-up text where the graph leaves their number open.
const TOKENS: usize = 8;
/// Largest deviation from the line, relative to the largest logit.
const TOLERANCE: f64 = 1e-3;

/// Scale and bias of `graph`, or `None` where it gives no logits. `has_bias` says whether the family has one.
pub(super) fn measure(graph: &Path, manifest: &Manifest, vocabulary: u64, has_bias: bool) -> Result<Option<(f32, f32)>> {
    let signature = Signature::read(graph)?;
    let needed = ["logits_per_image", "text_embeds", "image_embeds"];
    if !needed.iter().all(|name| signature.outputs.iter().any(|port| port.name == *name)) {
        return Ok(None);
    }
    let mut session = open_session(Source::File(graph), Provider::Cpu, GpuOptions::default())?;
    let outputs = run(&mut session, &signature.inputs, manifest, vocabulary)
        .map_err(|error| Error::new(Kind::Package, format!("{} failed on made-up rows: {error}", graph.display())))?;
    let [logits, texts, pictures] = &outputs;
    let width = texts.len() / ROWS;
    let cosine = |picture: usize, text: usize| {
        wide_cosine(&pictures[picture * width..(picture + 1) * width], &texts[text * width..(text + 1) * width]).unwrap_or(0.0)
    };
    let points: Vec<(f64, f64)> = (0..ROWS * ROWS).map(|place| (cosine(place / ROWS, place % ROWS), f64::from(logits[place]))).collect();
    let (scale, bias) = line(&points, has_bias);
    let largest = points.iter().map(|(_, logit)| logit.abs()).fold(1.0, f64::max);
    let fits = points.iter().all(|(cosine, logit)| (scale * cosine + bias - logit).abs() <= TOLERANCE * largest);
    if fits && scale > 0.0 {
        return Ok(Some((scale as f32, bias as f32)));
    }
    Err(Error::new(Kind::Package, format!("the logits of {} are no scaled cosines of its vectors", graph.display()))
        .with_hint("only models that compare pictures and texts as CLIP and SigLIP do are joint models"))
}

/// `logits_per_image` `[pictures, texts]`, `text_embeds` and `image_embeds`.
fn run(session: &mut Session, ports: &[Port], manifest: &Manifest, vocabulary: u64) -> ort::Result<[Vec<f32>; 3]> {
    let mut noise = Noise(7);
    let mut feeds = Vec::new();
    for port in ports {
        let feed = match token_part(&port.name) {
            Some(part) => {
                let fixed = manifest.inputs.iter().find_map(|input| match &input.modality {
                    Modality::Text(spec) => spec.fixed_tokens,
                    _ => None,
                });
                let tokens = fixed.unwrap_or(TOKENS);
                let one = |place: usize| match part {
                    TokenPart::InputIds => (noise.next() % vocabulary.max(1)) as i64,
                    TokenPart::AttentionMask => 1,
                    TokenPart::TokenTypeIds => 0,
                    TokenPart::PositionIds => (place % tokens) as i64,
                };
                let values: Vec<i64> = (0..ROWS * tokens).map(one).collect();
                Tensor::from_array(([ROWS, tokens], values))?.into_dyn()
            }
            None => {
                let shape = manifest.inputs.iter().find_map(|input| match &input.modality {
                    Modality::Image(spec) => {
                        spec.size().ok().map(|size| [ROWS, spec.channels(), size.height as usize, size.width as usize])
                    }
                    _ => None,
                });
                let shape = shape.unwrap_or([ROWS, 3, 1, 1]);
                let values: Vec<f32> = (0..shape.iter().product()).map(|_| (noise.next() % 2_001) as f32 / 1_000.0 - 1.0).collect();
                Tensor::from_array((shape, values))?.into_dyn()
            }
        };
        feeds.push((port.name.clone(), feed));
    }
    let outputs = session.run(feeds)?;
    let read = |name: &str| outputs[name].try_extract_tensor::<f32>().map(|(_, values)| values.to_vec());
    Ok([read("logits_per_image")?, read("text_embeds")?, read("image_embeds")?])
}

/// Numbers without pattern, the same at every import (Knuth's MMIX generator).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Least squares: slope and intercept, or a slope through the origin.
fn line(points: &[(f64, f64)], has_bias: bool) -> (f64, f64) {
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len().max(1) as f64;
    let (x, y) = if has_bias { (mean(&|point| point.0), mean(&|point| point.1)) } else { (0.0, 0.0) };
    let product = mean(&|point| (point.0 - x) * (point.1 - y));
    let square = mean(&|point| (point.0 - x).powi(2));
    let slope = product / square.max(f64::MIN_POSITIVE);
    (slope, y - slope * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found() {
        let points: Vec<(f64, f64)> = [-0.5, 0.1, 0.3].iter().map(|x| (*x, 117.5 * x - 12.9)).collect();
        let (slope, intercept) = line(&points, true);
        assert!((slope - 117.5).abs() < 1e-9 && (intercept + 12.9).abs() < 1e-9);
        let (slope, intercept) = line(&[(0.2, 20.0), (-0.1, -10.0)], false);
        assert!((slope - 100.0).abs() < 1e-9 && intercept == 0.0);
    }
}
