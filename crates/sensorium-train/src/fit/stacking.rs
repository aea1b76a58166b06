//! Heads over the predictions of other heads, which have not learnt from the rows that they predict.

use sensorium_inference::{Random, Result};

use super::{Base, LEAST_ROWS, Task};
use crate::dataset::Values;
use crate::encoding::{Matrix, Sample};
use crate::options::Head;

/// Parts for predictions of rows by models that have not learnt from them.
const INNER_FOLDS: usize = 3;

impl Task<'_> {
    /// The model of a group, and what models of it that have not learnt from a row say of that row.
    pub(super) fn unseen_predictions(&self, group: usize, head: Head, rows: &[u32], samples: &[Sample]) -> Result<(Base, Matrix)> {
        let features = &self.groups[group].features;
        let outputs = self.dataset.target.outputs();
        let part_of = self.inner_parts(rows);
        let mut predictions = vec![0.0; samples.len() * outputs];
        for part in 0..INNER_FOLDS as u8 {
            let is_own = |sample: &Sample| part_of[sample.row as usize] == part;
            let learn: Vec<Sample> = self.present(group, samples.iter().copied().filter(|sample| !is_own(sample)));
            let places: Vec<usize> = (0..samples.len()).filter(|place| is_own(&samples[*place])).collect();
            if learn.len() < LEAST_ROWS || places.is_empty() {
                continue;
            }
            let (base, _) = self.base(features, head, &learn, false)?;
            let own: Vec<Sample> = places.iter().map(|place| samples[*place]).collect();
            let found = base.learner.predict(&base.encoding.matrix(self.dataset, &own))?;
            for (found_place, place) in places.iter().enumerate() {
                predictions[place * outputs..(place + 1) * outputs].copy_from_slice(found.row(found_place));
            }
        }
        let (base, _) = self.base(features, head, &self.present(group, samples.iter().copied()), false)?;
        let matrix = self.masked(group, samples, Matrix { rows: samples.len(), width: outputs, values: predictions });
        Ok((base, matrix))
    }

    /// The part of each row in turn held back: by group, from earlier to later, or at random.
    fn inner_parts(&self, rows: &[u32]) -> Vec<u8> {
        let mut part_of = vec![0_u8; self.dataset.rows];
        let mut order: Vec<u32> = rows.to_vec();
        order.sort_unstable();
        match (&self.dataset.groups, &self.dataset.times) {
            (Some(groups), _) => rows.iter().for_each(|row| part_of[*row as usize] = (groups[*row as usize] as usize % INNER_FOLDS) as u8),
            (None, Some(times)) => {
                let time = |row: &u32| times[*row as usize];
                order.sort_by_key(time);
                let borders: Vec<i64> = (1..INNER_FOLDS).map(|part| time(&order[part * order.len() / INNER_FOLDS])).collect();
                let part = |row: &u32| borders.partition_point(|border| *border <= time(row)) as u8;
                rows.iter().for_each(|row| part_of[*row as usize] = part(row));
            }
            (None, None) => {
                Random::new(self.options.seed ^ 1).shuffle(&mut order);
                order.iter().enumerate().for_each(|(place, row)| part_of[*row as usize] = (place % INNER_FOLDS) as u8);
            }
        }
        part_of
    }

    /// Whether a sample has the modality of a group.
    fn is_present(&self, group: usize, sample: Sample) -> bool {
        let group = &self.groups[group];
        !group.is_vector
            || group.features.iter().all(|feature| match &self.dataset.features[*feature].values {
                Values::Vectors { present, .. } => present[sample.row as usize] && sample.has(*feature),
                _ => true,
            })
    }

    fn present(&self, group: usize, samples: impl Iterator<Item = Sample>) -> Vec<Sample> {
        samples.filter(|sample| self.is_present(group, *sample)).collect()
    }

    /// Predictions of a group, 0 where it is absent, and beside them whether it is, where that can be.
    pub(super) fn masked(&self, group: usize, samples: &[Sample], predictions: Matrix) -> Matrix {
        if !self.can_be_absent(group) {
            return predictions;
        }
        let mut values = Vec::with_capacity(samples.len() * (predictions.width + 1));
        for (place, sample) in samples.iter().enumerate() {
            let is_there = self.is_present(group, *sample);
            values.extend(predictions.row(place).iter().map(|value| if is_there { *value } else { 0.0 }));
            values.push(f32::from(u8::from(!is_there)));
        }
        Matrix { rows: samples.len(), width: predictions.width + 1, values }
    }

    pub(super) fn can_be_absent(&self, group: usize) -> bool {
        self.groups[group].is_vector && self.groups[group].features.iter().any(|feature| self.optional[*feature])
    }
}
