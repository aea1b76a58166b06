//! The population stability index: how far the distribution of a value has moved from a reference sample.
//!
//! Source: N. Siddiqi, Credit Risk Scorecards (2006): sum over bins of (actual - expected) * ln(actual / expected), with the
//! bins at quantiles of the reference sample.

use super::ranking::Ranking;

/// Share that a bin without rows of a sample counts as having, for the logarithm of nothing has no end.
const SMALLEST_SHARE: f64 = 1e-4;

/// The index over pairs of weights: of the reference sample and of the other one.
pub(crate) fn stability_of_bins(bins: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let (expected, actual) = bins.clone().fold((0.0, 0.0), |sums, bin| (sums.0 + bin.0, sums.1 + bin.1));
    let share = |weight: f64, total: f64| (weight / total).max(SMALLEST_SHARE);
    let term = |(before, now): (f64, f64)| {
        let (before, now) = (share(before, expected), share(now, actual));
        (now - before) * (now / before).ln()
    };
    (expected > 0.0 && actual > 0.0).then(|| bins.map(term).sum())
}

/// The index of values whose label says whether they are of the sample that is compared with the reference. Equal values are
/// never parted, so that there may be fewer bins.
pub(crate) fn stability_index(ranking: &mut Ranking, bins: usize) -> Option<f64> {
    let (expected, _) = ranking.both()?;
    let mut filled = vec![(0.0, 0.0); bins];
    let mut below = 0.0;
    for step in ranking.steps() {
        // A value is in the bin in which the reference sample's rows below it end.
        let bin = ((below * bins as f64 / expected).floor() as usize).min(bins - 1);
        filled[bin].0 += step.negative;
        filled[bin].1 += step.positive;
        below += step.negative;
    }
    stability_of_bins(filled.iter().copied().filter(|bin| bin.0 + bin.1 > 0.0))
}
