//! Models that write text: what their decoder is given and how its tokens are chosen.
//!
//! Names and meanings are those of transformers' `GenerationConfig`
//! (<https://huggingface.co/docs/transformers/main_classes/text_generation>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};
use crate::json_schema::check_schema;

/// How a model that writes text is asked, and how its answer is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Path of `tokenizer.json` in the package.
    pub tokenizer: String,
    /// How a conversation becomes one text; without, a prompt is continued as it is.
    pub chat: Option<Chat>,
    /// Token that a text begins with of which nothing is given.
    pub start: Option<u32>,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    /// Tokens of a row at most, prompt included.
    pub max_positions: usize,
    /// Whether rows of different lengths may share a batch, the shorter ones filled up at their front: only a graph that is told of
    /// places and of what is filled up gives the same answers then.
    pub is_padded: bool,
    /// What stands for media in the text that the model sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MediaMarker>,
    /// Tokens that stand before all others where another graph has read the prompt or a picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<u32>,
    /// Whether spaces before signs and parts of words are taken out of answers, as transformers' `clean_up_tokenization` does it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cleans_up: bool,
    /// Who reads the prompt.
    #[serde(default, skip_serializing_if = "Reader::is_decoder")]
    pub reader: Reader,
    /// How tokens are chosen.
    pub rules: Rules,
}

/// The graph that reads a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// The one that goes on from it.
    #[default]
    Decoder,
    /// One of its own, whose states the decoder looks at.
    Encoder,
}

impl Reader {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_decoder(&self) -> bool {
        *self == Self::Decoder
    }
}

/// How a medium comes into a prompt: a marker in the text becomes as many tokens as the medium has vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaMarker {
    /// The model's input.
    pub input: String,
    /// What stands for it in a text: `<image>`.
    pub text: String,
    /// The same as a token.
    pub token: u32,
    /// Type of the part of a message: `image` or `audio`.
    pub part: String,
    /// Vectors of one medium; one where the decoder looks at media besides its tokens.
    pub tokens: usize,
    /// Texts that are put before and behind its tokens.
    pub around: (String, String),
    /// Whether what is behind one is before its neighbour as well, and spaces around it are taken away, as Idefics has it.
    pub shares_borders: bool,
}

/// A chat template, as transformers' `apply_chat_template` renders it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// In the language of Jinja.
    pub template: String,
    /// Tokens that the template may name: `bos_token`, `eos_token`, ..
    pub tokens: BTreeMap<String, String>,
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Tokens that are written at most.
    pub max_tokens: usize,
    /// No end before so many.
    pub min_tokens: usize,
    /// Texts that are pursued at once; 1 for none but the likeliest token.
    pub beams: usize,
    /// Exponent of the length by which the score of a text is divided, with beams.
    pub length_penalty: f64,
    /// When beams are done.
    pub early_stopping: EarlyStopping,
    /// Scores of tokens that are there already are divided by it, negative ones multiplied.
    pub repetition_penalty: f64,
    /// No sequence of so many tokens occurs twice; 0 for any.
    pub no_repeat_ngram_size: usize,
    /// Whether scores are made probabilities anew after the rules, which beams add up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renormalizes: bool,
    /// Tokens that are never written.
    pub suppressed: Vec<u32>,
    /// Tokens that no text begins with.
    pub suppressed_at_start: Vec<u32>,
    /// Sequences of tokens that are never written.
    pub bad_words: Vec<Vec<u32>>,
    /// Token that is always written first.
    pub forced_first: Option<u32>,
    /// Token that is written where the text is as long as it may be.
    pub forced_last: Option<u32>,
    /// Whether chance has its part; else the likeliest token is written.
    pub is_drawn: bool,
    /// How.
    pub drawing: Drawing,
    /// Texts that end the text; they are no part of it.
    pub stop: Vec<String>,
    /// What a conversation begins with, where the prompt has no such message.
    pub system: Option<String>,
    /// Answers are JSON of this schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Value>,
    /// The answers that there are, whose likelihoods are wanted in place of a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// When beam search ends, as transformers' `early_stopping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// As soon as there are as many texts as beams.
    Yes,
    /// When no better text is likely.
    No,
    /// When no better text is possible.
    Never,
}

