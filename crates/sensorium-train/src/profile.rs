//! What is written down of the rows that a model was fitted to.

use sensorium_inference::{FeatureProfile, Profile, Training, Trial};

use crate::dataset::{Dataset, Feature, Values};
use crate::options::{Fusion, Head};
use crate::score::{Score, prediction};
use crate::target::Target;

/// Most categories that are named; the rest is seldom.
const MOST_CATEGORIES: usize = 100;

/// `raw` are the raw predictions of all rows that were held back.
pub(crate) fn training(dataset: &Dataset, folds: Option<usize>, tried: &[(Fusion, Head, Score)], raw: &[f32]) -> Training {
    let labels = match &dataset.target {
        Target::Numbers(values) => Profile::of_numbers(values.iter().map(|value| *value as f32).collect()),
        Target::Classes { codes, names } => shares(codes.iter().map(|code| Some(*code)), names).0,
    };
    let scores = raw.chunks_exact(dataset.target.outputs()).map(|raw| prediction(&dataset.target, raw)).collect();
    let trial = |(fusion, head, score): &(Fusion, Head, Score)| Trial {
        fusion: fusion.name().into(),
        head: head.name().into(),
        loss_name: score.loss_name.into(),
        loss: score.loss,
        quality_name: score.quality_name.into(),
        quality: Some(score.quality).filter(|quality| quality.is_finite()),
    };
    Training {
        label: dataset.label.clone(),
        rows: dataset.rows,
        labels,
        folds,
        tried: tried.iter().map(trial).collect(),
        scores: Profile::of_numbers(scores),
        features: dataset.features.iter().map(feature).collect(),
    }
}

fn feature(feature: &Feature) -> FeatureProfile {
    let (values, missing) = match &feature.values {
        Values::Numbers(values) => {
            let known: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
            let missing = share_missing(values.len(), known.len());
            (Profile::of_numbers(known), missing)
        }
        Values::Categories { codes, names } => shares(codes.iter().copied(), names),
        Values::Vectors { width, values, present } => {
            let mut mean = vec![0.0_f64; *width];
            let known = present.iter().filter(|present| **present).count();
            // Those of rows without one are zeros.
            for row in values.chunks_exact((*width).max(1)) {
                mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value));
            }
            let mean = mean.into_iter().map(|sum| (sum / known.max(1) as f64) as f32).collect();
            (Profile::Vectors { mean }, share_missing(present.len(), known))
        }
    };
    FeatureProfile { input: feature.name.clone(), missing, values }
}

fn share_missing(rows: usize, known: usize) -> f64 {
    (rows - known) as f64 / rows.max(1) as f64
}

/// The share of each name among those that are known, and the share of rows where none is.
fn shares(codes: impl ExactSizeIterator<Item = Option<u32>>, names: &[String]) -> (Profile, f64) {
    let rows = codes.len();
    let mut counts = vec![0_usize; names.len()];
    codes.flatten().for_each(|code| counts[code as usize] += 1);
    let known: usize = counts.iter().sum();
    let mut shares: Vec<(String, f64)> = names
        .iter()
        .cloned()
        .zip(counts.iter().map(|count| *count as f64 / known.max(1) as f64))
        .filter(|(_, share)| *share > 0.0)
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    shares.truncate(MOST_CATEGORIES);
    (Profile::Categories { shares }, share_missing(rows, known))
}
