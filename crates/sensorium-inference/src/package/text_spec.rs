//! How a package wants text to be cut into tokens.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::source::read_json;
use crate::error::{Error, Kind, Result};

/// Tokenization of one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextSpec {
    /// Path of `tokenizer.json` in the package.
    pub tokenizer: String,
    /// Longer texts are cut to this many tokens, special tokens included.
    pub max_tokens: usize,
    /// Token that fills shorter texts of a batch.
    pub pad_token: u32,
    /// What every text is padded to, where the graph or the model's training wants that.
    pub fixed_tokens: Option<usize>,
    /// Whether padding leaves answers as they are, because the graph is told of it or never looks ahead; if not, only
    /// texts of equal length share a batch.
    pub masked: bool,
}

/// No tokenizer adds more than this to a text; a limit must leave room beside them.
const SPECIAL_TOKENS: usize = 4;
/// A `model_max_length` above this is Hugging Face's way to say that none is known.
const NO_LENGTH: u64 = 1_000_000;

impl TextSpec {
    /// Reads `tokenizer.json` and the length limits beside it in `folder`, as sentence-transformers and transformers do:
    /// `sentence_bert_config.json`, then `tokenizer_config.json`, then the tokenizer's own truncation, then the
    /// model's number of positions.
    pub(crate) fn from_folder(root: &Path, folder: &str, max_tokens: Option<usize>) -> Result<Self> {
        let file = |name: &str| if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") };
        let tokenizer = file("tokenizer.json");
        if !root.join(&tokenizer).is_file() {
            return Err(Error::new(Kind::Package, format!("text model without a tokenizer: {tokenizer} is missing")).with_hint(
                "export the tokenizer as `tokenizer.json` (the fast format), or name it in `sensorium.toml` with `tokenizer = \"...\"`",
            ));
        }
        let json = |name: &str| read_json(&root.join(file(name)));
        let (tokens, config) = (json("tokenizer.json")?.unwrap_or_default(), json("config.json")?.unwrap_or_default());
        let positions = [&config, &config["text_config"]].iter().find_map(|config| config["max_position_embeddings"].as_u64());
        let declared = json("sentence_bert_config.json")?
            .and_then(|value| value["max_seq_length"].as_u64())
            .or(json("tokenizer_config.json")?.and_then(|value| value["model_max_length"].as_u64()).filter(|length| *length < NO_LENGTH))
            .or_else(|| tokens["truncation"]["max_length"].as_u64())
            .or(positions)
            .and_then(|length| usize::try_from(length).ok());
        let limit = [max_tokens, declared].into_iter().flatten().min();
        let Some(max_tokens) = limit.filter(|length| *length > SPECIAL_TOKENS) else {
            return Err(Error::new(
                Kind::Package,
                format!("unknown length limit: nothing beside {tokenizer} says how many tokens the model takes"),
            )
            .with_hint(
                "write `max_tokens = 512` under the input in `sensorium.toml`, or add `model_max_length` to tokenizer_config.json",
            ));
        };
        // Masked padding only has to exist.
        let pad_token = pad_token(&tokens, &config, &json("tokenizer_config.json")?.unwrap_or_default()).unwrap_or(0);
        Ok(Self { tokenizer, max_tokens, pad_token, fixed_tokens: None, masked: true })
    }

    /// The token that fills shorter texts, where the files in `folder` name one.
    pub(crate) fn known_pad_token(root: &Path, folder: &str) -> Result<Option<u32>> {
        let json = |name: &str| read_json(&root.join(folder).join(name)).map(Option::unwrap_or_default);
        Ok(pad_token(&json("tokenizer.json")?, &json("config.json")?, &json("tokenizer_config.json")?))
    }
}

/// From the tokenizer's own padding, the model's configuration, or the name of the token in `tokenizer_config.json`, whose
/// number the tokenizer knows.
fn pad_token(tokenizer: &Value, config: &Value, tokenizer_config: &Value) -> Option<u32> {
    let of_config = || [config, &config["text_config"]].iter().find_map(|config| config["pad_token_id"].as_u64());
    let by_name = || {
        let name = &tokenizer_config["pad_token"];
        let name = name.as_str().or(name["content"].as_str())?;
        let added = tokenizer["added_tokens"].as_array()?;
        added.iter().find(|token| token["content"] == name)?["id"].as_u64()
    };
    let id = tokenizer["padding"]["pad_id"].as_u64().or_else(of_config).or_else(by_name)?;
    u32::try_from(id).ok()
}