/// From which tokens the next one is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    /// Scores are divided by it.
    pub temperature: f64,
    /// Of the likeliest so many; 0 for all.
    pub top_k: usize,
    /// Of the likeliest that together have this probability.
    pub top_p: f64,
    /// Of those that are at least so likely as the likeliest times this.
    pub min_p: f64,
    /// The same number draws the same tokens for the same prompt.
    pub seed: u64,
}

/// Where neither the model nor the call says it.
const MAX_TOKENS: usize = 256;
/// Of transformers, for models that draw.
const TOP_K: usize = 50;
/// More are not kept in memory.
const MAX_BEAMS: usize = 64;
/// Stop texts of a call.
const MAX_STOPS: usize = 64;
/// Labels of a call, each of which takes a cache of its own.
const MAX_LABELS: usize = 256;

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_tokens: MAX_TOKENS,
            min_tokens: 0,
            beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            renormalizes: false,
            suppressed: Vec::new(),
            suppressed_at_start: Vec::new(),
            bad_words: Vec::new(),
            forced_first: None,
            forced_last: None,
            is_drawn: false,
            drawing: Drawing::default(),
            stop: Vec::new(),
            system: None,
            json_schema: None,
            labels: Vec::new(),
        }
    }
}

impl Default for Drawing {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: TOP_K, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

/// Settings of `generation_config.json` that change what is written and are not carried out here, with the values at which they do
/// nothing.
const UNKNOWN_RULES: [(&str, &[f64]); 19] = [
    ("typical_p", &[1.0]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("encoder_repetition_penalty", &[1.0]),
    ("encoder_no_repeat_ngram_size", &[0.0]),
    ("diversity_penalty", &[0.0]),
    ("num_beam_groups", &[1.0]),
    ("penalty_alpha", &[0.0]),
    ("guidance_scale", &[1.0]),
    ("sequence_bias", &[]),
    ("exponential_decay_length_penalty", &[]),
    ("watermarking_config", &[]),
    ("constraints", &[]),
    ("force_words_ids", &[]),
    ("dola_layers", &[]),
    ("max_time", &[]),
    ("min_length", &[0.0]),
    ("remove_invalid_values", &[]),
    ("token_healing", &[]),
];

impl Rules {
    /// Reads `generation_config.json`.
    ///
    /// # Errors
    /// [`Kind::Package`] for a rule that is not carried out here.
    ///
    /// `first` is the number of tokens before all others, of models whose prompt another graph reads: lengths are counted from them.
    pub(super) fn read(config: &Value, first: Option<usize>) -> Result<Self> {
        let is_known = |name: &str| name == "min_length" && first.is_some();
        for (name, idle) in UNKNOWN_RULES.into_iter().filter(|(name, _)| !is_known(name)) {
            let value = &config[name];
            if !value.is_null() && *value != Value::Bool(false) && value.as_f64().is_none_or(|value| !idle.contains(&value)) {
                return Err(Error::new(
                    Kind::Package,
                    format!("generation_config.json has a rule that is not carried out here: {name} = {value}"),
                )
                .with_hint("take it out of the file, if the model may do without"));
            }
        }
        let number = |name: &str, default: f64| config[name].as_f64().unwrap_or(default);
        let count = |name: &str| config[name].as_u64().and_then(|count| usize::try_from(count).ok());
        let length = |name: &str| Some(count(name)?.saturating_sub(first?));
        let own = Self::default();
        let drawing = Drawing::default();
        Ok(Self {
            max_tokens: count("max_new_tokens").or_else(|| length("max_length")).unwrap_or(own.max_tokens),
            min_tokens: count("min_new_tokens").or_else(|| length("min_length")).unwrap_or(0),
            beams: count("num_beams").unwrap_or(1).max(1),
            length_penalty: number("length_penalty", 1.0),
            early_stopping: match &config["early_stopping"] {
                Value::Bool(true) => EarlyStopping::Yes,
                Value::String(never) if never == "never" => EarlyStopping::Never,
                _ => EarlyStopping::No,
            },
            repetition_penalty: number("repetition_penalty", 1.0),
            no_repeat_ngram_size: count("no_repeat_ngram_size").unwrap_or(0),
            renormalizes: config["renormalize_logits"] == Value::Bool(true),
            suppressed: tokens(&config["suppress_tokens"]),
            suppressed_at_start: tokens(&config["begin_suppress_tokens"]),
            bad_words: config["bad_words_ids"].as_array().into_iter().flatten().map(tokens).collect(),
            forced_first: tokens(&config["forced_bos_token_id"]).first().copied(),
            forced_last: tokens(&config["forced_eos_token_id"]).first().copied(),
            drawing: Drawing {
                temperature: number("temperature", drawing.temperature),
                // Written out as null it means none.
                top_k: if config.get("top_k").is_some_and(Value::is_null) { 0 } else { count("top_k").unwrap_or(drawing.top_k) },
                top_p: number("top_p", drawing.top_p),
                min_p: number("min_p", drawing.min_p),
                seed: drawing.seed,
            },
            is_drawn: config["do_sample"] == Value::Bool(true),
            stop: texts(&config["stop_strings"]),
            system: None,
            json_schema: None,
            labels: Vec::new(),
        })
        .and_then(Self::checked)
    }

    /// The rules by which the likelihoods of `labels` are found.
    ///
    /// # Errors
    /// [`Kind::Argument`] for none, too many, or one that is empty or there twice.
    pub(crate) fn with_labels(&self, labels: &[Value]) -> Result<Self> {
        const HINT: &str = "name each label once: ['good', 'bad']";
        let refuse = |what: String| Error::new(Kind::Argument, what).with_hint(HINT);
        if labels.is_empty() || labels.len() > MAX_LABELS {
            return Err(refuse(format!("{} labels: a generative model tells 1 to {MAX_LABELS} apart", labels.len())));
        }
        let mut own: Vec<String> = Vec::with_capacity(labels.len());
        for label in labels {
            let text = label.as_str().filter(|label| !label.trim().is_empty());
            let text = text.ok_or_else(|| refuse(format!("a label that is no text: {label}")))?;
            if own.iter().any(|known| known == text) {
                return Err(refuse(format!("label '{text}' twice")));
            }
            own.push(text.to_string());
        }
        let idle = Self::default();
        Ok(Self { labels: own, beams: 1, is_drawn: false, json_schema: None, stop: Vec::new(), drawing: idle.drawing, ..self.clone() })
    }

    /// The rules with what a call says, as [`Rules::OPTIONS`] names it.
    ///
    /// # Errors
    /// [`Kind::Argument`] for an unknown name, or a value that makes no sense.
    pub fn with_options(&self, options: &Map<String, Value>) -> Result<Self> {
        let mut own = self.clone();
        for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            let wrong =
                |wanted: &str| Error::new(Kind::Argument, format!("{name}: not a usable value: {value}")).with_hint(wanted.to_string());
            let number = |wanted: &str| value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| wrong(wanted));
            let count = |wanted: &str| value.as_u64().and_then(|count| usize::try_from(count).ok()).ok_or_else(|| wrong(wanted));
            match name.as_str() {
                "max_tokens" => own.max_tokens = count("a number of tokens from 1")?,
                "min_tokens" => own.min_tokens = count("a number of tokens")?,
                "beams" => own.beams = count("a number from 1 to 64")?,
                "length_penalty" => own.length_penalty = number("a number")?,
                "early_stopping" => own.early_stopping = early_stopping(value).ok_or_else(|| wrong("true, false or 'never'"))?,
                "repetition_penalty" => own.repetition_penalty = number("a number above 0")?,
                "no_repeat_ngram_size" => own.no_repeat_ngram_size = count("a number of tokens")?,
                "temperature" => {
                    let temperature = number("a number from 0")?;
                    own.is_drawn = temperature != 0.0;
                    if own.is_drawn {
                        own.drawing.temperature = temperature;
                    }
                }
                "top_k" => own.drawing.top_k = count("a number of tokens, 0 for all")?,
                "top_p" => own.drawing.top_p = number("a number above 0, up to 1")?,
                "min_p" => own.drawing.min_p = number("a number from 0 to 1")?,
                "seed" => own.drawing.seed = value.as_u64().ok_or_else(|| wrong("a number from 0"))?,
                "stop" => own.stop = stop_texts(value).ok_or_else(|| wrong("a text or a list of texts"))?,
                "system" => own.system = Some(value.as_str().ok_or_else(|| wrong("a text"))?.to_string()),
                "json_schema" => own.json_schema = Some(schema(value).ok_or_else(|| wrong("a JSON Schema, as a text or a struct"))?),
                unknown => {
                    return Err(Error::new(Kind::Argument, format!("unknown option of a generative model: {unknown}")).with_nearest(
                        unknown,
                        Self::OPTIONS,
                        "its options",
                    ));
                }
            }
        }
        let is_idle = |name: &&&str| !own.is_drawn && options.get(**name).is_some_and(|value| !value.is_null());
        if let Some(name) = ["seed", "top_k", "top_p", "min_p"].iter().find(is_idle) {
            return Err(Error::new(Kind::Argument, format!("{name} has no effect: nothing is drawn")).with_hint("add temperature: 1.0"));
        }
        own.checked()
    }

