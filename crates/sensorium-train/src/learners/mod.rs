//! What makes predictions of encoded features. Raw predictions are logits, or numbers.

mod linear;
mod trees;

use sensorium_inference::{Cancel, Error, Kind, Result};

use crate::encoding::{Matrix, Style};
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

/// Something that was fitted.
#[derive(Debug, Clone)]
pub(crate) enum Learner {
    Linear(linear::Linear),
    Trees(trees::Trees),
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
            Self::Linear => Style::Linear,
            Self::Trees => Style::Trees,
        }
    }

    /// Fits the rows marked as held back by `judge` only to know when to stop.
    pub(crate) fn fit(self, matrix: &Matrix, labels: &Labels, judge: &[bool], control: Control<'_>) -> Result<Learner> {
        Ok(match self {
            Self::Linear => Learner::Linear(linear::fit(matrix, labels, judge, control)?),
            Self::Trees => Learner::Trees(trees::fit(matrix, labels, judge, control)?),
        })
    }
}

impl Learner {
    /// Raw predictions, row by row.
    pub(crate) fn predict(&self, matrix: &Matrix) -> Result<Matrix> {
        match self {
            Self::Linear(linear) => Ok(linear.predict(matrix)),
            Self::Trees(trees) => trees.predict(matrix),
        }
    }

    /// The same in a graph: a value of shape `[rows, outputs]`.
    pub(crate) fn write(&self, graph: &mut GraphBuilder, features: &str) -> String {
        match self {
            Self::Linear(linear) => linear.write(graph, features),
            Self::Trees(trees) => trees.write(graph, features),
        }
    }
}
