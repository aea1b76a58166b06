//! `CREATE MODEL ... FROM`: import of a package.

use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use sensorium_inference::{CreateMode, Error, ImportOptions, Kind, Sampling, import, try_out};

use super::statement::status;
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::grammar::{OptionValue, Options};

pub(super) fn create(
    engine: &Engine,
    name: &str,
    mode: CreateMode,
    source: &str,
    options: Options,
    context: Option<RecordBatch>,
) -> Result<RecordBatch> {
    let options = ImportOptions { context, ..import_options(options).map_err(to_datafusion)? };
    if mode == CreateMode::IfNotExists
        && let Ok(existing) = engine.catalog.resolve(name)
    {
        return status(format!("model {} exists already", existing.pinned()));
    }
    let draft = import(Path::new(source), &options).map_err(to_datafusion)?;
    // What cannot run or be returned is refused here, not at the first query.
    try_out(&draft).map_err(to_datafusion)?;
    let (version, is_new) = engine.catalog.create(name, draft, mode, source).map_err(to_datafusion)?;
    let verb = if is_new { "created" } else { "exists already" };
    status(format!("model {} {verb}, sha256 {}", version.pinned(), version.sha256))
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
