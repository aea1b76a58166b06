//! Gradient-boosted trees, which grow until rows that they have not learnt from are predicted no better.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use hessboost::config::GrowPolicy;
use hessboost::error::HessboostError;
use hessboost::model::BoostedModel;
use hessboost::objective::Multiclass;
use hessboost::prelude::{DMatrix, EvalMetric, Iterations, Objective, RegLoss, Trainer, TrainingParams, TreeMethod};
use hessboost::tree::Node;
use sensorium_inference::{Error, Kind, Result};

use super::{Control, Labels};
use crate::encoding::Matrix;
use crate::onnx::{Attribute, GraphBuilder};

/// Trees whose leaves are added up.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    model: BoostedModel,
}

/// How trees grow.
const LEARNING_RATE: f64 = 0.05;
const MOST_LEAVES: usize = 15;
const MOST_ROUNDS: usize = 1_000;
/// Rounds without a gain after which no more are tried.
const PATIENCE: NonZeroUsize = NonZeroUsize::new(30).unwrap();
/// Rounds where no rows are held back to say when to stop.
const ROUNDS: usize = 100;
/// Weight, as the sum of second derivatives, that a leaf has at least.
const LEAST_HESSIAN: f64 = 3.0;
const COLUMNS_A_TREE: f64 = 0.7;
const ROWS_A_TREE: f64 = 0.8;
const BINS: usize = 255;

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failed(error: HessboostError) -> Error {
    Error::new(Kind::Model, format!("the trees cannot be fitted: {error}"))
}

fn data(matrix: &Matrix, labels: &Labels, rows: &[usize]) -> Result<DMatrix> {
    let pick = |values: &[f32]| -> Vec<f32> { rows.iter().map(|row| values[*row]).collect() };
    let values: Vec<f32> = rows.iter().flat_map(|row| matrix.row(*row).iter().copied()).collect();
    let data = DMatrix::from_dense_vec(values, rows.len(), matrix.width).map_err(failed)?;
    data.with_labels(&pick(&labels.values)).and_then(|data| data.with_weights(&pick(&labels.weights))).map_err(failed)
}

fn parameters(labels: &Labels, seed: u64) -> Result<TrainingParams> {
    let (objective, metric) = match labels.classes {
        None => (Objective::SquaredError(RegLoss::default()), EvalMetric::Rmse),
        Some(2) => (Objective::BinaryLogistic(RegLoss::default()), EvalMetric::LogLoss),
        Some(classes) => (Objective::Softprob(Multiclass::new(classes).map_err(failed)?), EvalMetric::MLogLoss),
    };
    TrainingParams::builder()
        .objective(objective)
        .eval_metric(metric)
        .tree_method(TreeMethod::Hist)
        .grow_policy(GrowPolicy::LossGuide)
        .unlimited_depth()
        .max_leaves(MOST_LEAVES)
        .eta(LEARNING_RATE)
        .min_child_weight(if labels.classes.is_some() { LEAST_HESSIAN } else { LEAST_HESSIAN * 4.0 })
        .subsample(ROWS_A_TREE)
        .colsample_bytree(COLUMNS_A_TREE)
        .max_bin(BINS)
        .seed(seed)
        .build()
        .map_err(failed)
}

pub(super) fn fit(matrix: &Matrix, labels: &Labels, judge: &[bool], control: Control<'_>) -> Result<(Trees, Option<Matrix>)> {
    control.check()?;
    if matrix.width == 0 {
        return Err(Error::new(Kind::Argument, "nothing to learn from: no category has enough rows").with_hint("at least 10 rows of one"));
    }
    let parameters = parameters(labels, control.seed)?;
    let (held_back, train): (Vec<usize>, Vec<usize>) = (0..matrix.rows).partition(|row| judge[*row]);
    let (rounds, unseen) = if held_back.is_empty() || train.is_empty() {
        (ROUNDS, None)
    } else {
        let (train, judged) = (data(matrix, labels, &train)?, data(matrix, labels, &held_back)?);
        let trainer = Trainer::new(&parameters, &train, MOST_ROUNDS).eval(&judged, "held back").early_stopping_rounds(PATIENCE);
        let done = trainer
            .on_round(|round| {
                (control.progress)("trees", round.values().last().copied());
                go_on(control)
            })
            .train()
            .map_err(failed)?;
        let rounds = done.model.best_iteration().map_or(ROUNDS, |best| best + 1);
        (rounds, Some(Trees { model: done.model }.predict(&matrix.pick(&held_back))?))
    };
    control.check()?;
    let all: Vec<usize> = (0..matrix.rows).collect();
    let all = data(matrix, labels, &all)?;
    let done = Trainer::new(&parameters, &all, rounds).on_round(|_| go_on(control)).train().map_err(failed)?;
    control.check()?;
    Ok((Trees { model: done.model }, unseen))
}

