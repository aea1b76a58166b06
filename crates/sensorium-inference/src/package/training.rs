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

/// The rows that a model was fitted to, and how well it did on rows that were held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Column of the label.
    pub label: String,
    /// Number of rows.
    pub rows: usize,
    /// How often each label was, or which numbers it had.
    pub labels: Profile,
    /// Parts that rows were held back in.
    pub folds: usize,
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
    /// The higher the better.
    pub quality: f64,
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
    /// [`QUANTILES`] values from the least to the largest.
    Numbers {
        /// Each is a value that some row had.
        quantiles: Vec<f32>,
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
        Self::Numbers { quantiles: (0..QUANTILES).filter_map(|quantile| values.get(place(quantile)).copied()).collect() }
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
        let Profile::Numbers { quantiles } = Profile::of_numbers((0..=400).rev().map(|value| value as f32).collect()) else {
            panic!("numbers");
        };
        assert_eq!(quantiles, (0..QUANTILES).map(|place| place as f32 * 10.0).collect::<Vec<_>>());
        assert_eq!(Profile::of_numbers(Vec::new()), Profile::Numbers { quantiles: Vec::new() });
        assert_eq!(Profile::of_numbers(vec![7.0]), Profile::Numbers { quantiles: vec![7.0; QUANTILES] });
    }
}
