//! Explains the rows of a batch.

use std::ops::Range;
use std::path::Path;

use super::super::cancel::Cancel;
use super::super::loaded::LoadedModel;
use super::super::stats::Stats;
use super::super::tensor::{Data, HostTensor};
use super::coalitions::{shapley, weight};
use super::sampled::{draw_numbers, draw_texts, each_step, orders, values, walked_rows};
use super::tree_shap::{Paths, tree_shap};
use super::variants::{Choice, HeadFeed, StandIn, Variants};
use super::{BASE, CLASS, ERROR, FIRST_INPUT, SCORE, explained_class, width};
use crate::error::{Error, Kind, Result};
use crate::onnx::{Ensemble, Node, NodeKind};
use crate::package::{
    ClassNames, EXPLAIN_STAGE, Explanation, FeatureProfile, Input, Manifest, Missing, Modality, OutputRef, Prediction, Profile, Stage,
    Training,
};

/// What is needed of a model to explain its rows.
#[derive(Debug)]
pub(in crate::execute) struct Explainer {
    feeds: Vec<HeadFeed>,
    stand_ins: Vec<StandIn>,
    /// Numbers and categories.
    tabular: Vec<usize>,
    /// The other inputs, each a modality.
    others: Vec<usize>,
    /// Which of the numbers and categories an input is, and which of the others.
    places: Vec<InputPlace>,
    trees: Option<Trees>,
    orders: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputPlace {
    Tabular(usize),
    Other(usize),
}

/// Values of rows that are put together before the head sees them: a few MiB.
const CHUNK_VALUES: usize = 1 << 20;

/// The ensemble and the columns that it looks at.
#[derive(Debug)]
struct Trees {
    ensemble: Ensemble,
    /// The input of each column.
    input_of: Vec<usize>,
    /// Whether it is a number or a category.
    is_player: Vec<bool>,
}

/// Where a batch runs.
pub(in crate::execute) struct Place<'a> {
    pub(in crate::execute) model: &'a LoadedModel,
    pub(in crate::execute) cancel: &'a Cancel,
    pub(in crate::execute) stats: &'a Stats,
}

/// What a row is worth with each set of the other modalities, and how numbers and categories share what they add.
#[derive(Debug, Clone)]
struct Game {
    class: usize,
    with: Vec<f64>,
    without: Vec<f64>,
    features: Vec<f64>,
    error: f64,
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Model, message.to_string())
}

/// Rows that the head sees for one row of a call.
pub fn explanation_rows(manifest: &Manifest) -> usize {
    let tabular = manifest.inputs.iter().filter(|input| input.is_tabular()).count();
    let sets = 1_usize << (manifest.inputs.len() - tabular).min(usize::BITS as usize / 2);
    match &manifest.explanation {
        Some(Explanation { trees: Some(_), .. }) => sets,
        _ => sets * (walked_rows(tabular) + 1),
    }
}

/// What a row of an explanation takes beside a prediction, in words.
pub fn explanation_plan(manifest: &Manifest) -> String {
    let rows = explanation_rows(manifest);
    match &manifest.explanation {
        Some(Explanation { trees: Some(_), .. }) => format!("{rows} rows of the head, trees exactly"),
        _ => format!("{rows} rows of the head"),
    }
}

fn head(manifest: &Manifest) -> Result<(usize, &Stage)> {
    let last = manifest.stages.len().checked_sub(1).ok_or_else(|| wrong("the model has no graph"))?;
    Ok((last, &manifest.stages[last]))
}

fn classes(manifest: &Manifest) -> Option<&ClassNames> {
    match &manifest.prediction {
        Prediction::Classification { classes, .. } => Some(classes),
        _ => None,
    }
}

fn scores_of(prediction: &Prediction) -> Result<&OutputRef> {
    match prediction {
        Prediction::Classification { scores, .. } => Ok(scores),
        Prediction::Regression { value } => Ok(value),
        _ => Err(wrong("there is no score to explain")),
    }
}

