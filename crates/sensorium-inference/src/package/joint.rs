//! Models that put texts and pictures into one space, and how their vectors are compared.

use serde::{Deserialize, Serialize};

use super::image_spec::Layout;
use super::import::ImportOptions;
use super::manifest::{Activation, Feed, Manifest, Modality, OutputRef, Prediction, Source, Stage, TokenPart};
use crate::error::{Error, Kind, Result};

/// How the vectors of an input and of labels become probabilities, as the model was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// Factor on the cosine of the two.
    pub logit_scale: f32,
    /// What is added to that.
    pub logit_bias: f32,
    /// Softmax over all labels (CLIP), or sigmoid of each (SigLIP).
    pub activation: Activation,
    /// The sentence that a label is put into, at `{}`.
    pub prompt: Option<String>,
}

/// Where a label goes in a prompt.
const LABEL: &str = "{}";

impl Matching {
    /// The text that stands for `label`.
    pub fn text(&self, label: &str) -> String {
        self.prompt.as_ref().map_or_else(|| label.to_string(), |prompt| prompt.replace(LABEL, label))
    }

    /// What OPTIONS say, with `own` (scale and bias) where they say nothing; `None` without a scale.
    pub(super) fn from_options(options: &ImportOptions, own: Option<(f32, f32)>, activation: Activation) -> Result<Option<Self>> {
        let wrong = |what: &str, hint: &str| Err(Error::new(Kind::Setting, what.to_string()).with_hint(hint.to_string()));
        if options.logit_scale.is_some_and(|scale| !(scale.is_finite() && scale > 0.0)) {
            return wrong("logit_scale: not a positive number", "logit_scale = 100 is what CLIP models end up with");
        }
        if options.logit_bias.is_some_and(|bias| !bias.is_finite()) {
            return wrong("logit_bias: not a number", "logit_bias = -10");
        }
        if options.prompt.as_ref().is_some_and(|prompt| prompt.matches(LABEL).count() != 1) {
            return wrong("prompt: needs the place of the label once", "prompt = 'a photo of a {}'");
        }
        let Some(logit_scale) = options.logit_scale.or(own.map(|(scale, _)| scale)) else {
            return match (options.logit_bias, &options.prompt) {
                (None, None) => Ok(None),
                _ => wrong("logit_bias and prompt have no effect without logit_scale", "logit_scale = 100"),
            };
        };
        let logit_bias = options.logit_bias.or(own.map(|(_, bias)| bias)).unwrap_or(0.0);
        Ok(Some(Self { logit_scale, logit_bias, activation, prompt: options.prompt.clone() }))
    }
}

impl Manifest {
    /// The part of a joint model that makes the vector of `input`: a model of that input alone.
    pub fn side(&self, input: &str) -> Option<Self> {
        let vector = self.joint.get(input)?.clone();
        let stage = self.stage(&vector.stage)?;
        let feed = |feed: &Feed| match self.constant(feed, input) {
            Some(source) => Feed { port: feed.port.clone(), source },
            None => feed.clone(),
        };
        let own = Stage { feeds: stage.feeds.iter().map(feed).collect(), ..stage.clone() };
        let is_others = |file: &String| self.stages.iter().any(|other| other.name != own.name && other.graph == *file);
        let inputs = self.inputs.iter().filter(|other| other.name == input).cloned().collect();
        let files = self.files.iter().filter(|(file, _)| !is_others(file)).map(|(file, record)| (file.clone(), record.clone())).collect();
        let prediction = Prediction::Outputs { fields: vec![("embedding".into(), vector.clone())] };
        Some(Self { files, ..Self::new(inputs, vec![own], prediction, Some(vector)) })
    }

    /// What a graph input gets that belongs to another input than `side`.
    fn constant(&self, feed: &Feed, side: &str) -> Option<Source> {
        let (input, value) = match &feed.source {
            Source::Tokens { input, part } => (input, if *part == TokenPart::AttentionMask { 1.0 } else { 0.0 }),
            Source::Pixels { input } => (input, 0.0),
            _ => return None,
        };
        if input == side {
            return None;
        }
        let shape = match &self.input(input)?.modality {
            Modality::Text(spec) => vec![1, spec.fixed_tokens.unwrap_or(1)],
            Modality::Image(spec) => {
                let size = spec.size().ok()?;
                let (height, width) = (size.height as usize, size.width as usize);
                match spec.layout {
                    Layout::Nchw => vec![1, spec.channels(), height, width],
                    Layout::Nhwc => vec![1, height, width, spec.channels()],
                }
            }
            _ => return None,
        };
        Some(Source::Constant { value, shape })
    }
}

/// Refuses vectors that cannot be compared.
pub(super) fn check_widths(manifest: &Manifest) -> Result<()> {
    let width = |vector: &OutputRef| manifest.port(vector).map(|port| port.shape.last().copied().flatten());
    let widths = manifest.joint.values().map(width).collect::<Result<Vec<_>>>()?;
    let known: Vec<usize> = widths.into_iter().flatten().collect();
    if known.len() == manifest.joint.len() && known.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    let widths: Vec<String> = known.iter().map(ToString::to_string).collect();
    Err(Error::new(Kind::Package, format!("texts and pictures in different spaces: vectors of {} numbers", widths.join(" and ")))
        .with_hint("export the models with their projection heads (CLIPTextModelWithProjection, CLIPVisionModelWithProjection)"))
}
