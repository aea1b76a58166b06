//! The normal form of a model: everything that decides its output, and nothing else.
//!
//! Whatever form a package came in, planning and execution read only this.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audio_spec::AudioSpec;
use super::context::Context;
use super::diffusion::Diffusion;
use super::endpoint::Endpoint;
use super::explanation::Explanation;
use super::generation::Generation;
use super::image_spec::ImageSpec;
use super::joint::Matching;
use super::ocr::Ocr;
use super::port::{Element, Port};
use super::series_spec::SeriesSpec;
use super::speech::Speech;
pub use super::stage::{Feed, OutputRef, Pooling, Source, Stage, TokenPart};
use super::text_spec::TextSpec;
use super::video_spec::VideoSpec;
use super::voice_activity::VoiceActivity;
use crate::error::{Error, Kind, Result};
pub use crate::onnx::ClassNames;

/// Layout of the manifest itself; raised when a field changes its meaning.
pub const MANIFEST_FORMAT: u32 = 1;

/// Bytes of weights that a core gets through in a nanosecond, weights counted once for each token or pixel that they
/// meet: about 530 for MiniLM, 470 for EfficientNet-Lite0, 160 for gradient-boosted trees (measured).
const BYTES_PER_NANOSECOND: u64 = 500;

/// What another machine takes for an answer, until it was measured.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`] of the writer.
    pub format: u32,
    /// What a call passes, in positional order.
    pub inputs: Vec<Input>,
    /// Graphs in the order in which they run.
    pub stages: Vec<Stage>,
    /// What `mm_predict` returns.
    pub prediction: Prediction,
    /// What `mm_embed` returns, if the model has a vector to give.
    pub embedding: Option<OutputRef>,
    /// The vectors of a model that puts texts and pictures into one space, by the input that each belongs to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joint: BTreeMap<String, OutputRef>,
    /// How its vectors are compared with those of labels, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<Matching>,
    /// The rows that an in-context model compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What `mm_explain` and `mm_reasons` need, if the package says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// Where the model runs, if that is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Box<Endpoint>>,
    /// Every file the model needs, by its path inside the package.
    pub files: BTreeMap<String, FileRecord>,
}

/// Size and content of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// One argument of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name in `mm_predict(model, {name: value})`.
    pub name: String,
    /// Whether NULL is passed to the model as absent; else NULL makes the result NULL.
    pub optional: bool,
    /// Whether a row may have several, as a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list: bool,
    /// What kind of column it takes.
    #[serde(flatten)]
    pub modality: Modality,
}

impl Input {
    /// One that must be there.
    pub(super) fn new(name: &str, modality: Modality) -> Self {
        Self { name: name.into(), optional: false, list: false, modality }
    }

    /// One that may be absent.
    pub(super) fn optional(name: &str, modality: Modality) -> Self {
        Self { optional: true, ..Self::new(name, modality) }
    }
}

/// Kinds of columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "modality", rename_all = "snake_case")]
pub enum Modality {
    /// One number a row.
    Number {
        /// Type in the graph.
        element: Element,
        /// What stands for an absent value: `"nan"` or a number.
        missing: Option<Missing>,
    },
    /// One string a row, passed to the graph as it is.
    Category {
        /// What stands for an absent value.
        missing: Option<Missing>,
    },
    /// A list of numbers of one length.
    Vector {
        /// Length of the list.
        width: usize,
        /// Type in the graph.
        element: Element,
    },
    /// Text that the package's tokenizer cuts.
    Text(TextSpec),
    /// A picture, by URI or as encoded bytes.
    Image(ImageSpec),
    /// Sound, by URI or as encoded bytes.
    Audio(AudioSpec),
    /// A list of measurements over time.
    Series(SeriesSpec),
    /// A video or animation, by URI or as encoded bytes.
    Video(VideoSpec),
    /// A picture of any size or a document with its pages, by URI or as bytes.
    Document,
    /// What a model that writes is asked: a text.
    Prompt,
}

impl Modality {
    /// One word for messages and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Number { .. } => "number",
            Self::Category { .. } => "category",
            Self::Vector { .. } => "vector",
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::Audio(_) => "audio",
            Self::Series(_) => "series",
            Self::Video(_) => "video",
            Self::Document => "document",
            Self::Prompt => "prompt",
        }
    }

    /// Whether its values are files or their bytes.
    pub fn is_media(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Audio(_) | Self::Video(_) | Self::Document)
    }
}

impl Modality {
    /// The word with its article, for sentences.
    pub fn article(&self) -> String {
        let name = self.name();
        if matches!(self, Self::Audio(_) | Self::Series(_)) {
            return name.to_string();
        }
        if name.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {name}") } else { format!("a {name}") }
    }
}

/// The stand-in for an absent value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Missing {
    /// A number.
    Number(f64),
    /// A string; for numbers only `"nan"`.
    Text(String),
}

