//! Which rows are learnt from, with how much weight, and which say when to stop.

use sensorium_inference::Random;

use super::Task;
use crate::encoding::Sample;
use crate::learners::Labels;
use crate::target::Target;

/// Which part of the weight of a row is that of its copy without some optional features.
const DROPPED_WEIGHT: f32 = 0.3;
/// One row in so many is held back to say when to stop.
const JUDGED: usize = 5;

impl Task<'_> {
    /// Rows to learn from, and a copy of each without some of its optional features, so that their absence is known.
    pub(super) fn samples(&self, rows: &[u32]) -> Vec<Sample> {
        let vectors = self.groups.iter().filter(|group| group.is_vector).flat_map(|group| group.features.iter().copied());
        let optional: Vec<usize> = vectors.filter(|feature| self.optional[*feature]).collect();
        let mut samples: Vec<Sample> = rows.iter().map(|row| Sample::whole(*row)).collect();
        if !optional.is_empty() {
            let mut random = Random::new(self.options.seed ^ 2);
            // From 1 on: at least one is left out.
            let dropped = |random: &mut Random| {
                let which = 1 + random.below((1 << optional.len().min(62)) - 1);
                optional
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| which >> place & 1 == 1)
                    .fold(0, |bits, (_, feature)| bits | 1_u64 << feature)
            };
            samples.extend(rows.iter().map(|row| Sample { row: *row, dropped: dropped(&mut random) }));
        }
        samples
    }

    /// Samples that say when to stop: all of a row, or none.
    pub(super) fn judges(&self, samples: &[Sample]) -> Vec<bool> {
        let mut random = Random::new(self.options.seed ^ 3);
        let is_judge: Vec<bool> = match (&self.dataset.groups, &self.dataset.times) {
            // The latest, as when the model is used.
            (_, Some(times)) => {
                let mut own: Vec<i64> = samples.iter().map(|sample| times[sample.row as usize]).collect();
                own.sort_unstable();
                let border = own[own.len() - 1 - own.len() / JUDGED];
                times.iter().map(|time| *time > border).collect()
            }
            (Some(groups), None) => {
                let of_group: Vec<bool> = (0..=groups.iter().copied().max().unwrap_or(0)).map(|_| random.below(JUDGED) == 0).collect();
                groups.iter().map(|group| of_group[*group as usize]).collect()
            }
            (None, None) => (0..self.dataset.rows).map(|_| random.below(JUDGED) == 0).collect(),
        };
        let judges: Vec<bool> = samples.iter().map(|sample| is_judge[sample.row as usize]).collect();
        // With one class only among either, there is nothing to be told.
        if judges.iter().all(|judge| *judge) { vec![false; judges.len()] } else { judges }
    }

    pub(super) fn labels(&self, samples: &[Sample]) -> Labels {
        let target = &self.dataset.target;
        let classes = match target {
            Target::Classes { names, .. } => Some(names.len()),
            Target::Numbers(_) => None,
        };
        let has_copies = samples.iter().any(|sample| sample.dropped != 0);
        let mut weights: Vec<f32> = samples
            .iter()
            .map(|sample| {
                let part = match (has_copies, sample.dropped) {
                    (false, _) => 1.0,
                    (true, 0) => 1.0 - DROPPED_WEIGHT,
                    (true, _) => DROPPED_WEIGHT,
                };
                part * self.dataset.weights[sample.row as usize]
            })
            .collect();
        let values: Vec<f32> = samples.iter().map(|sample| target.value(sample.row as usize) as f32).collect();
        if let (Some(classes), true) = (classes, self.options.balanced) {
            let mut totals = vec![0.0_f64; classes];
            values.iter().zip(&weights).for_each(|(value, weight)| totals[*value as usize] += f64::from(*weight));
            let all: f64 = totals.iter().sum();
            weights.iter_mut().zip(&values).for_each(|(weight, value)| {
                // A class without weight has none either way.
                *weight *= if totals[*value as usize] > 0.0 { (all / (classes as f64 * totals[*value as usize])) as f32 } else { 0.0 };
            });
        }
        Labels { values, weights, classes }
    }
}
