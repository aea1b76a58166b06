//! One `.onnx` file: the signature comes from the graph, the meaning of its outputs from ONNX-ML operators or OPTIONS.

use super::feeds::{plain_feed, plain_input};
use super::import::ImportOptions;
use super::manifest::{Manifest, Stage};
use super::port::Signature;
use super::source::Files;
use super::tasks::{Task, TaskFacts, output};
use super::voice_activity;
use crate::error::Result;

/// Name of a package's only stage.
pub(super) const ONLY_STAGE: &str = "model";

/// Reads the graph `name` of the package.
pub(super) fn read(files: &mut Files, name: &str, options: &ImportOptions) -> Result<Manifest> {
    let (path, facts) = files.use_graph(name)?;
    let signature = Signature::read(&path)?;
    if let Some(activity) = voice_activity::read(name, &signature, options)? {
        return Ok(activity);
    }
    let inputs = signature.inputs.iter().map(|port| plain_input(port, &port.name)).collect::<Result<Vec<_>>>()?;
    let feeds = signature.inputs.iter().zip(&inputs).map(|(port, input)| plain_feed(port, input)).collect();
    let task = TaskFacts::from_options(options)?;
    let is_embedding = task.task == Some(Task::Embedding);
    let prediction = task.prediction(ONLY_STAGE, &signature.outputs, &facts)?;
    let vector = signature.outputs.iter().find(|port| port.name == "embedding").or(signature.outputs.first().filter(|_| is_embedding));
    let embedding = vector.map(|port| output(ONLY_STAGE, port));
    let stage = Stage { name: ONLY_STAGE.into(), graph: name.to_string(), feeds, outputs: signature.outputs };
    Ok(Manifest::new(inputs, vec![stage], prediction, embedding))
}
