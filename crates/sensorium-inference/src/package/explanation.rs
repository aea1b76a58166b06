//! What a package says for `mm_explain` and `mm_reasons`: the record of its training, its adverse class, reasons in words, and where
//! the trees of a tree head get their columns from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::port::{Element, Port, Signature};
use super::source::Files;
use super::training::{Profile, QUANTILES, Training};
use crate::error::{Error, Kind, Result};
use crate::onnx::{ClassNames, Ensemble};

/// Name of the stage that makes the columns which trees look at; it runs for explanations only.
pub(crate) const EXPLAIN_STAGE: &str = "explain";
/// The modality of numbers and categories together.
pub(crate) const TABULAR: &str = "tabular";
/// Modalities that a model may have to be explained: each doubles the work.
const MAX_MODALITIES: usize = 10;

/// `[explain]` in `sensorium.toml`, and the same in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// File with the record of the training.
    pub training: String,
    /// The class that people want reasons for, such as 'bad'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adverse: Option<String>,
    /// What is said of an input that is among the reasons.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
    /// For a head whose trees are explained exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trees: Option<TreeColumns>,
}

/// Where the columns of a tree ensemble come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeColumns {
    /// Graph that makes the columns, `[rows, columns]`.
    pub graph: String,
    /// So many columns belong to each of these inputs, in this order.
    pub columns: Vec<ColumnsOf>,
    /// How much of each output of the trees is in each score, `[scores][outputs]`; each output is a score where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<Vec<f32>>,
}

/// Columns of one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnsOf {
    /// Name of the input.
    pub input: String,
    /// How many there are.
    pub count: usize,
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Package, format!("[explain]: {message}"))
}

/// Adds `[explain]`, and the stage that it needs, to a manifest that is complete but for that.
pub(super) fn add(files: &mut Files, manifest: &mut Manifest, explanation: Explanation) -> Result<()> {
    if let Some(trees) = &explanation.trees {
        let head = manifest.stages.last().cloned().ok_or_else(|| wrong("no graph"))?;
        let (path, _) = files.use_graph(&trees.graph)?;
        let signature = Signature::read(&path)?;
        let feed = |port: &Port| {
            let same = head.feeds.iter().find(|feed| feed.port == *port);
            same.cloned().ok_or_else(|| wrong(format!("{}: the head has no input {port}", trees.graph)))
        };
        let feeds = signature.inputs.iter().map(feed).collect::<Result<Vec<_>>>()?;
        let stage = Stage { name: EXPLAIN_STAGE.into(), graph: trees.graph.clone(), feeds, outputs: signature.outputs };
        manifest.stages.insert(manifest.stages.len() - 1, stage);
    }
    manifest.explanation = Some(explanation);
    check(files, manifest)
}

/// Checks what a manifest says for explanations, if it says something.
///
/// # Errors
/// [`Kind::Package`] for a record of another model, names that are none, a head whose inputs cannot be changed, or trees that cannot be read.
pub(super) fn check(files: &mut Files, manifest: &Manifest) -> Result<()> {
    let Some(explanation) = &manifest.explanation else { return Ok(()) };
    let training = Training::read(&files.use_file(&explanation.training)?)?;
    manifest.inputs.iter().try_for_each(|input| check_profile(input, &training))?;
    for name in explanation.reasons.keys() {
        let names = manifest.inputs.iter().map(|input| input.name.as_str());
        if manifest.input(name).is_none() {
            return Err(wrong(format!("a reason for what is no input: '{name}'")).with_nearest(name, names, "inputs"));
        }
    }
    match (&explanation.adverse, &manifest.prediction) {
        (Some(adverse), Prediction::Classification { classes: ClassNames::Strings(names), .. }) => {
            if !names.contains(adverse) {
                let names = names.iter().map(String::as_str);
                return Err(wrong(format!("adverse: no such class: '{adverse}'")).with_nearest(adverse, names, "classes"));
            }
        }
        (Some(_), _) => return Err(wrong("adverse: the model has no classes with names")),
        (None, _) => {}
    }
    let head = manifest.stages.last().ok_or_else(|| wrong("no graph"))?;
    if let Some(feed) = head.feeds.iter().find(|feed| !is_variable(feed, manifest)) {
        return Err(wrong(format!("graph input {} is none that values can be changed of", feed.port)));
    }
    match &explanation.trees {
        Some(trees) => check_trees(files, manifest, trees, head),
        None => Ok(()),
    }
}

