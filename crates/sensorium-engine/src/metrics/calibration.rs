//! Bins of equal width between 0 and 1, by the probability that was given.
//!
//! Borders belong to the bin below them, as in C. Guo et al., On Calibration of Modern Neural Networks (2017), and in
//! `calibration_curve` of scikit-learn.

use datafusion::common::{Result, exec_err};

use super::options::Options;
use super::ranking::RESIDUE;
use super::sums::{Row, Sums};

/// Sums of a bin: of weights, scores and labels.
const PARTS: usize = 3;

/// Rows whose probability lies between two borders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CalibrationBin {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) mean_score: f64,
    /// Share of the label.
    pub(crate) rate: f64,
    pub(crate) weight: f64,
}

/// A score that is a probability.
pub(crate) fn probability(function: &str, score: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&score) {
        return Ok(score);
    }
    exec_err!("{function}: a score that is no probability: {score}\n\nhint: probabilities are from 0 to 1")
}

/// How many sums the bins of a call take.
pub(crate) fn calibration_width(options: &Options) -> usize {
    PARTS * options.count("bins")
}

/// Adds a row to its bin.
pub(crate) fn add_to_bin(function: &str, sums: &mut Sums, row: Row) -> Result<()> {
    let score = probability(function, row.score)?;
    let place = PARTS * bin_of(score, sums.width() / PARTS);
    sums.add(place, row.weight);
    sums.add(place + 1, row.weight * score);
    sums.add(place + 2, row.weight * row.label);
    Ok(())
}

fn border(number: usize, bins: usize) -> f64 {
    number as f64 * (1.0 / bins as f64)
}

fn bin_of(score: f64, bins: usize) -> usize {
    let mut bin = ((score * bins as f64).ceil() as usize).saturating_sub(1).min(bins - 1);
    // What rounding made of the product does not decide.
    while bin > 0 && score <= border(bin, bins) {
        bin -= 1;
    }
    while bin + 1 < bins && score > border(bin + 1, bins) {
        bin += 1;
    }
    bin
}

/// The bins that have rows.
pub(crate) fn calibration_bins(sums: &Sums) -> Vec<CalibrationBin> {
    let bins = sums.width() / PARTS;
    let bar = RESIDUE * (0..bins).map(|bin| sums.get(PARTS * bin)).fold(0.0, f64::max);
    let filled = (0..bins).filter(|bin| sums.get(PARTS * bin) > bar);
    let bin = |bin: usize| {
        let weight = sums.get(PARTS * bin);
        let mean = |part: usize| sums.get(PARTS * bin + part) / weight;
        CalibrationBin { lower: border(bin, bins), upper: border(bin + 1, bins), mean_score: mean(1), rate: mean(2), weight }
    };
    filled.map(bin).collect()
}
