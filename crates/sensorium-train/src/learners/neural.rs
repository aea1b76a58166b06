//! A small neural network: each modality is projected, gates that look at all of them decide how much of each passes, and a hidden
//! layer makes the prediction of their sum.
//!
//! Source of the gates: J. Arevalo et al., Gated Multimodal Units for Information Fusion (2017), here for any number of modalities, each
//! of which may be absent. With one modality there are no gates. Learnt by AdamW (Loshchilov and Hutter 2019) until rows that are held
//! back are predicted no better.

use nalgebra::{DMatrix, DVector};
use sensorium_inference::{Random, Result};

use super::{Control, Labels};
use crate::encoding::{Block, Matrix};
use crate::onnx::{Attribute, GraphBuilder};

const PROJECTED: usize = 64;
const HIDDEN: usize = 32;
const BATCH: usize = 128;
const MOST_EPOCHS: usize = 100;
/// Epochs without a gain after which no more are tried.
const PATIENCE: usize = 8;
/// Epochs where no rows are held back to say when to stop.
const EPOCHS: usize = 15;
const LEARNING_RATE: f32 = 1e-3;
const WEIGHT_DECAY: f32 = 1e-2;
/// Share of projected values that a step of learning goes without.
const DROPOUT: f32 = 0.2;
const BETA: (f32, f32) = (0.9, 0.999);
const EPSILON: f32 = 1e-8;

/// Weights and biases of `outputs = weights * inputs + biases`.
#[derive(Debug, Clone)]
struct Layer {
    weights: DMatrix<f32>,
    biases: DVector<f32>,
}

/// What a step of learning knows of a layer: the gradient, and its running means.
#[derive(Debug, Clone)]
struct Moments {
    first: Layer,
    second: Layer,
}

/// The network.
#[derive(Debug, Clone)]
pub(crate) struct Neural {
    blocks: Vec<Block>,
    /// Of each block.
    projections: Vec<Layer>,
    /// Of each block, over all projections; none with one block.
    gates: Vec<Layer>,
    hidden: Layer,
    last: Layer,
}

/// What a batch looked like on its way, one row a column.
struct Pass {
    inputs: Vec<DMatrix<f32>>,
    present: Vec<DVector<f32>>,
    projected: Vec<DMatrix<f32>>,
    kept: Vec<DMatrix<f32>>,
    joined: DMatrix<f32>,
    gates: Vec<DMatrix<f32>>,
    fused: DMatrix<f32>,
    hidden: DMatrix<f32>,
    raw: DMatrix<f32>,
}

impl Layer {
    /// Random weights whose outputs vary as their inputs do (He et al. 2015).
    fn random(inputs: usize, outputs: usize, random: &mut Random) -> Self {
        let scale = (6.0 / inputs.max(1) as f32).sqrt();
        let mut uniform = || (random.next() >> 40) as f32 / (1_u64 << 24) as f32 * 2.0 - 1.0;
        Self { weights: DMatrix::from_fn(outputs, inputs, |_, _| uniform() * scale), biases: DVector::zeros(outputs) }
    }

    fn zeros(&self) -> Self {
        Self { weights: DMatrix::zeros(self.weights.nrows(), self.weights.ncols()), biases: DVector::zeros(self.biases.len()) }
    }

    fn forward(&self, inputs: &DMatrix<f32>) -> DMatrix<f32> {
        let mut outputs = &self.weights * inputs;
        outputs.column_iter_mut().for_each(|mut column| column += &self.biases);
        outputs
    }

    /// The gradient of the layer, of a loss whose derivatives by its outputs are `deltas`.
    fn gradient(&self, inputs: &DMatrix<f32>, deltas: &DMatrix<f32>) -> Self {
        Self { weights: deltas * inputs.transpose(), biases: deltas.column_sum() }
    }

    /// The derivatives by its inputs.
    fn backward(&self, deltas: &DMatrix<f32>) -> DMatrix<f32> {
        self.weights.tr_mul(deltas)
    }

    /// Weights and biases of a Gemm.
    fn write(&self, graph: &mut GraphBuilder, input: &str) -> String {
        let rows: Vec<f32> = self.weights.transpose().as_slice().to_vec();
        let weights = graph.floats(&[self.weights.nrows(), self.weights.ncols()], &rows);
        let biases = graph.floats(&[self.biases.len()], self.biases.as_slice());
        graph.node("Gemm", &[input, &weights, &biases], vec![Attribute::integer("transB", 1)])
    }
}

