//! What an evaluation is asked to do.

use std::path::PathBuf;
use std::sync::Arc;

use sensorium_inference::{ClassNames, Error, Kind, ModelVersion, Prediction, Result, Training};

use crate::ddl::{Evaluation, OptionValue};

/// What the model predicts, and of what figures are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The probability of the second name, beside the first.
    TwoClasses(String, String),
    /// One of these.
    Classes(Vec<String>),
    /// A number.
    Number,
}

impl Target {
    /// Names of all classes.
    pub(super) fn classes(&self) -> Vec<&String> {
        match self {
            Self::TwoClasses(other, class) => vec![other, class],
            Self::Classes(names) => names.iter().collect(),
            Self::Number => Vec::new(),
        }
    }
}

/// An evaluation that is known to make sense.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) version: Arc<ModelVersion>,
    /// What is known of the rows that it was fitted to.
    pub(super) training: Option<Training>,
    pub(super) target: Target,
    pub(super) label: String,
    pub(super) weight: Option<String>,
    /// How many rows are explained at most.
    pub(super) sample: usize,
    pub(super) folder: PathBuf,
    /// Whether the statement says where the report is to lie.
    pub(super) is_folder_named: bool,
    pub(super) query: String,
    /// Names of the query's columns.
    pub(super) columns: Vec<String>,
}

const NAMES: [&str; 4] = ["label", "class", "weight", "sample"];
const EXAMPLE: &str =
    "EVALUATE MODEL credit TO 'report' OPTIONS (label = 'status', class = 'bad', weight = 'w', sample = 1000) AS SELECT ..";
/// Rows that are explained where nothing is said: enough for means, and done in seconds.
const SAMPLE: usize = 1_000;
const MAX_SAMPLE: usize = 1_000_000;

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Setting, message.to_string())
}

impl Request {
    pub(super) fn read(version: Arc<ModelVersion>, training: Option<Training>, evaluation: Evaluation) -> Result<Self> {
        let (mut label, mut class, mut weight, mut sample) = (None, None, None, SAMPLE);
        for (name, value) in evaluation.options {
            match (name.as_str(), value) {
                ("label", OptionValue::Text(column)) => label = Some(column),
                ("class", OptionValue::Text(name)) => class = Some(name),
                ("weight", OptionValue::Text(column)) => weight = Some(column),
                ("sample", OptionValue::Number(number)) => {
                    let usable = number.parse().ok().filter(|rows| (0..=MAX_SAMPLE).contains(rows));
                    sample = usable.ok_or_else(|| {
                        wrong(format!("sample: not a usable value: {number}")).with_hint(format!("a whole number from 0 to {MAX_SAMPLE}"))
                    })?;
                }
                (known, _) if NAMES.contains(&known) => {
                    return Err(wrong(format!("option {known}: a value of the wrong kind")).with_hint(EXAMPLE));
                }
                (other, _) => return Err(wrong(format!("no such option: {other}")).with_nearest(other, NAMES, "options")),
            }
        }
        let label = label.or_else(|| training.as_ref().map(|training| training.label.clone()));
        let label = label.ok_or_else(|| wrong("which column is the label?").with_hint(EXAMPLE))?;
        let target = target(&version, class)?;
        if version.manifest.explained().is_err() {
            sample = 0;
        }
        let is_folder_named = evaluation.folder.is_some();
        let folder = evaluation.folder.unwrap_or_else(|| format!("{}-evaluation", version.pinned()));
        Ok(Self {
            version,
            training,
            target,
            label,
            weight,
            sample,
            folder: folder.into(),
            is_folder_named,
            query: evaluation.query,
            columns: Vec::new(),
        })
    }
}

fn target(version: &ModelVersion, class: Option<String>) -> Result<Target> {
    let adverse = version.manifest.explanation.as_ref().and_then(|explanation| explanation.adverse.clone());
    match &version.manifest.prediction {
        Prediction::Classification { classes, .. } => {
            let names = match classes {
                ClassNames::Strings(names) => names.clone(),
                ClassNames::Integers(names) => names.iter().map(ToString::to_string).collect(),
            };
            if let Some(class) = class.as_ref().filter(|class| !names.contains(*class)) {
                return Err(wrong(format!("class: no such class: '{class}'")).with_nearest(
                    class,
                    names.iter().map(String::as_str),
                    "classes",
                ));
            }
            if class.is_some() && names.len() != 2 {
                return Err(wrong(format!("class: the model has {} classes, and figures of one beside the rest are of two", names.len()))
                    .with_hint("leave the option out"));
            }
            Ok(match (names.as_slice(), class.or(adverse)) {
                ([first, second], Some(class)) if class == *first => Target::TwoClasses(second.clone(), class),
                ([first, second], _) => Target::TwoClasses(first.clone(), second.clone()),
                _ => Target::Classes(names),
            })
        }
        Prediction::Regression { .. } if class.is_some() => Err(wrong("class: a number has no classes").with_hint("leave the option out")),
        Prediction::Regression { .. } => Ok(Target::Number),
        other => {
            let error = Error::new(
                Kind::Argument,
                format!("model '{}' predicts nothing that a label says: its task is {}", version.name, other.task()),
            );
            Err(error.with_hint("classifiers and regressions can be evaluated"))
        }
    }
}
