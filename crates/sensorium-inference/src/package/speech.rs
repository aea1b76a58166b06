//! Models that write down what is said: the tokens that steer their decoder.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::import::ImportOptions;
use crate::error::{Error, Kind, Result};

/// How a speech model is asked, and how its answer is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speech {
    /// Path of `tokenizer.json` in the package.
    pub tokenizer: String,
    /// Token that begins every text.
    pub start: u32,
    /// Token that ends it.
    pub end: u32,
    /// Tokens of the languages it knows, by their codes; none for a model of one language.
    pub languages: BTreeMap<String, u32>,
    /// What is spoken; `None` has each clip's language detected.
    pub language: Option<String>,
    /// Token of the task, which models of one language do not have.
    pub task: Option<u32>,
    /// Whether texts come in segments with times. Without, no clip may be longer than a window.
    pub timestamps: bool,
    /// Token that stands for "without times"; times begin behind it, 20 ms each.
    pub no_timestamps: u32,
    /// Latest time at which a window may begin, in steps of 20 ms.
    pub max_initial_timestamp: Option<u32>,
    /// Tokens that are never written.
    pub suppressed: Vec<u32>,
    /// Tokens that no text begins with.
    pub suppressed_at_start: Vec<u32>,
    /// Tokens of a window at most, those that steer included.
    pub max_tokens: usize,
}

/// A setting without which nothing can be written down.
fn missing(key: &str) -> Error {
    Error::new(Kind::Package, format!("speech model that cannot be steered: generation_config.json does not say '{key}'"))
        .with_hint("export the model with its generation_config.json")
}

fn token(config: &Value, key: &str) -> Option<u32> {
    config[key].as_u64().and_then(|token| u32::try_from(token).ok())
}

fn tokens(config: &Value, key: &str) -> Vec<u32> {
    let list = config[key].as_array().into_iter().flatten();
    // -1 is an old way to say "the usual ones"; those stand in the file as well where they count.
    list.filter_map(Value::as_u64).filter_map(|token| u32::try_from(token).ok()).collect()
}

impl Speech {
    /// Reads `generation_config.json`, as transformers' `WhisperForConditionalGeneration.generate` does, and what OPTIONS say.
    pub(super) fn read(generation: &Value, config: &Value, options: &ImportOptions) -> Result<Self> {
        let languages: BTreeMap<String, u32> = generation["lang_to_id"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, id)| Some((name.trim_matches(['<', '|', '>']).to_string(), u32::try_from(id.as_u64()?).ok()?)))
            .collect();
        let start = token(generation, "decoder_start_token_id").or_else(|| token(config, "decoder_start_token_id"));
        let end = token(generation, "eos_token_id").or_else(|| token(config, "eos_token_id"));
        let positions = config["max_target_positions"]
            .as_u64()
            .ok_or_else(|| Error::new(Kind::Package, "speech model of unknown length: config.json does not say 'max_target_positions'"))?;
        let own = Self {
            tokenizer: "tokenizer.json".into(),
            start: start.ok_or_else(|| missing("decoder_start_token_id"))?,
            end: end.ok_or_else(|| missing("eos_token_id"))?,
            task: None,
            language: None,
            languages,
            timestamps: options.timestamps.unwrap_or(true),
            no_timestamps: token(generation, "no_timestamps_token_id").ok_or_else(|| missing("no_timestamps_token_id"))?,
            max_initial_timestamp: token(generation, "max_initial_timestamp_index"),
            suppressed: tokens(generation, "suppress_tokens"),
            suppressed_at_start: tokens(generation, "begin_suppress_tokens"),
            max_tokens: usize::try_from(positions).unwrap_or(0),
        };
        let language = own.language_of(options.language.as_deref())?;
        let task = own.task_of(generation, options.task.as_deref())?;
        Ok(Self { language, task, ..own })
    }

    fn language_of(&self, asked: Option<&str>) -> Result<Option<String>> {
        match asked {
            Some(_) if self.languages.is_empty() => {
                Err(Error::new(Kind::Setting, "option language has no effect: the model knows one language")
                    .with_hint("leave the option out"))
            }
            Some(language) if !self.languages.contains_key(language) => {
                let names = self.languages.keys().map(String::as_str);
                Err(Error::new(Kind::Setting, format!("language: the model does not know '{language}'")).with_nearest(
                    language,
                    names,
                    "languages",
                ))
            }
            asked => Ok(asked.map(str::to_string)),
        }
    }

    fn task_of(&self, generation: &Value, asked: Option<&str>) -> Result<Option<u32>> {
        let tasks = &generation["task_to_id"];
        match asked {
            Some(wrong) if !["transcribe", "translate"].contains(&wrong) => {
                Err(Error::new(Kind::Setting, format!("task: not one of a speech model: '{wrong}'"))
                    .with_hint("'transcribe' writes what is said, 'translate' writes it in English"))
            }
            Some("translate") if self.languages.is_empty() => {
                Err(Error::new(Kind::Setting, "task = 'translate': the model knows one language"))
            }
            _ if self.languages.is_empty() => Ok(None),
            asked => {
                let name = asked.unwrap_or("transcribe");
                token(tasks, name).map(Some).ok_or_else(|| missing(&format!("task_to_id.{name}")))
            }
        }
    }

    /// The tokens that ask for a text in `language`.
    pub(crate) fn prompt(&self, language: Option<&str>) -> Vec<u32> {
        let language = language.and_then(|language| self.languages.get(language)).copied();
        let without_times = (!self.timestamps).then_some(self.no_timestamps);
        [Some(self.start), language, self.task, without_times].into_iter().flatten().collect()
    }

    /// Token of time 0.
    pub(crate) fn first_timestamp(&self) -> u32 {
        self.no_timestamps + 1
    }
}