/// One step of AdamW.
fn step(layer: &mut Layer, moments: &mut Moments, gradient: &Layer, number: i32) {
    let rate = LEARNING_RATE * (1.0 - BETA.1.powi(number)).sqrt() / (1.0 - BETA.0.powi(number));
    let decay = 1.0 - LEARNING_RATE * WEIGHT_DECAY;
    let update = |values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32], decay: f32| {
        for (((value, first), second), gradient) in values.iter_mut().zip(first).zip(second).zip(gradient) {
            *first = BETA.0 * *first + (1.0 - BETA.0) * gradient;
            *second = BETA.1 * *second + (1.0 - BETA.1) * gradient * gradient;
            *value = *value * decay - rate * *first / (second.sqrt() + EPSILON);
        }
    };
    let (first, second) = (&mut moments.first, &mut moments.second);
    update(layer.weights.as_mut_slice(), first.weights.as_mut_slice(), second.weights.as_mut_slice(), gradient.weights.as_slice(), decay);
    update(layer.biases.as_mut_slice(), first.biases.as_mut_slice(), second.biases.as_mut_slice(), gradient.biases.as_slice(), 1.0);
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

fn relu(mut values: DMatrix<f32>) -> DMatrix<f32> {
    values.apply(|value| *value = value.max(0.0));
    values
}

/// Derivatives where a rectified value was above 0.
fn where_positive(mut deltas: DMatrix<f32>, values: &DMatrix<f32>) -> DMatrix<f32> {
    deltas.zip_apply(values, |delta, value| {
        if value <= 0.0 {
            *delta = 0.0;
        }
    });
    deltas
}

impl Neural {
    fn new(blocks: &[Block], outputs: usize, random: &mut Random) -> Self {
        let projections = blocks.iter().map(|block| Layer::random(block.width(), PROJECTED, random)).collect();
        let all = blocks.len() * PROJECTED;
        let gates = if blocks.len() > 1 { blocks.iter().map(|_| Layer::random(all, PROJECTED, random)).collect() } else { Vec::new() };
        let hidden = Layer::random(PROJECTED, HIDDEN, random);
        let mut last = Layer::random(HIDDEN, outputs, random);
        last.weights *= 0.1;
        Self { blocks: blocks.to_vec(), projections, gates, hidden, last }
    }

    fn layers(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.projections.iter_mut().chain(&mut self.gates).chain([&mut self.hidden, &mut self.last])
    }

    /// `random` leaves values out, as while learning.
    fn pass(&self, matrix: &Matrix, rows: &[usize], mut random: Option<&mut Random>) -> Pass {
        let take = |block: &Block| DMatrix::from_fn(block.width(), rows.len(), |place, row| matrix.row(rows[row])[block.start + place]);
        let inputs: Vec<DMatrix<f32>> = self.blocks.iter().map(take).collect();
        let is_present = |block: &Block| match block.absent {
            Some(flag) => DVector::from_fn(rows.len(), |row, _| 1.0 - matrix.row(rows[row])[flag]),
            None => DVector::repeat(rows.len(), 1.0),
        };
        let present: Vec<DVector<f32>> = self.blocks.iter().map(is_present).collect();
        let projected: Vec<DMatrix<f32>> =
            self.projections.iter().zip(&inputs).map(|(layer, inputs)| relu(layer.forward(inputs))).collect();
        let keep = |projected: &DMatrix<f32>, random: &mut Option<&mut Random>| match random {
            Some(random) => {
                let bar = (DROPOUT * (1_u64 << 24) as f32) as u64;
                projected.map(|value| if random.next() >> 40 < bar { 0.0 } else { value / (1.0 - DROPOUT) })
            }
            None => projected.clone(),
        };
        let kept: Vec<DMatrix<f32>> = projected.iter().map(|projected| keep(projected, &mut random)).collect();
        let mut joined = DMatrix::zeros(kept.len() * PROJECTED, rows.len());
        for (place, (kept, present)) in kept.iter().zip(&present).enumerate() {
            let mut part = joined.rows_mut(place * PROJECTED, PROJECTED);
            part.copy_from(kept);
            part.column_iter_mut().zip(present.iter()).for_each(|(mut column, present)| column *= *present);
        }
        let gates: Vec<DMatrix<f32>> = self.gates.iter().map(|gate| gate.forward(&joined).map(sigmoid)).collect();
        let mut fused = DMatrix::zeros(PROJECTED, rows.len());
        for place in 0..kept.len() {
            let part = joined.rows(place * PROJECTED, PROJECTED);
            match gates.get(place) {
                Some(gate) => fused += part.component_mul(gate),
                None => fused += part,
            }
        }
        let hidden = relu(self.hidden.forward(&fused));
        let raw = self.last.forward(&hidden);
        Pass { inputs, present, projected, kept, joined, gates, fused, hidden, raw }
    }