impl Explainer {
    /// Reads what it needs of a model whose files lie in `folder`.
    pub(in crate::execute) fn open(manifest: &Manifest, folder: &Path) -> Result<Self> {
        let explanation = manifest.explained()?;
        let training = Training::read(&folder.join(&explanation.training))?;
        let (_, head) = head(manifest)?;
        let feeds = head.feeds.iter().map(|feed| HeadFeed::new(manifest, feed)).collect::<Result<_>>()?;
        let (tabular, others): (Vec<usize>, Vec<usize>) =
            (0..manifest.inputs.len()).partition(|place| manifest.inputs[*place].is_tabular());
        let stand_in = |(place, input): (usize, &Input)| {
            let profile =
                training.feature(&input.name).ok_or_else(|| wrong(format!("nothing is known of the values of '{}'", input.name)))?;
            Ok(stand_in(place, input, profile))
        };
        let stand_ins = manifest.inputs.iter().enumerate().map(stand_in).collect::<Result<_>>()?;
        let trees = match &explanation.trees {
            None => None,
            Some(described) => {
                let bytes = std::fs::read(folder.join(&head.graph)).map_err(|error| wrong(format!("{}: {error}", head.graph)))?;
                let ensemble = Ensemble::read(&bytes)?;
                let mut input_of = Vec::new();
                for columns in &described.columns {
                    let place = manifest.inputs.iter().position(|input| input.name == columns.input);
                    let place = place.ok_or_else(|| wrong(format!("no input '{}'", columns.input)))?;
                    input_of.extend(std::iter::repeat_n(place, columns.count));
                }
                let is_player = input_of.iter().map(|place| manifest.inputs[*place].is_tabular()).collect();
                Some(Trees { ensemble, input_of, is_player })
            }
        };
        let orders = orders(tabular.len());
        let place = |input: usize| match tabular.binary_search(&input) {
            Ok(place) => InputPlace::Tabular(place),
            Err(_) => InputPlace::Other(others.partition_point(|other| *other < input)),
        };
        let places = (0..manifest.inputs.len()).map(place).collect();
        Ok(Self { feeds, stand_ins, tabular, others, places, trees, orders })
    }

    /// Explains rows whose graph inputs, in the order of the head's feeds, are `own`.
    pub(in crate::execute) fn explain(&self, place: &Place<'_>, own: &[HostTensor], rows: usize) -> Result<HostTensor> {
        let manifest = &*place.model.manifest;
        let explanation = manifest.explained()?;
        let (scores, outputs) = self.run(place, own, 0..rows, self.sets() - 1)?;
        let classes: Vec<(usize, bool)> =
            scores.chunks_exact(outputs).map(|scores| explained_class(&manifest.prediction, explanation, scores)).collect();
        let games = match &self.trees {
            Some(trees) => self.by_trees(place, trees, own, &classes, explanation)?,
            None => (0..rows).map(|row| self.by_samples(place, own, row, classes[row])).collect::<Result<_>>()?,
        };
        let width = width(manifest);
        let mut values = vec![0.0; rows * width];
        for (game, to) in games.iter().zip(values.chunks_exact_mut(width)) {
            self.settle(game, to)?;
        }
        Ok(HostTensor { shape: vec![rows, width], data: Data::Float64(values) })
    }

    /// Sets of the modalities that are not tabular.
    fn sets(&self) -> usize {
        1 << self.others.len()
    }

    /// What an input is given in a set of modalities, numbers and categories being themselves.
    fn choice(&self, input: usize, set: usize) -> Choice {
        match self.places[input] {
            InputPlace::Other(place) if set >> place & 1 == 0 => Choice::Absent,
            _ => Choice::Own,
        }
    }

    /// The head's scores of `rows` with the modalities of `set`.
    fn run(&self, place: &Place<'_>, own: &[HostTensor], rows: Range<usize>, set: usize) -> Result<(Vec<f32>, usize)> {
        let (mut all, mut outputs) = (Vec::new(), 1);
        let chunk = self.chunk_rows(own);
        for start in rows.clone().step_by(chunk) {
            let mut variants = Variants::new(&self.feeds, &self.stand_ins, own);
            (start..rows.end.min(start + chunk)).for_each(|row| variants.push(row, &|input| self.choice(input, set)));
            let (scores, width) = self.scores(place, &variants)?;
            all.extend(scores);
            outputs = width;
        }
        Ok((all, outputs))
    }

    /// Rows that are put together at once.
    fn chunk_rows(&self, own: &[HostTensor]) -> usize {
        (CHUNK_VALUES / own.iter().map(HostTensor::width).sum::<usize>().max(1)).max(1)
    }

    fn scores(&self, place: &Place<'_>, variants: &Variants<'_>) -> Result<(Vec<f32>, usize)> {
        let manifest = &*place.model.manifest;
        let (index, stage) = head(manifest)?;
        let wanted = scores_of(&manifest.prediction)?;
        let found = output(place, index, stage, &wanted.output, variants)?;
        let width = wanted.first.unwrap_or(found.width()).max(1);
        let found = found.first(width)?;
        let values = found.into_f32(manifest.port(wanted)?)?;
        Ok((values, width))
    }