fn check_trees(files: &Files, manifest: &Manifest, trees: &TreeColumns, head: &Stage) -> Result<()> {
    let before_head = manifest.stages.len().checked_sub(2).and_then(|place| manifest.stages.get(place));
    let stage = before_head.filter(|stage| stage.name == EXPLAIN_STAGE && stage.graph == trees.graph);
    let stage = stage.ok_or_else(|| wrong(format!("no stage for {}", trees.graph)))?;
    if let Some(feed) = stage.feeds.iter().find(|feed| !head.feeds.contains(feed)) {
        return Err(wrong(format!("{}: the head has no input {}", trees.graph, feed.port)));
    }
    if let Some(columns) = trees.columns.iter().find(|columns| manifest.input(&columns.input).is_none()) {
        return Err(wrong(format!("columns of what is no input: '{}'", columns.input)));
    }
    let width: usize = trees.columns.iter().map(|columns| columns.count).sum();
    let [port] = stage.outputs.as_slice() else { return Err(wrong(format!("{} has several outputs", trees.graph))) };
    if port.element != Element::Float32 || port.shape.len() != 2 || port.shape[1] != Some(width) {
        return Err(wrong(format!("{}: {width} columns, and an output {port}", trees.graph)));
    }
    let bytes = std::fs::read(files.root.join(&head.graph)).map_err(wrong)?;
    let ensemble = Ensemble::read(&bytes)?;
    ensemble.check(width, &trees.weights)?;
    let scores = match &manifest.prediction {
        Prediction::Classification { scores, .. } => manifest.port(scores)?.shape.get(1).copied().flatten().unwrap_or(1),
        _ => 1,
    };
    if trees.weights.is_empty() && ensemble.outputs != scores || !trees.weights.is_empty() && trees.weights.len() != scores {
        return Err(wrong(format!("trees of {} outputs for {scores} scores", ensemble.outputs)));
    }
    Ok(())
}

/// By how much shares may miss one.
const SHARE_TOLERANCE: f64 = 1e-6;

/// What is known of an input must be of its kind, and within bounds.
fn check_profile(input: &Input, training: &Training) -> Result<()> {
    let feature =
        training.feature(&input.name).ok_or_else(|| wrong(format!("nothing is known of the values of input '{}'", input.name)))?;
    let are_shares = |shares: &mut dyn Iterator<Item = f64>| {
        let (are_positive, sum) = shares.fold((true, 0.0), |(all, sum), share| (all && share >= 0.0, sum + share));
        are_positive && sum <= 1.0 + SHARE_TOLERANCE
    };
    let fits = match (&input.modality, &feature.values) {
        (Modality::Number { .. }, Profile::Numbers { quantiles, borders, shares }) => {
            let is_known = quantiles.len() == QUANTILES || quantiles.is_empty();
            is_known && shares.len() == borders.len() + 1 && are_shares(&mut shares.iter().copied())
        }
        (Modality::Category { .. }, Profile::Categories { shares }) => are_shares(&mut shares.iter().map(|(_, share)| *share)),
        (Modality::Vector { width, .. }, Profile::Vectors { mean }) => mean.len() == *width,
        (Modality::Number { .. } | Modality::Category { .. } | Modality::Vector { .. }, _) => false,
        (_, profile) => matches!(profile, Profile::Vectors { .. }),
    };
    if fits && (0.0..=1.0).contains(&feature.missing) {
        return Ok(());
    }
    Err(wrong(format!("what is said of the values of '{}' is not of a {}", input.name, input.modality.name())))
}

/// Whether the values of a graph input can be exchanged one by one.
fn is_variable(feed: &Feed, manifest: &Manifest) -> bool {
    let is_known = match &feed.source {
        Source::Columns { .. } | Source::Vector { .. } | Source::Output(_) => true,
        // Of a number or a category, a value says that it is absent.
        Source::Present { input } => manifest.input(input).is_some_and(|input| !input.is_tabular()),
        _ => false,
    };
    is_known && matches!(feed.port.element, Element::Float32 | Element::String)
}

impl Input {
    /// Whether it is a number or a category.
    pub fn is_tabular(&self) -> bool {
        matches!(self.modality, Modality::Number { .. } | Modality::Category { .. })
    }
}

impl Manifest {
    /// Names of the modalities: numbers and categories are one, every other input is one of its own.
    pub fn modalities(&self) -> Vec<String> {
        let taken: BTreeSet<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
        let mut tabular = TABULAR.to_string();
        while taken.contains(tabular.as_str()) {
            tabular.push('_');
        }
        let tabular = self.inputs.iter().any(Input::is_tabular).then_some(tabular);
        tabular.into_iter().chain(self.inputs.iter().filter(|input| !input.is_tabular()).map(|input| input.name.clone())).collect()
    }

    /// Whether some modality may be absent, so that a prediction says which were used.
    pub(crate) fn may_lack_modalities(&self) -> bool {
        self.inputs.iter().any(|input| input.optional && !input.is_tabular()) && self.modalities().len() > 1
    }

    /// What the package says for explanations.
    ///
    /// # Errors
    /// [`Kind::Argument`] for a model that says nothing.
    pub fn explained(&self) -> Result<&Explanation> {
        let explanation = self.explanation.as_ref().ok_or_else(|| {
            Error::new(Kind::Argument, "the model cannot be explained: nothing is known of the rows that it was fitted to")
                .with_hint("models of CREATE MODEL .. AS SELECT can be; `[explain]` in sensorium.toml says it for others")
        })?;
        let modalities = self.modalities().len();
        if modalities > MAX_MODALITIES {
            return Err(Error::new(
                Kind::Argument,
                format!("the model has {modalities} modalities, {MAX_MODALITIES} can be told apart: each doubles the work"),
            ));
        }
        Ok(explanation)
    }
}