    /// Gradients of all layers, in their order; `deltas` are the derivatives by the raw predictions.
    fn gradients(&self, pass: &Pass, deltas: &DMatrix<f32>) -> Vec<Layer> {
        let last = self.last.gradient(&pass.hidden, deltas);
        let deltas = where_positive(self.last.backward(deltas), &pass.hidden);
        let hidden = self.hidden.gradient(&pass.fused, &deltas);
        let fused = self.hidden.backward(&deltas);
        let mut joined = DMatrix::zeros(pass.joined.nrows(), pass.joined.ncols());
        let mut gates = Vec::new();
        for place in 0..self.blocks.len() {
            let own = pass.joined.rows(place * PROJECTED, PROJECTED);
            let mut part = fused.clone();
            if let Some(gate) = pass.gates.get(place) {
                part.component_mul_assign(gate);
                let by_gate = fused.component_mul(&own).zip_map(gate, |delta, gate| delta * gate * (1.0 - gate));
                gates.push(self.gates[place].gradient(&pass.joined, &by_gate));
                joined += self.gates[place].backward(&by_gate);
            }
            let mut target = joined.rows_mut(place * PROJECTED, PROJECTED);
            target += &part;
        }
        let projection = |place: usize| {
            let mut deltas = joined.rows(place * PROJECTED, PROJECTED).into_owned();
            deltas.column_iter_mut().zip(pass.present[place].iter()).for_each(|(mut column, present)| column *= *present);
            // Values that were left out were 0, and the others were scaled up.
            deltas.zip_zip_apply(&pass.kept[place], &pass.projected[place], |delta, kept, projected| {
                *delta *= if projected > 0.0 { kept / projected } else { 0.0 };
            });
            self.projections[place].gradient(&pass.inputs[place], &deltas)
        };
        (0..self.blocks.len()).map(projection).chain(gates).chain([hidden, last]).collect()
    }

    /// The same for numbers that were brought to mean 0 and deviation 1.
    fn unscaled(mut self, (mean, deviation): (f32, f32)) -> Self {
        self.last.weights *= deviation;
        self.last.biases = self.last.biases.map(|bias| bias * deviation + mean);
        self
    }

    pub(super) fn predict(&self, matrix: &Matrix) -> Matrix {
        let all: Vec<usize> = (0..matrix.rows).collect();
        let values = all.chunks(BATCH * 8).flat_map(|rows| self.pass(matrix, rows, None).raw.as_slice().to_vec()).collect();
        Matrix { rows: matrix.rows, width: self.last.biases.len(), values }
    }

    pub(super) fn write(&self, graph: &mut GraphBuilder, features: &str) -> String {
        let columns = |graph: &mut GraphBuilder, start: usize, end: usize| {
            let (start, end, axis) =
                (graph.integers(&[1], &[start as i64]), graph.integers(&[1], &[end as i64]), graph.integers(&[1], &[1]));
            graph.node("Slice", &[features, &start, &end, &axis], vec![])
        };
        let mut parts = Vec::new();
        for (block, layer) in self.blocks.iter().zip(&self.projections) {
            let inputs = columns(graph, block.start, block.end);
            let projected = layer.write(graph, &inputs);
            let mut projected = graph.node("Relu", &[&projected], vec![]);
            if let Some(flag) = block.absent {
                let absent = columns(graph, flag, flag + 1);
                let one = graph.floats(&[1, 1], &[1.0]);
                let present = graph.node("Sub", &[&one, &absent], vec![]);
                projected = graph.node("Mul", &[&projected, &present], vec![]);
            }
            parts.push(projected);
        }
        let joined = graph.concat(&parts);
        let gated: Vec<String> = if self.gates.is_empty() {
            parts
        } else {
            let gate = |(part, gate): (&String, &Layer)| {
                let gate = gate.write(graph, &joined);
                let gate = graph.node("Sigmoid", &[&gate], vec![]);
                graph.node("Mul", &[part, &gate], vec![])
            };
            parts.iter().zip(&self.gates).map(gate).collect()
        };
        let fused = gated.into_iter().reduce(|sum, part| graph.node("Add", &[&sum, &part], vec![])).unwrap_or_default();
        let hidden = self.hidden.write(graph, &fused);
        let hidden = graph.node("Relu", &[&hidden], vec![]);
        self.last.write(graph, &hidden)
    }
}

/// Derivatives by the raw predictions of the mean loss of a batch, and the sum of its losses.
fn deltas(raw: &DMatrix<f32>, labels: &Labels, rows: &[usize]) -> (DMatrix<f32>, f64) {
    let mut deltas = raw.clone();
    let total: f32 = rows.iter().map(|row| labels.weights[*row]).sum::<f32>().max(f32::MIN_POSITIVE);
    let mut loss = 0.0;
    for (mut column, row) in deltas.column_iter_mut().zip(rows) {
        let weight = labels.weights[*row];
        loss += f64::from(weight) * labels.residuals(column.as_mut_slice(), labels.values[*row]);
        column *= weight / total;
    }
    (deltas, loss)
}

