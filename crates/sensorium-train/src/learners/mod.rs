//! What makes predictions of encoded features. Raw predictions are logits, or numbers.

mod linear;
mod neural;
mod trees;

use sensorium_inference::{Cancel, Error, Kind, Result};

use crate::encoding::{Block, Matrix, Style};
use crate::onnx::GraphBuilder;
use crate::options::Head;

/// Labels and weights beside the rows of a matrix.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    /// The number of the class, or the number to be predicted.
    pub(crate) values: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    /// None for a regression.
    pub(crate) classes: Option<usize>,
}

impl Labels {
    /// How many raw predictions a row has.
    pub(crate) fn outputs(&self) -> usize {
        match self.classes {
            None | Some(2) => 1,
            Some(classes) => classes,
        }
    }
}

impl Labels {
    /// The loss of raw predictions, which become its derivatives.
    pub(crate) fn residuals(&self, raw: &mut [f32], label: f32) -> f64 {
        match (self.classes, raw) {
            (None, [value]) => {
                *value -= label;
                f64::from(*value).powi(2) / 2.0
            }
            (_, [logit]) => {
                let loss = crate::score::log_loss(&[*logit], label as u32);
                *logit = 1.0 / (1.0 + (-*logit).exp()) - label;
                loss
            }
            (_, logits) => {
                let loss = crate::score::log_loss(logits, label as u32);
                let top = logits.iter().copied().fold(f32::MIN, f32::max);
                logits.iter_mut().for_each(|logit| *logit = (*logit - top).exp());
                let sum: f32 = logits.iter().sum();
                logits.iter_mut().for_each(|logit| *logit /= sum);
                logits[label as usize] -= 1.0;
                loss
            }
        }
    }

    /// Numbers with mean 0 and variance 1, and the mean and the deviation that they had; classes as they are.
    fn standardised(&self) -> (Self, (f32, f32)) {
        if self.classes.is_some() {
            return (self.clone(), (0.0, 1.0));
        }
        let total: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum::<f64>().max(f64::MIN_POSITIVE);
        let weighted = |value: &dyn Fn(f64) -> f64| {
            self.values.iter().zip(&self.weights).map(|(own, weight)| value(f64::from(*own)) * f64::from(*weight)).sum::<f64>() / total
        };
        let mean = weighted(&|value| value);
        let deviation = weighted(&|value| (value - mean).powi(2)).sqrt().max(f64::MIN_POSITIVE);
        let values = self.values.iter().map(|value| ((f64::from(*value) - mean) / deviation) as f32).collect();
        (Self { values, ..self.clone() }, (mean as f32, deviation as f32))
    }
}

/// Something that was fitted.
#[derive(Debug, Clone)]
pub(crate) enum Learner {
    Linear(linear::Linear),
    Trees(Box<trees::Trees>),
    Mlp(neural::Neural),
}

/// A learner that has learnt from all rows.
#[derive(Debug, Clone)]
pub(crate) struct Fit {
    pub(crate) learner: Learner,
    /// What another one, which had not learnt from the rows that say when to stop, predicted for these; none where there were no such rows.
    pub(crate) unseen: Option<Matrix>,
}

/// What a fit looks at while it goes on.
#[derive(Clone, Copy)]
pub(crate) struct Control<'c> {
    pub(crate) cancel: &'c Cancel,
    pub(crate) seed: u64,
    /// Told of each round and of its loss, where it is known.
    pub(crate) progress: &'c (dyn Fn(&str, Option<f64>) + Sync),
}

impl Control<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::new(Kind::Cancelled, "the training was cancelled")) } else { Ok(()) }
    }
}

impl Head {
    pub(crate) fn style(self) -> Style {
        match self {
            Self::Linear | Self::Mlp => Style::Linear,
            Self::Trees => Style::Trees,
        }
    }

    /// Fits the rows; those marked by `judge` are held back at first, to know when to stop. `blocks` are the columns of each modality.
    pub(crate) fn fit(self, matrix: &Matrix, labels: &Labels, judge: &[bool], blocks: &[Block], control: Control<'_>) -> Result<Fit> {
        let (learner, unseen) = match self {
            Self::Linear => linear::fit(matrix, labels, judge, control).map(|(linear, unseen)| (Learner::Linear(linear), unseen)),
            Self::Mlp => neural::fit(matrix, labels, judge, blocks, control).map(|(neural, unseen)| (Learner::Mlp(neural), unseen)),
            Self::Trees => trees::fit(matrix, labels, judge, control).map(|(trees, unseen)| (Learner::Trees(Box::new(trees)), unseen)),
        }?;
        Ok(Fit { learner, unseen })
    }
}

impl Head {
    /// The same over columns that are predictions, on whatever scale those are.
    pub(crate) fn fit_stacked(
        self,
        matrix: &Matrix,
        labels: &Labels,
        judge: &[bool],
        blocks: &[Block],
        control: Control<'_>,
    ) -> Result<Fit> {
        if self != Self::Linear {
            return self.fit(matrix, labels, judge, blocks, control);
        }
        let rows = matrix.rows.max(1) as f64;
        let mean = |column: usize| (0..matrix.rows).map(|row| f64::from(matrix.row(row)[column])).sum::<f64>() / rows;
        let scale = |column: usize| {
            let mean = mean(column);
            let variance = (0..matrix.rows).map(|row| (f64::from(matrix.row(row)[column]) - mean).powi(2)).sum::<f64>() / rows;
            if variance > 0.0 { variance.sqrt() as f32 } else { 1.0 }
        };
        let scales: Vec<f32> = (0..matrix.width).map(scale).collect();
        let mut scaled = matrix.clone();
        scaled
            .values
            .chunks_exact_mut(matrix.width.max(1))
            .for_each(|row| row.iter_mut().zip(&scales).for_each(|(value, scale)| *value /= scale));
        let (linear, unseen) = linear::fit(&scaled, labels, judge, control)?;
        Ok(Fit { learner: Learner::Linear(linear.unscaled(&scales)), unseen })
    }
}

impl Matrix {
    /// Some of the rows.
    fn pick(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|row| self.row(*row).iter().copied()).collect();
        Self { rows: rows.len(), width: self.width, values }
    }
}

impl Learner {
    /// Raw predictions, row by row.
    pub(crate) fn predict(&self, matrix: &Matrix) -> Result<Matrix> {
        match self {
            Self::Linear(linear) => Ok(linear.predict(matrix)),
            Self::Trees(trees) => trees.predict(matrix),
            Self::Mlp(neural) => Ok(neural.predict(matrix)),
        }
    }

    /// The same in a graph: a value of shape `[rows, outputs]`.
    pub(crate) fn write(&self, graph: &mut GraphBuilder, features: &str) -> String {
        match self {
            Self::Linear(linear) => linear.write(graph, features),
            Self::Trees(trees) => trees.write(graph, features),
            Self::Mlp(neural) => neural.write(graph, features),
        }
    }
}
