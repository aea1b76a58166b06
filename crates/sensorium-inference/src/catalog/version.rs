//! One version of one model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::package::{Manifest, Modality, Prediction};

/// A resolved version.
#[derive(Debug, Clone)]
pub struct ModelVersion {
    /// Name in the catalog.
    pub name: String,
    /// Its number, from 1.
    pub version: u64,
    /// SHA-256 over everything that decides the output.
    pub sha256: String,
    /// When it was created, in seconds since 1970 UTC.
    pub created_unix_s: u64,
    /// Where it was imported from.
    pub source: String,
    /// The model itself.
    pub manifest: Arc<Manifest>,
}

impl ModelVersion {
    /// `name@number`, which always means this version.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The same model with texts written as `options` say, JSON of [`Rules::OPTIONS`](crate::Rules::OPTIONS) and `frames`, or a list of the labels
    /// that are the only answers, and an SHA-256 of its own.
    ///
    /// # Errors
    /// [`Kind::Argument`] for an option that there is not, a value that makes no sense, or a model that writes no texts.
    pub fn with_options(&self, options: &str) -> Result<Self> {
        let wrong = |what: &dyn std::fmt::Display| Error::new(Kind::Argument, format!("options of model '{}': {what}", self.name));
        let options: Value = serde_json::from_str(options).map_err(|error| wrong(&error))?;
        if let Value::Array(labels) = &options {
            return self.with_labels(labels);
        }
        let Value::Object(mut options) = options else { return Err(wrong(&options)) };
        let mut manifest = (*self.manifest).clone();
        if matches!(manifest.prediction, Prediction::Text { .. })
            && let Some(frames) = options.remove("frames").filter(|frames| !frames.is_null())
        {
            set_frames(&mut manifest, &frames)?;
        }
        if let Some(endpoint) = &manifest.endpoint {
            manifest.endpoint = Some(Box::new(endpoint.with_options(&options)?));
            return Ok(Self { sha256: manifest.sha256(), manifest: Arc::new(manifest), ..self.clone() });
        }
        if let Prediction::Picture { diffusion } = &mut manifest.prediction {
            **diffusion = diffusion.with_options(&options)?;
            return Ok(Self { sha256: manifest.sha256(), manifest: Arc::new(manifest), ..self.clone() });
        }
        let Prediction::Text { generation } = &mut manifest.prediction else { return Err(wrong(&"it writes no texts")) };
        if generation.chat.is_none() && options.get("system").is_some_and(|system| !system.is_null()) {
            return Err(
                Error::new(Kind::Argument, "system has no effect: the model has no chat template").with_hint("write it into the prompt")
            );
        }
        generation.rules = generation.rules.with_options(&options)?;
        Ok(Self { sha256: manifest.sha256(), manifest: Arc::new(manifest), ..self.clone() })
    }

    fn with_labels(&self, labels: &[Value]) -> Result<Self> {
        let mut manifest = (*self.manifest).clone();
        if manifest.endpoint.is_some() {
            let message = format!("model '{}' is at an endpoint, which does not say how likely each label is", self.name);
            return Err(Error::new(Kind::Argument, message)
                .with_hint("mm_generate(model, prompt, {json_schema: '{\"enum\": [\"good\", \"bad\"]}'}) chooses one of them"));
        }
        let Prediction::Text { generation } = &mut manifest.prediction else {
            return Err(Error::new(
                Kind::Argument,
                format!("model '{}' writes no texts, and the call was made for one that does", self.name),
            )
            .with_hint("create the view again, so that its labels are those of this model"));
        };
        generation.rules = generation.rules.with_labels(labels)?;
        Ok(Self { sha256: manifest.sha256(), manifest: Arc::new(manifest), ..self.clone() })
    }

    /// The part of a joint model that makes the vector of `input`, as a model of its own with an SHA-256 of its own.
    pub fn side(&self, input: &str) -> Option<Self> {
        let manifest = self.manifest.side(input)?;
        Some(Self { sha256: manifest.sha256(), manifest: Arc::new(manifest), ..self.clone() })
    }
}

/// How many frames of a video are shown to a model that is asked about it.
fn set_frames(manifest: &mut Manifest, frames: &Value) -> Result<()> {
    let video = manifest.inputs.iter_mut().find_map(|input| match &mut input.modality {
        Modality::Video(spec) => Some(spec),
        _ => None,
    });
    let without = || Error::new(Kind::Argument, "frames has no effect: the model takes no videos");
    let video = video.ok_or_else(|| without().with_hint("DESCRIBE MODEL names its inputs"))?;
    *video = video.with_frames(frames)?;
    Ok(())
}

/// What lies in `versions/<number>.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) sha256: String,
    pub(super) created_unix_s: u64,
    pub(super) source: String,
    pub(super) manifest: Manifest,
}