    /// Names of the options of a call.
    pub const OPTIONS: [&'static str; 16] = [
        "max_tokens",
        "min_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "seed",
        "stop",
        "system",
        "beams",
        "length_penalty",
        "early_stopping",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "json_schema",
        // No rule of tokens: it goes to the model's input of videos.
        "frames",
    ];

    fn checked(self) -> Result<Self> {
        let refuse = |what: String, hint: &str| Err(Error::new(Kind::Argument, what).with_hint(hint.to_string()));
        if self.max_tokens == 0 {
            return refuse("max_tokens = 0 writes nothing".into(), "a number of tokens from 1");
        }
        if self.beams == 0 || self.beams > MAX_BEAMS {
            return refuse(format!("{} beams", self.beams), "a number from 1 to 64");
        }
        if self.repetition_penalty <= 0.0 {
            return refuse(format!("repetition_penalty = {}", self.repetition_penalty), "a number above 0; 1 changes nothing");
        }
        if self.stop.len() > MAX_STOPS || self.stop.iter().any(String::is_empty) {
            return refuse("stop: an empty text, or more than 64 texts".into(), "name the texts that end the answer");
        }
        if let Some(schema) = &self.json_schema {
            if self.beams > 1 || !self.stop.is_empty() {
                return refuse("json_schema beside beams or stop texts".into(), "an answer of a schema ends by itself: beams: 1, no stop");
            }
            check_schema(schema)?;
        }
        if self.is_drawn {
            let Drawing { temperature, top_p, min_p, .. } = self.drawing;
            // In single precision, as scores are.
            if temperature as f32 <= 0.0 {
                return refuse(format!("temperature = {temperature}"), "a number from 0; 0 writes the likeliest token");
            }
            let are_shares = top_p > 0.0 && top_p <= 1.0 && (0.0..=1.0).contains(&min_p);
            if !are_shares {
                return refuse(format!("top_p = {top_p}, min_p = {min_p}"), "top_p above 0 up to 1, min_p from 0 to 1");
            }
            if self.beams > 1 {
                return refuse(
                    format!("{} beams that are drawn", self.beams),
                    "beams take the likeliest texts: beams: 1 or temperature: 0 beside them",
                );
            }
        }
        Ok(self)
    }
}

/// A schema that is written out, or a text of one.
fn schema(value: &Value) -> Option<Value> {
    let schema = match value {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    schema.is_object().then_some(schema)
}

fn early_stopping(value: &Value) -> Option<EarlyStopping> {
    match value {
        Value::Bool(true) => Some(EarlyStopping::Yes),
        Value::Bool(false) => Some(EarlyStopping::No),
        Value::String(never) if never == "never" => Some(EarlyStopping::Never),
        _ => None,
    }
}

fn stop_texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(_) => Some(texts(value)),
        Value::Array(items) if items.iter().all(Value::is_string) => Some(texts(value)),
        _ => None,
    }
}

/// A text or a list of texts.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        _ => Vec::new(),
    }
}

/// A token or a list of tokens.
pub(super) fn tokens(value: &Value) -> Vec<u32> {
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    match value {
        Value::Array(items) => items.iter().filter_map(token).collect(),
        value => token(value).into_iter().collect(),
    }
}