    /// Plays with each set of the other modalities; numbers and categories by walks from drawn rows.
    fn by_samples(&self, place: &Place<'_>, own: &[HostTensor], row: usize, (class, is_other): (usize, bool)) -> Result<Game> {
        let columns = self.tabular.len();
        let mut game = Game { class, with: Vec::new(), without: Vec::new(), features: vec![0.0; columns], error: 0.0 };
        for set in 0..self.sets() {
            let (scores, _) = self.run(place, own, row..row + 1, set)?;
            let whole = worth(&scores, class, is_other);
            game.with.push(whole);
            if columns == 0 {
                continue;
            }
            let worths = self.walk(place, own, row, set, &|scores| worth(scores, class, is_other))?;
            let sampled = values(&self.orders, &worths, whole);
            let weight = weight(set.count_ones() as usize, self.others.len() + 1);
            game.without.push(sampled.start);
            game.features.iter_mut().zip(&sampled.values).for_each(|(all, own)| *all += weight * own);
            game.error += weight * sampled.error;
        }
        Ok(game)
    }

    /// What the rows of all walks to `row` are worth.
    fn walk(&self, place: &Place<'_>, own: &[HostTensor], row: usize, set: usize, worth: &dyn Fn(&[f32]) -> f64) -> Result<Vec<f64>> {
        let chunk = self.chunk_rows(own);
        let mut worths = Vec::with_capacity(walked_rows(self.tabular.len()));
        let mut variants = Variants::new(&self.feeds, &self.stand_ins, own);
        let mut flush = |variants: &mut Variants<'_>| -> Result<()> {
            place.cancel.check()?;
            let (scores, outputs) = self.scores(place, variants)?;
            worths.extend(scores.chunks_exact(outputs).map(worth));
            variants.clear();
            Ok(())
        };
        each_step(&self.orders, &mut |draw, is_own| {
            variants.push(row, &|input| match self.places[input] {
                InputPlace::Tabular(column) if !is_own[column] => Choice::Drawn(draw),
                InputPlace::Tabular(_) => Choice::Own,
                InputPlace::Other(_) => self.choice(input, set),
            });
            if variants.rows == chunk { flush(&mut variants) } else { Ok(()) }
        })?;
        if variants.rows > 0 {
            flush(&mut variants)?;
        }
        Ok(worths)
    }

    /// The same for all rows, with trees played out exactly.
    fn by_trees(
        &self,
        place: &Place<'_>,
        trees: &Trees,
        own: &[HostTensor],
        classes: &[(usize, bool)],
        explanation: &Explanation,
    ) -> Result<Vec<Game>> {
        let rows = classes.len();
        let manifest = &*place.model.manifest;
        let weights = explanation.trees.as_ref().map(|trees| trees.weights.as_slice()).unwrap_or_default();
        let features = vec![0.0; self.tabular.len()];
        let empty = |(class, _): &(usize, bool)| Game {
            class: *class,
            with: Vec::new(),
            without: Vec::new(),
            features: features.clone(),
            error: 0.0,
        };
        let mut games: Vec<Game> = classes.iter().map(empty).collect();
        let index =
            manifest.stages.iter().position(|stage| stage.name == EXPLAIN_STAGE).ok_or_else(|| wrong("no graph for the columns"))?;
        let stage = &manifest.stages[index];
        let mut paths = Paths::default();
        for set in 0..self.sets() {
            let mut variants = Variants::new(&self.feeds, &self.stand_ins, own);
            (0..rows).for_each(|row| variants.push(row, &|input| self.choice(input, set)));
            let (scores, outputs) = self.scores(place, &variants)?;
            let port = stage.outputs.first().ok_or_else(|| wrong("a graph without an output"))?;
            let columns = output(place, index, stage, &port.name, &variants)?.into_f32(port)?;
            let weight = weight(set.count_ones() as usize, self.others.len() + 1);
            for (row, game) in games.iter_mut().enumerate() {
                place.cancel.check()?;
                let (class, is_other) = classes[row];
                let own = &columns[row * trees.input_of.len()..(row + 1) * trees.input_of.len()];
                let score = if outputs == 1 { 0 } else { class };
                let leaf = |output: usize, value: f64| {
                    let part = match weights.get(score) {
                        Some(weights) => f64::from(weights[output]),
                        None => f64::from(u8::from(output == score)),
                    };
                    if is_other { -part * value } else { part * value }
                };
                let (found, known, expected) = trees.values(own, &leaf, &mut paths);
                let with = worth(&scores[row * outputs..(row + 1) * outputs], class, is_other);
                game.with.push(with);
                game.without.push(with - known + expected);
                for (column, value) in found.iter().enumerate() {
                    if let Some(feature) = self.tabular.iter().position(|input| *input == trees.input_of[column]) {
                        game.features[feature] += weight * value;
                    }
                }
            }
        }
        Ok(games)
    }

    /// Writes what was found of a row; what is shared out must be what there is.
    fn settle(&self, game: &Game, to: &mut [f64]) -> Result<()> {
        let has_tabular = usize::from(!self.tabular.is_empty());
        let worth = |set: usize| match (has_tabular, set & 1) {
            (0, _) => game.with[set],
            (_, 1) => game.with[set >> 1],
            _ => game.without[set >> 1],
        };
        let modalities = shapley(self.others.len() + has_tabular, worth);
        let all = (1 << (self.others.len() + has_tabular)) - 1;
        (to[CLASS], to[SCORE], to[BASE], to[ERROR]) = (game.class as f64, worth(all), worth(0), game.error);
        for (feature, value) in self.tabular.iter().zip(&game.features) {
            to[FIRST_INPUT + feature] = *value;
        }
        for (other, value) in self.others.iter().zip(&modalities[has_tabular..]) {
            to[FIRST_INPUT + other] = *value;
        }
        let (values, without) = to.split_at_mut(FIRST_INPUT + self.tabular.len() + self.others.len());
        without.iter_mut().enumerate().for_each(|(modality, score)| *score = worth(all & !(1 << modality)));
        let sum = values[BASE] + values[FIRST_INPUT..].iter().sum::<f64>();
        let scale = game.with.iter().chain(&game.without).fold(1.0_f64, |scale, value| scale.max(value.abs()));
        if (sum - to[SCORE]).abs() > TOLERANCE * scale {
            return Err(wrong(format!("contributions add up to {sum}, the score is {}", to[SCORE])));
        }
        Ok(())
    }
}