/// What `mm_predict` makes of the outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Prediction {
    /// `{label, score, probabilities}`.
    Classification {
        /// Class names in the order of the scores.
        classes: ClassNames,
        /// Output that holds one score per class.
        scores: OutputRef,
        /// What turns scores into probabilities.
        activation: Activation,
        /// Output with the label that the graph itself chose, as ONNX-ML classifiers have.
        label: Option<OutputRef>,
    },
    /// One number.
    Regression {
        /// Output that holds it.
        value: OutputRef,
    },
    /// `{text, segments, language}`, written token by token.
    Transcript {
        /// How the decoder is steered.
        speech: Box<Speech>,
    },
    /// `[{text, score, page, box}]`, the lines of text in a picture.
    Lines {
        /// How they are found and read.
        ocr: Box<Ocr>,
    },
    /// `{score, seconds, segments}`, when somebody speaks.
    VoiceActivity {
        /// Frames and thresholds.
        activity: VoiceActivity,
    },
    /// `{text, finish_reason, tokens, logprob}`, written token by token.
    Text {
        /// How the model is asked, and how its tokens are chosen.
        generation: Box<Generation>,
    },
    /// A picture as PNG, drawn step by step.
    Picture {
        /// How it is drawn.
        diffusion: Box<Diffusion>,
    },
    /// A struct with a field per entry.
    Outputs {
        /// Field names and what fills them.
        fields: Vec<(String, OutputRef)>,
    },
}

impl Manifest {
    /// Whether a row whose value for `input` is NULL has no result: all but optional inputs, and of a model that writes, those too
    /// where the call names them, as what is asked about and is not there is nothing to answer without.
    pub fn needs(&self, input: &Input, is_given: bool) -> bool {
        !input.optional || (is_given && matches!(self.prediction, Prediction::Text { .. } | Prediction::Picture { .. }))
    }
}

impl Prediction {
    /// The task as listings name it.
    pub fn task(&self) -> &'static str {
        match self {
            Self::Classification { .. } => "classification",
            Self::Regression { .. } => "regression",
            Self::Picture { .. } => "text_to_image",
            Self::Transcript { .. } => "transcription",
            Self::Lines { .. } => "ocr",
            Self::VoiceActivity { .. } => "voice activity",
            Self::Text { .. } => "generation",
            Self::Outputs { .. } => "outputs",
        }
    }
}

/// Functions from scores to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// One class is right: `exp(x) / sum(exp(x))`.
    Softmax,
    /// Classes are independent, or there is one score for two classes: `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The scores are probabilities already.
    None,
}

impl Manifest {
    /// A model that is no joint one; its files are added when it is complete.
    pub(crate) fn new(inputs: Vec<Input>, stages: Vec<Stage>, prediction: Prediction, embedding: Option<OutputRef>) -> Self {
        Self {
            format: MANIFEST_FORMAT,
            inputs,
            stages,
            prediction,
            embedding,
            joint: BTreeMap::new(),
            matching: None,
            context: None,
            explanation: None,
            endpoint: None,
            files: BTreeMap::new(),
        }
    }

    /// SHA-256 over everything that decides the output, in hexadecimal: the digests of all files and each
    /// decision on preprocessing, pooling and labels.
    pub fn sha256(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex(&Sha256::digest(text))
    }

    /// SHA-256 over all that decides an answer, by which results are kept: [`Self::sha256`], but for endpoints.
    pub(crate) fn answers_sha256(&self) -> String {
        match &self.endpoint {
            None => self.sha256(),
            Some(endpoint) => Self { endpoint: Some(Box::new(endpoint.asked())), ..self.clone() }.sha256(),
        }
    }

    /// Whether a decoder writes the answers, token by token.
    pub(crate) fn writes(&self) -> bool {
        matches!(self.prediction, Prediction::Text { .. } | Prediction::Transcript { .. })
    }

    /// SHA-256 over the graphs and all files that they may read, in hexadecimal: the same for models that differ only in
    /// what is put in and taken out.
    pub(crate) fn graphs_sha256(&self) -> String {
        let graphs: Vec<&String> = self.stages.iter().map(|stage| &stage.graph).collect();
        hex(&Sha256::digest(serde_json::to_vec(&(graphs, &self.files)).unwrap_or_default()))
    }

    /// An estimate of what one row takes on one core before it was measured: the bytes of weights, times the tokens or
    /// pixels that each of them meets.
    pub fn estimated_row_time(&self) -> Duration {
        if let Some(endpoint) = &self.endpoint {
            return ANSWER_TIME / u32::try_from(endpoint.max_concurrency).unwrap_or(1).max(1);
        }
        let bytes: u64 = self.files.values().map(|file| file.bytes).sum();
        let times = |input: &Input| match &input.modality {
            Modality::Text(_) => 32,
            Modality::Prompt => 200,
            Modality::Image(_) => 200,
            // One that may be asked about videos is mostly asked about less.
            Modality::Video(_) if self.writes() => 1,
            Modality::Video(spec) => 200 * spec.frames as u64,
            Modality::Audio(_) => 500,
            Modality::Document => 2_000,
            Modality::Series(spec) => spec.steps.unwrap_or(100) as u64,
            _ => 1,
        };
        let met = bytes.max(1).saturating_mul(self.inputs.iter().map(times).max().unwrap_or(1));
        Duration::from_nanos(met.div_ceil(BYTES_PER_NANOSECOND))
    }

    /// The input called `name`.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// The stage called `name`.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The graph output behind `reference`.
    ///
    /// # Errors
    /// When the manifest contradicts itself.
    pub fn port(&self, reference: &OutputRef) -> Result<&Port> {
        let port = self.stage(&reference.stage).and_then(|stage| stage.outputs.iter().find(|port| port.name == reference.output));
        port.ok_or_else(|| Error::new(Kind::Package, format!("no output '{}' in graph '{}'", reference.output, reference.stage)))
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
