//! Logistic, multinomial and ridge regression with an L2 penalty, whose strength held-back rows decide, by L-BFGS.

use std::sync::{Mutex, PoisonError};

use argmin::core::{CostFunction, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use rayon::prelude::*;
use sensorium_inference::{Cancel, Error, Kind, Result};

use super::{Control, Labels};
use crate::encoding::Matrix;
use crate::onnx::{Attribute, GraphBuilder};

/// Weights of each column, output by output, and what is added.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    width: usize,
    weights: Vec<f32>,
    biases: Vec<f32>,
}

/// Penalties on half the squared length of the weights, a row's mean loss being one: strong ones first, from which the
/// next start.
const PENALTIES: [f64; 7] = [1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001];
const MEMORY: usize = 10;
const MOST_STEPS: u64 = 200;
const GRADIENT_TOLERANCE: f64 = 1e-5;
const COST_TOLERANCE: f64 = 1e-9;
/// Looks at the loss after the least one. Where rounding hides which way is down, a line search would go on for ever.
const PATIENCE: usize = 20;
/// Rows that one core adds up at a time; the same on every machine, so that sums are.
const CHUNK: usize = 512;

struct Problem<'p> {
    matrix: &'p Matrix,
    labels: &'p Labels,
    /// Rows that count.
    rows: &'p [usize],
    total: f64,
    penalty: f64,
    cancel: &'p Cancel,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    /// At the point that was looked at last: solvers ask for loss and gradient one by one.
    last: Option<Look>,
    /// The point with the least loss.
    best: Option<(f64, Vec<f64>)>,
    /// Looks since then.
    idle: usize,
}

#[derive(Clone)]
struct Look {
    point: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
}

impl<'p> Problem<'p> {
    fn new(matrix: &'p Matrix, labels: &'p Labels, rows: &'p [usize], penalty: f64, cancel: &'p Cancel) -> Self {
        let total = rows.iter().map(|row| f64::from(labels.weights[*row])).sum::<f64>().max(f64::MIN_POSITIVE);
        Self { matrix, labels, rows, total, penalty, cancel, seen: Mutex::default() }
    }

    fn look(&self, point: &[f64]) -> Result<Look, argmin::core::Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = seen.last.as_ref().filter(|look| look.point == point) {
            return Ok(look.clone());
        }
        if self.cancel.is_cancelled() || seen.idle >= PATIENCE {
            return Err(argmin::core::Error::msg("stopped"));
        }
        let (loss, gradient) = self.look_anew(point);
        if !loss.is_finite() {
            return Err(argmin::core::Error::msg("the loss is no number"));
        }
        seen.idle += 1;
        if seen.best.as_ref().is_none_or(|(least, _)| loss < *least) {
            seen.best = Some((loss, point.to_vec()));
            seen.idle = 0;
        }
        Ok(seen.last.insert(Look { point: point.to_vec(), loss, gradient }).clone())
    }

    /// Mean loss with its penalty, and its gradient.
    fn look_anew(&self, point: &[f64]) -> (f64, Vec<f64>) {
        let (outputs, width) = (self.labels.outputs(), self.matrix.width);
        let weights: Vec<f32> = point.iter().map(|value| *value as f32).collect();
        let parts: Vec<(f64, Vec<f64>)> = self.rows.par_chunks(CHUNK).map(|rows| self.part(rows, &weights)).collect();
        let mut gradient = vec![0.0; point.len()];
        let mut loss = 0.0;
        for (own, part) in parts {
            loss += own;
            gradient.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        loss /= self.total;
        gradient.iter_mut().for_each(|value| *value /= self.total);
        for place in 0..outputs * width {
            loss += self.penalty / 2.0 * point[place].powi(2);
            gradient[place] += self.penalty * point[place];
        }
        (loss, gradient)
    }

    fn part(&self, rows: &[usize], weights: &[f32]) -> (f64, Vec<f64>) {
        let (outputs, width) = (self.labels.outputs(), self.matrix.width);
        let mut sums = vec![0.0_f32; weights.len()];
        let mut raw = vec![0.0; outputs];
        let mut loss = 0.0;
        for row in rows {
            let (values, label, weight) = (self.matrix.row(*row), self.labels.values[*row], self.labels.weights[*row]);
            for (output, raw) in raw.iter_mut().enumerate() {
                *raw = dot(values, &weights[output * width..(output + 1) * width]) + weights[outputs * width + output];
            }
            loss += f64::from(weight) * self.labels.residuals(&mut raw, label);
            for (output, residual) in raw.iter().enumerate() {
                let residual = residual * weight;
                sums[output * width..(output + 1) * width].iter_mut().zip(values).for_each(|(sum, value)| *sum += residual * value);
                sums[outputs * width + output] += residual;
            }
        }
        (loss, sums.into_iter().map(f64::from).collect())
    }
}