fn go_on(control: Control<'_>) -> ControlFlow<()> {
    if control.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Columns of a tree ensemble, node by node.
#[derive(Default)]
struct Ensemble {
    tree_ids: Vec<i64>,
    node_ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    thresholds: Vec<f32>,
    lower: Vec<i64>,
    other: Vec<i64>,
    missing_is_lower: Vec<i64>,
    covers: Vec<f32>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_outputs: Vec<i64>,
    leaf_values: Vec<f32>,
}

impl Ensemble {
    fn add(&mut self, tree: i64, id: usize, node: &Node, output: usize) {
        self.tree_ids.push(tree);
        self.node_ids.push(id as i64);
        self.features.push(i64::from(node.split_feature));
        self.modes.push(if node.is_leaf() { "LEAF" } else { "BRANCH_LT" });
        self.thresholds.push(node.split_cond);
        self.lower.push(i64::from(node.left.max(0)));
        self.other.push(i64::from(node.right.max(0)));
        self.missing_is_lower.push(i64::from(node.default_left));
        self.covers.push(node.sum_hess);
        if node.is_leaf() {
            self.leaf_trees.push(tree);
            self.leaf_nodes.push(id as i64);
            self.leaf_outputs.push(output as i64);
            self.leaf_values.push(node.leaf_value);
        }
    }
}

impl Trees {
    pub(super) fn predict(&self, matrix: &Matrix) -> Result<Matrix> {
        let margins = self.model.predict_margin_rows(&matrix.values, Iterations::Best).map_err(failed)?;
        Ok(Matrix { rows: matrix.rows, width: self.model.n_outputs(), values: margins.into_vec() })
    }

    /// `TreeEnsembleRegressor` of ai.onnx.ml 3. How many rows went through a node is written as its hit rate, which the
    /// operator does not read and Shapley values need.
    pub(super) fn write(&self, graph: &mut GraphBuilder, features: &str) -> String {
        let mut all = Ensemble::default();
        for (tree, (nodes, outputs)) in self.model.trees().iter().zip(self.model.tree_outputs()).enumerate() {
            nodes.nodes().iter().enumerate().for_each(|(id, node)| all.add(tree as i64, id, node, outputs.start));
        }
        let attributes = vec![
            Attribute::integer("n_targets", self.model.n_outputs() as i64),
            Attribute::floats("base_values", self.model.base_scores().to_vec()),
            Attribute::text("post_transform", "NONE"),
            Attribute::text("aggregate_function", "SUM"),
            Attribute::integers("nodes_treeids", all.tree_ids),
            Attribute::integers("nodes_nodeids", all.node_ids),
            Attribute::integers("nodes_featureids", all.features),
            Attribute::texts("nodes_modes", all.modes),
            Attribute::floats("nodes_values", all.thresholds),
            Attribute::integers("nodes_truenodeids", all.lower),
            Attribute::integers("nodes_falsenodeids", all.other),
            Attribute::integers("nodes_missing_value_tracks_true", all.missing_is_lower),
            Attribute::floats("nodes_hitrates", all.covers),
            Attribute::integers("target_treeids", all.leaf_trees),
            Attribute::integers("target_nodeids", all.leaf_nodes),
            Attribute::integers("target_ids", all.leaf_outputs),
            Attribute::floats("target_weights", all.leaf_values),
        ];
        graph.node("TreeEnsembleRegressor", &[features], attributes)
    }
}
