//! `DESCRIBE MODEL`: one row per fact.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::error::Result;
use sensorium_inference::{Prediction, Wanted, explanation_plan, result_type, zero_shot_type};

use crate::engine::Engine;
use crate::errors::to_datafusion;

pub(super) fn describe(engine: &Engine, reference: &str) -> Result<RecordBatch> {
    let version = engine.catalog.resolve(reference).map_err(to_datafusion)?;
    let manifest = &version.manifest;
    let mut facts: Vec<[String; 4]> =
        vec![["model".into(), version.pinned(), manifest.prediction.task().into(), format!("sha256 {}", version.sha256)]];
    if let Some(endpoint) = &manifest.endpoint {
        facts.push(["endpoint".into(), endpoint.host().0, "openai".into(), endpoint.describe()]);
    }
    for input in &manifest.inputs {
        facts.push(["input".into(), input.name.clone(), input.modality.name().into(), input.describe()]);
    }
    for (function, wanted, detail) in [
        ("mm_predict", Wanted::Prediction, Some(manifest.describe_prediction())),
        ("mm_embed", Wanted::Embedding, manifest.embedding.as_ref().map(sensorium_inference::OutputRef::describe)),
    ] {
        let Some(detail) = detail else { continue };
        let data_type = result_type(manifest, wanted).map_err(to_datafusion)?;
        facts.push(["output".into(), function.into(), data_type.to_string(), detail]);
    }
    for side in manifest.joint.keys().filter_map(|input| Some((input, manifest.side(input)?))) {
        let (input, side) = side;
        let data_type = result_type(&side, Wanted::Embedding).map_err(to_datafusion)?;
        let detail = side.embedding.as_ref().map(sensorium_inference::OutputRef::describe).unwrap_or_default();
        facts.push(["output".into(), format!("mm_embed {{{input}: ..}}"), data_type.to_string(), detail]);
    }
    if matches!(manifest.prediction, Prediction::Text { .. }) && manifest.endpoint.is_none() {
        let detail = "labels by the log-probabilities of their tokens, then softmax".to_string();
        facts.push(["output".into(), "mm_classify".into(), zero_shot_type().to_string(), detail]);
    }
    if let Some(matching) = &manifest.matching {
        facts.push(["output".into(), "mm_classify".into(), zero_shot_type().to_string(), matching.describe()]);
    }
    if let Ok(explanation) = manifest.explained() {
        let data_type = result_type(manifest, Wanted::Explanation).map_err(to_datafusion)?;
        let adverse = explanation.adverse.as_ref().map_or(String::new(), |class| format!(", of class '{class}'"));
        facts.push(["output".into(), "mm_explain".into(), data_type.to_string(), format!("{}{adverse}", explanation_plan(manifest))]);
    }
    for (file, record) in &manifest.files {
        facts.push(["file".into(), file.clone(), format!("{} bytes", record.bytes), format!("sha256 {}", record.sha256)]);
    }
    let column = |index: usize| -> ArrayRef { Arc::new(facts.iter().map(|fact| Some(fact[index].as_str())).collect::<StringArray>()) };
    Ok(RecordBatch::try_from_iter([("kind", column(0)), ("name", column(1)), ("type", column(2)), ("detail", column(3))])?)
}