pub(super) fn fit(
    matrix: &Matrix,
    labels: &Labels,
    judge: &[bool],
    blocks: &[Block],
    control: Control<'_>,
) -> Result<(Neural, Option<Matrix>)> {
    let (labels, unscale) = labels.standardised();
    let (held_back, train): (Vec<usize>, Vec<usize>) = (0..matrix.rows).partition(|row| judge[*row]);
    let all: Vec<usize> = (0..matrix.rows).collect();
    let (epochs, unseen) = if held_back.is_empty() || train.is_empty() {
        (EPOCHS, None)
    } else {
        // Some epochs after its best: rather worse than what it would say.
        let (neural, epochs) = learn(matrix, &labels, blocks, &train, &held_back, MOST_EPOCHS, control)?;
        (epochs, Some(neural.unscaled(unscale).predict(&matrix.pick(&held_back))))
    };
    let (neural, _) = learn(matrix, &labels, blocks, &all, &[], epochs, control)?;
    Ok((neural.unscaled(unscale), unseen))
}

/// The network after so many epochs over `rows`, or when `held_back` was predicted best; and the number of those epochs.
fn learn(
    matrix: &Matrix,
    labels: &Labels,
    blocks: &[Block],
    rows: &[usize],
    held_back: &[usize],
    epochs: usize,
    control: Control<'_>,
) -> Result<(Neural, usize)> {
    let mut random = Random::new(control.seed ^ 4);
    let mut neural = Neural::new(blocks, labels.outputs(), &mut random);
    let mut moments: Vec<Moments> = neural.layers().map(|layer| Moments { first: layer.zeros(), second: layer.zeros() }).collect();
    let mut order = rows.to_vec();
    let (mut best, mut best_epochs, mut number) = (f64::INFINITY, 1, 0);
    for epoch in 1..=epochs {
        random.shuffle(&mut order);
        for batch in order.chunks(BATCH) {
            control.check()?;
            let pass = neural.pass(matrix, batch, Some(&mut random));
            let (deltas, _) = deltas(&pass.raw, labels, batch);
            let gradients = neural.gradients(&pass, &deltas);
            number += 1;
            for ((layer, moments), gradient) in neural.layers().zip(&mut moments).zip(&gradients) {
                step(layer, moments, gradient, number);
            }
        }
        if held_back.is_empty() {
            best_epochs = epoch;
            continue;
        }
        let loss = deltas(&neural.pass(matrix, held_back, None).raw, labels, held_back).1;
        (control.progress)("mlp", Some(loss / held_back.iter().map(|row| f64::from(labels.weights[*row])).sum::<f64>()));
        if loss < best {
            (best, best_epochs) = (loss, epoch);
        } else if epoch >= best_epochs + PATIENCE {
            break;
        }
    }
    Ok((neural, best_epochs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Derivatives are those that a small change of each weight shows.
    #[test]
    fn gradients_agree_with_differences() {
        let mut random = Random::new(1);
        let blocks = [Block { start: 0, end: 3, absent: None }, Block { start: 3, end: 6, absent: Some(5) }];
        let values = (0..6 * 8)
            .map(|place| if place % 6 == 5 { (place / 6 % 2) as f32 } else { (random.next() % 100) as f32 / 50.0 - 1.0 })
            .collect();
        let matrix = Matrix { rows: 8, width: 6, values };
        let labels = Labels { values: (0..8).map(|row| (row % 3) as f32).collect(), weights: vec![1.0; 8], classes: Some(3) };
        let rows: Vec<usize> = (0..8).collect();
        let mut neural = Neural::new(&blocks, 3, &mut random);
        let loss = |neural: &Neural| deltas(&neural.pass(&matrix, &rows, None).raw, &labels, &rows).1 / 8.0;
        let pass = neural.pass(&matrix, &rows, None);
        let gradients = neural.gradients(&pass, &deltas(&pass.raw, &labels, &rows).0);
        for (place, gradient) in gradients.iter().enumerate() {
            for weight in [0, gradient.weights.len() / 2, gradient.weights.len() - 1] {
                let change = 1e-2;
                let mut shifted = |by: f32| {
                    if let Some(layer) = neural.layers().nth(place) {
                        layer.weights.as_mut_slice()[weight] += by;
                    }
                    loss(&neural)
                };
                let (above, below) = (shifted(change), shifted(-2.0 * change));
                shifted(change);
                let seen = (above - below) / (2.0 * f64::from(change));
                let own = f64::from(gradient.weights.as_slice()[weight]);
                assert!((seen - own).abs() < 2e-3, "layer {place}, weight {weight}: {seen} {own}");
            }
        }
    }
}
