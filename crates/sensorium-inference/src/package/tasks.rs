//! What a model's outputs mean.

use std::str::FromStr;

use super::import::{ImportOptions, distinct};
use super::manifest::{Activation, OutputRef, Prediction};
use super::port::{Element, Port};
use crate::error::{Error, Kind, Result};
use crate::onnx::{ClassNames, GraphFacts};

/// Tasks as `task = ...` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Classification,
    Regression,
    Embedding,
    Outputs,
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "classification" => Self::Classification,
            "regression" => Self::Regression,
            "embedding" => Self::Embedding,
            "outputs" => Self::Outputs,
            _ => {
                let names = ["classification", "regression", "embedding", "outputs"];
                return Err(Error::new(Kind::Package, format!("unknown task: '{text}'")).with_nearest(text, names, "tasks"));
            }
        })
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "softmax" => Self::Softmax,
            "sigmoid" => Self::Sigmoid,
            "none" => Self::None,
            _ => {
                return Err(Error::new(Kind::Package, format!("unknown activation: '{text}'")).with_nearest(
                    text,
                    ["softmax", "sigmoid", "none"],
                    "activations",
                ));
            }
        })
    }
}

/// A plain reference to an output of a stage.
pub(super) fn output(stage: &str, port: &Port) -> OutputRef {
    OutputRef { stage: stage.to_string(), output: port.name.clone(), pooling: None, normalize: false, first: None }
}

/// What is known of a model's task, from OPTIONS, `sensorium.toml` or the graph.
#[derive(Debug, Default)]
pub(super) struct TaskFacts {
    pub(super) task: Option<Task>,
    pub(super) labels: Option<ClassNames>,
    pub(super) activation: Option<Activation>,
    /// Output that holds scores or the value, where there are several.
    pub(super) scores: Option<String>,
}

impl TaskFacts {
    pub(super) fn from_options(options: &ImportOptions) -> Result<Self> {
        Ok(Self {
            task: options.task.as_deref().map(str::parse).transpose()?,
            labels: options.labels.as_deref().map(distinct),
            activation: options.activation.as_deref().map(str::parse).transpose()?,
            scores: None,
        })
    }

    /// The prediction of a graph whose outputs are `ports`.
    pub(super) fn prediction(self, stage: &str, ports: &[Port], facts: &GraphFacts) -> Result<Prediction> {
        if let (None, Some(found)) = (self.task, onnx_ml_classifier(stage, ports, facts)?) {
            return Ok(match (self.labels, found) {
                (Some(classes), Prediction::Classification { scores, activation, .. }) => {
                    Prediction::Classification { classes, scores, activation, label: None }
                }
                (_, found) => found,
            });
        }
        match self.task {
            Some(Task::Classification) => self.classification(stage, ports, facts),
            Some(Task::Regression) => regression(stage, self.pick(ports)?),
            None if facts.is_regressor && ports.len() == 1 => regression(stage, &ports[0]),
            Some(Task::Embedding | Task::Outputs) | None => {
                Ok(Prediction::Outputs { fields: ports.iter().map(|port| (port.name.clone(), output(stage, port))).collect() })
            }
        }
    }

    fn pick<'a>(&self, ports: &'a [Port]) -> Result<&'a Port> {
        let names = || ports.iter().map(|port| port.name.as_str());
        match (&self.scores, ports) {
            (Some(name), _) => ports.iter().find(|port| port.name == *name).ok_or_else(|| {
                Error::new(Kind::Package, format!("no output '{name}' in the graph")).with_nearest(name, names(), "outputs")
            }),
            (None, [port]) => Ok(port),
            (None, _) => ports.iter().find(|port| port.name == "logits").or_else(|| only_matrix(ports)).ok_or_else(|| {
                Error::new(Kind::Package, format!("several outputs: {}", names().collect::<Vec<_>>().join(", ")))
                    .with_hint("write `scores = \"...\"` with the output to use in `sensorium.toml`")
            }),
        }
    }

    fn classification(self, stage: &str, ports: &[Port], facts: &GraphFacts) -> Result<Prediction> {
        let port = self.pick(ports)?;
        let scores = output(stage, port);
        let classes = self.labels.or_else(|| facts.class_names.clone()).ok_or_else(|| {
            Error::new(Kind::Package, "classification without labels: the graph does not name its classes")
                .with_hint("OPTIONS (labels = 'good,bad'), or `labels = [\"good\", \"bad\"]` in `sensorium.toml`")
        })?;
        let activation = self.activation.ok_or_else(|| {
            Error::new(Kind::Package, format!("classification without an activation: nothing says whether '{}' are logits", port.name))
                .with_hint("OPTIONS (activation = 'softmax') for logits, 'none' for probabilities; the same key in `sensorium.toml`")
        })?;
        check_width(port, &classes, activation)?;
        Ok(Prediction::Classification { classes, scores, activation, label: None })
    }
}

/// One number a row.
fn regression(stage: &str, port: &Port) -> Result<Prediction> {
    match port.shape.get(1..).unwrap_or_default() {
        [] | [Some(1)] => Ok(Prediction::Regression { value: output(stage, port) }),
        _ => Err(Error::new(Kind::Package, format!("regression with several numbers a row: output {port}"))
            .with_hint("task = 'outputs' returns them all")),
    }
}

/// The one output that has several floating-point numbers a row.
fn only_matrix(ports: &[Port]) -> Option<&Port> {
    let mut matrices = ports.iter().filter(|port| port.element.is_float() && port.shape.len() == 2);
    matrices.next().filter(|_| matrices.next().is_none())
}

/// One score for two classes is fine with a sigmoid only.
fn check_width(port: &Port, classes: &ClassNames, activation: Activation) -> Result<()> {
    let is_single = activation == Activation::Sigmoid && classes.len() == 2;
    match port.shape.last().copied().flatten() {
        Some(1) | None if is_single => Ok(()),
        Some(width) if width != classes.len() && port.shape.len() > 1 => {
            Err(Error::new(Kind::Package, format!("{} labels for {width} scores: output '{}'", classes.len(), port.name)))
        }
        _ => Ok(()),
    }
}

/// An ONNX-ML classifier returns its label first and the probabilities second, as a tensor or a ZipMap.
fn onnx_ml_classifier(stage: &str, ports: &[Port], facts: &GraphFacts) -> Result<Option<Prediction>> {
    let [label, scores] = ports else { return Ok(None) };
    let has_label = matches!(label.element, Element::String | Element::Int64) && label.shape.len() <= 2;
    let has_scores = scores.element == Element::ZipMap || (scores.element.is_float() && scores.shape.len() == 2);
    let Some(classes) = facts.class_names.clone().filter(|_| has_label && has_scores) else { return Ok(None) };
    check_width(scores, &classes, Activation::None)?;
    Ok(Some(Prediction::Classification {
        classes,
        scores: output(stage, scores),
        activation: Activation::None,
        label: Some(output(stage, label)),
    }))
}
