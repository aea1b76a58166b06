//! What is known of the rows that a model was fitted to: a file of its package, which explanations and reports read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::source::read_text;
use crate::error::{Error, Kind, Result};

/// Name of the file.
pub const TRAINING_FILE: &str = "training.json";
/// Quantiles of a column of numbers: those at even places are borders of twenty bins with equally many rows, those at odd places lie in
/// their middles.
pub const QUANTILES: usize = 41;

/// Bins by which numbers are compared with others.
const BINS: usize = 10;

/// The rows that a model was fitted to, and how well it did on rows that were held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Column of the label.
    pub label: String,
    /// Number of rows.
    pub rows: usize,
    /// How often each label was, or which numbers it had.
    pub labels: Profile,
    /// Parts that rows were held back in, in turn; none where those were used that said when to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// What was tried, best first.
    pub tried: Vec<Trial>,
    /// What was predicted for rows that were held back: the probability of the second of two classes, of the best class, or the number.
    pub scores: Profile,
    /// The columns.
    pub features: Vec<FeatureProfile>,
}

/// One way to make the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Where modalities meet.
    pub fusion: String,
    /// What makes the prediction.
    pub head: String,
    /// What was made small: `log_loss` or `rmse`.
    pub loss_name: String,
    /// Over rows that were held back in turn.
    pub loss: f64,
    /// `auc`, `accuracy` or `r2`.
    pub quality_name: String,
    /// The higher the better; none where it says nothing, as AUC of rows of one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
}

/// How the values of an input were distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureProfile {
    /// Name of the input.
    pub input: String,
    /// Share of rows without a value.
    pub missing: f64,
    /// The others.
    #[serde(flatten)]
    pub values: Profile,
}

/// A distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Profile {
    /// Of numbers.
    Numbers {
        /// [`QUANTILES`] values from the least to the largest; each is a value that some row had.
        quantiles: Vec<f32>,
        /// Different numbers in their order, by which the others are told apart: at most nine, a tenth of the rows from each other.
        borders: Vec<f32>,
        /// Share of the rows below the first border, from one to less than the next, and from the last on.
        shares: Vec<f64>,
    },
    /// Share of each text among the rows that have one, the largest first.
    Categories {
        /// Texts with their shares.
        shares: Vec<(String, f64)>,
    },
    /// The mean of vectors.
    Vectors {
        /// Number by number.
        mean: Vec<f32>,
    },
}

impl Profile {
    /// Of numbers without NaN.
    pub fn of_numbers(mut values: Vec<f32>) -> Self {
        values.sort_by(f32::total_cmp);
        let last = values.len().saturating_sub(1) as f64;
        let place = |quantile: usize| (last * quantile as f64 / (QUANTILES - 1) as f64).round() as usize;
        let quantiles: Vec<f32> = (0..QUANTILES).filter_map(|quantile| values.get(place(quantile)).copied()).collect();
        let mut borders: Vec<f32> = quantiles.iter().step_by(QUANTILES / BINS).skip(1).copied().collect();
        borders.truncate(BINS - 1);
        borders.dedup();
        borders.retain(|border| values.first().is_some_and(|least| least < border));
        let below: Vec<usize> = borders.iter().map(|border| values.partition_point(|value| value < border)).collect();
        let starts = std::iter::once(0).chain(below.iter().copied());
        let ends = below.iter().copied().chain(std::iter::once(values.len()));
        let shares = starts.zip(ends).map(|(start, end)| (end - start) as f64 / values.len().max(1) as f64).collect();
        Self::Numbers { quantiles, borders, shares }
    }
}

impl Training {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// [`Kind::Package`] where there is none, or another one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?.ok_or_else(|| Error::new(Kind::Package, format!("no such file: {}", path.display())))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::new(Kind::Package, format!("{} is no record of a training: {error}", path.display())))
    }

    /// The file's content.
    ///
    /// # Errors
    /// [`Kind::Package`] for numbers that JSON has no word for.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::new(Kind::Package, format!("the record of the training: {error}")))
    }

    /// The profile of an input.
    pub fn feature(&self, input: &str) -> Option<&FeatureProfile> {
        self.features.iter().find(|feature| feature.input == input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_in_order() {
        let Profile::Numbers { quantiles, borders, shares } = Profile::of_numbers((0..=400).rev().map(|value| value as f32).collect())
        else {
            panic!("numbers");
        };
        assert_eq!(quantiles, (0..QUANTILES).map(|place| place as f32 * 10.0).collect::<Vec<_>>());
        assert_eq!(borders, (1..BINS).map(|place| place as f32 * 40.0).collect::<Vec<_>>());
        assert!(shares.iter().all(|share| (share - 0.1).abs() < 0.01) && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn equal_numbers_are_in_one_bin() {
        let many = (0..100).map(|value| if value < 70 { 0.0 } else { (value % 3) as f32 }).collect();
        let Profile::Numbers { borders, shares, .. } = Profile::of_numbers(many) else { panic!("numbers") };
        assert_eq!(borders, [1.0]);
        assert_eq!(shares, [0.8, 0.2]);
        let nothing = Profile::Numbers { quantiles: Vec::new(), borders: Vec::new(), shares: vec![0.0] };
        assert_eq!(Profile::of_numbers(Vec::new()), nothing);
        let one = Profile::Numbers { quantiles: vec![7.0; QUANTILES], borders: Vec::new(), shares: vec![1.0] };
        assert_eq!(Profile::of_numbers(vec![7.0]), one);
    }
}