/// By how much contributions may miss the score, beside the largest number that they were made of.
const TOLERANCE: f64 = 1e-5;

impl Trees {
    /// The values of the columns of a row, what the trees give for it, and what they give where no player is known.
    fn values(&self, row: &[f32], leaf: &dyn Fn(usize, f64) -> f64, paths: &mut Paths) -> (Vec<f64>, f64, f64) {
        let mut found = vec![0.0; self.input_of.len()];
        let (mut known, mut expected) = (0.0, 0.0);
        let none = vec![false; self.is_player.len()];
        for nodes in &self.ensemble.trees {
            tree_shap(nodes, row, &self.is_player, leaf, paths, &mut found);
            known += mean(nodes, 0, row, &none, leaf);
            expected += mean(nodes, 0, row, &self.is_player, leaf);
        }
        (found, known, expected)
    }
}

/// What a tree gives where the columns of `is_unknown` may have any value.
fn mean(nodes: &[Node], node: usize, row: &[f32], is_unknown: &[bool], leaf: &dyn Fn(usize, f64) -> f64) -> f64 {
    match nodes[node].kind {
        NodeKind::Leaf { output, value } => leaf(output, value),
        NodeKind::Split { column, lower, other, .. } if is_unknown[column] => {
            let part = |child: usize| nodes[child].cover / nodes[node].cover * mean(nodes, child, row, is_unknown, leaf);
            part(lower) + part(other)
        }
        NodeKind::Split { column, threshold, lower, other, missing_is_lower } => {
            let value = row[column];
            let is_lower = if value.is_nan() { missing_is_lower } else { value < threshold };
            mean(nodes, if is_lower { lower } else { other }, row, is_unknown, leaf)
        }
    }
}

/// The score of the explained class; `is_other`: the one score is that of the other class.
fn worth(scores: &[f32], class: usize, is_other: bool) -> f64 {
    let score = f64::from(if scores.len() == 1 { scores[0] } else { scores[class] });
    if is_other { -score } else { score }
}

/// One output of a graph for rows that were put together.
fn output(place: &Place<'_>, index: usize, stage: &Stage, name: &str, variants: &Variants<'_>) -> Result<HostTensor> {
    let feeds = variants.feeds(&stage.feeds)?;
    let outputs = place.cancel.guard(|options| place.model.sessions().run(index, feeds, options, place.stats))?;
    let port = stage.outputs.iter().find(|port| port.name == name).ok_or_else(|| wrong(format!("no output '{name}'")))?;
    let value = outputs.iter().find(|(found, _)| found == name).ok_or_else(|| wrong(format!("graph {} gave no '{name}'", stage.graph)))?;
    let found = HostTensor::read(port, &value.1, classes(&place.model.manifest))?;
    if found.rows() != variants.rows {
        return Err(wrong(format!("output '{name}' has {} rows for {}", found.rows(), variants.rows)));
    }
    Ok(found)
}

fn stand_in(place: usize, input: &Input, profile: &FeatureProfile) -> StandIn {
    match (&input.modality, &profile.values) {
        (Modality::Number { missing, .. }, _) => {
            let absent = if let Some(Missing::Number(value)) = missing { *value as f32 } else { f32::NAN };
            StandIn::Numbers(draw_numbers(profile, place, absent))
        }
        (Modality::Category { missing }, _) => {
            let absent = if let Some(Missing::Text(text)) = missing { text } else { "" };
            StandIn::Texts(draw_texts(profile, place, absent))
        }
        (_, Profile::Vectors { mean }) if !input.optional => StandIn::Mean(mean.clone()),
        _ => StandIn::Mask,
    }
}
