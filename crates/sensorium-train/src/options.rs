//! What `OPTIONS` say about a training.

use std::collections::BTreeMap;
use std::str::FromStr;

use sensorium_inference::{Error, Kind, Result};

/// Where the modalities meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fusion {
    /// Features side by side, one head over all.
    Early,
    /// One head for each modality; their predictions are weighed by another one.
    Late,
    /// Predictions of each modality and the tabular features side by side, one head over all; with a network, gated projections of each
    /// modality that meet in its hidden layer.
    Hybrid,
}

/// What makes a prediction of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Logistic, multinomial or ridge regression.
    Linear,
    /// Gradient-boosted trees.
    Trees,
    /// A small neural network.
    Mlp,
}

impl Fusion {
    const NAMES: [(&'static str, Self); 3] = [("early", Self::Early), ("late", Self::Late), ("hybrid", Self::Hybrid)];

    /// The word in OPTIONS.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, fusion)| *fusion == self).map_or("", |(name, _)| name)
    }
}

impl Head {
    const NAMES: [(&'static str, Self); 3] = [("linear", Self::Linear), ("trees", Self::Trees), ("mlp", Self::Mlp)];

    /// The word in OPTIONS.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, head)| *head == self).map_or("", |(name, _)| name)
    }
}

fn parse<T: Copy>(what: &str, text: &str, names: &[(&'static str, T)]) -> Result<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let all = names.iter().map(|(name, _)| *name).chain(["auto"]);
        Error::new(Kind::Setting, format!("{what}: unknown: '{text}'")).with_nearest(text, all, "known")
    })
}

impl FromStr for Fusion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse("fusion", text, &Self::NAMES)
    }
}

impl FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse("head", text, &Self::NAMES)
    }
}

/// How a model is fitted. `None` lets the rows decide, by cross-validation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainOptions {
    /// Where modalities meet.
    pub fusion: Option<Fusion>,
    /// What makes the prediction.
    pub head: Option<Head>,
    /// Features that may be absent when the model is asked.
    pub optional: Vec<String>,
    /// The class that people want reasons for.
    pub adverse: Option<String>,
    /// What is said of a feature that is among the reasons.
    pub reasons: BTreeMap<String, String>,
    /// Whether each class counts as much as any other, however few rows it has.
    pub balanced: bool,
    /// Parts that rows are cut into for cross-validation; where nothing is said, five, or none for many rows and one way to fit them.
    pub folds: Option<usize>,
    /// Start of all random numbers.
    pub seed: u64,
}
