//! `CREATE MODEL ... FROM`: import of a package.

use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use sensorium_inference::{CreateMode, Draft, Endpoint, Error, ImportOptions, Kind, Limits, Sampling, import, try_endpoint, try_out};
use serde_json::{Map, Value};

use super::statement::status;
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::grammar::{OptionValue, Options};

pub(super) fn create(
    engine: &Engine,
    limits: &Limits,
    name: &str,
    mode: CreateMode,
    source: &str,
    options: Options,
    context: Option<RecordBatch>,
) -> Result<RecordBatch> {
    if mode == CreateMode::IfNotExists
        && let Ok(existing) = engine.catalog.resolve(name)
    {
        return status(format!("model {} exists already", existing.pinned()));
    }
    let draft =
        if Endpoint::is_source(source) { elsewhere(source, options, limits, context.as_ref()) } else { here(source, options, context) };
    let draft = draft.map_err(to_datafusion)?;
    let (version, is_new) = engine.catalog.create(name, draft, mode, source).map_err(to_datafusion)?;
    let verb = if is_new { "created" } else { "exists already" };
    status(format!("model {} {verb}, sha256 {}", version.pinned(), version.sha256))
}

/// A package. What cannot run or be returned is refused here, not at the first query.
fn here(source: &str, options: Options, context: Option<RecordBatch>) -> Result<Draft, Error> {
    let options = ImportOptions { context, ..import_options(options)? };
    let draft = import(Path::new(source), &options)?;
    try_out(&draft)?;
    Ok(draft)
}

/// A model at an endpoint, which is asked once for the same reason.
fn elsewhere(source: &str, options: Options, limits: &Limits, context: Option<&RecordBatch>) -> Result<Draft, Error> {
    if context.is_some() {
        return Err(
            Error::new(Kind::Argument, "AS SELECT has no effect: a model at an endpoint is given no rows").with_hint("leave the query out")
        );
    }
    let json = |value: OptionValue| match value {
        OptionValue::Text(text) => Value::String(text),
        OptionValue::Truth(truth) => Value::Bool(truth),
        OptionValue::Number(number) => serde_json::from_str(&number).unwrap_or(Value::String(number)),
        OptionValue::List(texts) => texts.into(),
        OptionValue::Map(pairs) => pairs.into_iter().map(|(name, text)| (name, Value::String(text))).collect::<Map<_, _>>().into(),
    };
    let options: Map<String, Value> = options.into_iter().map(|(name, value)| (name, json(value))).collect();
    let endpoint = Endpoint::new(source, &options)?;
    let width = try_endpoint(&endpoint, limits)?;
    Ok(endpoint.draft(width))
}

fn number_of(option: &str, number: &str) -> Result<f32, Error> {
    number.parse().map_err(|_| Error::new(Kind::Setting, format!("{option}: not a number: {number}")))
}

fn import_options(options: Options) -> Result<ImportOptions, Error> {
    let mut import = ImportOptions::default();
    for (name, value) in options {
        match (name.as_str(), value) {
            ("task", OptionValue::Text(task)) => import.task = Some(task),
            ("activation", OptionValue::Text(activation)) => import.activation = Some(activation),
            ("variant", OptionValue::Text(variant)) => import.variant = Some(variant),
            ("label", OptionValue::Text(label)) => import.label = Some(label),
            ("prompt", OptionValue::Text(prompt)) => import.prompt = Some(prompt),
            ("language", OptionValue::Text(language)) => import.language = Some(language),
            ("timestamps", OptionValue::Truth(truth)) => import.timestamps = Some(truth),
            ("logit_scale", OptionValue::Number(number)) => import.logit_scale = Some(number_of("logit_scale", &number)?),
            ("logit_bias", OptionValue::Number(number)) => import.logit_bias = Some(number_of("logit_bias", &number)?),
            ("sampling", OptionValue::Text(sampling)) if sampling == "uniform" => import.sampling = Some(Sampling::Uniform),
            ("sampling", OptionValue::Text(sampling)) if sampling == "key_frames" => import.sampling = Some(Sampling::KeyFrames),
            ("sampling", OptionValue::Number(seconds)) => {
                import.sampling = Some(Sampling::EverySeconds(f64::from(number_of("sampling", &seconds)?)));
            }
            ("labels", OptionValue::List(labels)) => import.labels = Some(labels),
            ("labels", OptionValue::Text(labels)) => {
                import.labels = Some(labels.split(',').map(|label| label.trim().to_string()).collect())
            }
            ("max_tokens", OptionValue::Number(number)) => {
                let parsed = number.parse().ok().filter(|number| *number > 0);
                let wrong =
                    || Error::new(Kind::Setting, format!("max_tokens: not a usable value: {number}")).with_hint("a whole number from 1");
                import.max_tokens = Some(parsed.ok_or_else(wrong)?);
            }
            (known, _) if ImportOptions::NAMES.contains(&known) => {
                return Err(Error::new(Kind::Setting, format!("option {known}: a value of the wrong kind")).with_hint(
                    "task = 'classification', labels = ['good', 'bad'], activation = 'softmax', max_tokens = 256, variant = 'fp16', logit_scale = 100, prompt = 'a photo of a {}', language = 'de', timestamps = false, sampling = 'uniform', label = 'y'",
                ));
            }
            (other, _) => {
                return Err(Error::new(Kind::Setting, format!("no such option: {other}")).with_nearest(
                    other,
                    ImportOptions::NAMES,
                    "options",
                ));
            }
        }
    }
    Ok(import)
}