impl CostFunction for &Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, point: &Self::Param) -> Result<f64, argmin::core::Error> {
        Ok(self.look(point)?.loss)
    }
}

impl Gradient for &Problem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, point: &Self::Param) -> Result<Vec<f64>, argmin::core::Error> {
        Ok(self.look(point)?.gradient)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // In lanes, so that the compiler may use vector instructions.
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

pub(super) fn fit(matrix: &Matrix, labels: &Labels, judge: &[bool], control: Control<'_>) -> Result<(Linear, Option<Matrix>)> {
    // Penalties and tolerances mean something only on one scale.
    let (standard, (mean, deviation)) = labels.standardised();
    let labels = &standard;
    let (held_back, train): (Vec<usize>, Vec<usize>) = (0..matrix.rows).partition(|row| judge[*row]);
    let start = vec![0.0; labels.outputs() * (matrix.width + 1)];
    let mut best = (f64::INFINITY, PENALTIES[0], start.clone());
    let mut point = start;
    for penalty in PENALTIES.into_iter().filter(|_| !held_back.is_empty()) {
        point = minimise(matrix, labels, &train, penalty, point, control)?;
        let loss = Problem::new(matrix, labels, &held_back, 0.0, control.cancel).look_anew(&point).0;
        (control.progress)("linear", Some(loss));
        if loss < best.0 {
            best = (loss, penalty, point.clone());
        }
    }
    let all: Vec<usize> = (0..matrix.rows).collect();
    let linear = |point: &[f64]| {
        let (weights, biases) = point.split_at(labels.outputs() * matrix.width);
        let (mean, deviation) = (f64::from(mean), f64::from(deviation));
        let weights = weights.iter().map(|weight| (weight * deviation) as f32).collect();
        let biases = biases.iter().map(|bias| (bias * deviation + mean) as f32).collect();
        Linear { width: matrix.width, weights, biases }
    };
    let unseen = (!held_back.is_empty()).then(|| linear(&best.2).predict(&matrix.pick(&held_back)));
    let point = minimise(matrix, labels, &all, best.1, best.2, control)?;
    Ok((linear(&point), unseen))
}

fn minimise(matrix: &Matrix, labels: &Labels, rows: &[usize], penalty: f64, start: Vec<f64>, control: Control<'_>) -> Result<Vec<f64>> {
    control.check()?;
    let problem = Problem::new(matrix, labels, rows, penalty, control.cancel);
    let failed = |error: argmin::core::Error| Error::new(Kind::Model, format!("the linear model cannot be fitted: {error}"));
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
        .with_tolerance_grad(GRADIENT_TOLERANCE)
        .and_then(|solver| solver.with_tolerance_cost(COST_TOLERANCE))
        .map_err(failed)?;
    let done = Executor::new(&problem, solver).configure(|state| state.param(start).max_iters(MOST_STEPS)).run().map(drop);
    // A cancelled search ends in an error of its own.
    control.check()?;
    let best = problem.seen.into_inner().unwrap_or_else(PoisonError::into_inner).best;
    // A search that rounding has ended ends in an error, too: what it has found is as good as it gets.
    match (best, done) {
        (Some((_, point)), _) => Ok(point),
        (None, Err(error)) => Err(failed(error)),
        (None, Ok(())) => Err(Error::new(Kind::Model, "the linear model cannot be fitted")),
    }
}

impl Linear {
    pub(super) fn predict(&self, matrix: &Matrix) -> Matrix {
        let outputs = self.biases.len();
        let row = |row: usize| {
            let values = matrix.row(row);
            (0..outputs).map(move |output| dot(values, &self.weights[output * self.width..(output + 1) * self.width]) + self.biases[output])
        };
        Matrix { rows: matrix.rows, width: outputs, values: (0..matrix.rows).flat_map(row).collect() }
    }

    pub(super) fn write(&self, graph: &mut GraphBuilder, features: &str) -> String {
        let weights = graph.floats(&[self.biases.len(), self.width], &self.weights);
        let biases = graph.floats(&[self.biases.len()], &self.biases);
        graph.node("Gemm", &[features, &weights, &biases], vec![Attribute::integer("transB", 1)])
    }
}

impl Linear {
    /// The weights of the first `columns` columns, output by output.
    pub(crate) fn first_weights(&self, columns: usize) -> Vec<Vec<f32>> {
        self.weights.chunks_exact(self.width.max(1)).map(|weights| weights[..columns.min(weights.len())].to_vec()).collect()
    }

    /// The same predictions for columns that were divided by `scales`.
    pub(super) fn unscaled(mut self, scales: &[f32]) -> Self {
        let width = self.width.max(1);
        self.weights
            .chunks_exact_mut(width)
            .for_each(|weights| weights.iter_mut().zip(scales).for_each(|(weight, scale)| *weight /= scale));
        self
    }
}
