//! Text to tokens, by the package's own tokenizer.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationParams};

use crate::error::{Error, Kind, Result};
use crate::execute::Limits;
use crate::package::TextSpec;

/// A loaded tokenizer, set to truncate as the package says and to pad nothing.
#[derive(Debug)]
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
}

/// One text, cut: ids and segments of equal length, special tokens included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    pub(crate) segments: Vec<u32>,
}

/// A tokenizer that turns tokens into text.
#[derive(Debug)]
pub(crate) struct TextDecoder {
    tokenizer: Tokenizer,
}

fn unreadable(file: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Package, format!("cannot read {file}: {error}")).with_hint("export the tokenizer again as tokenizer.json")
}

impl TextDecoder {
    pub(crate) fn load(folder: &Path, file: &str) -> Result<Self> {
        Tokenizer::from_file(folder.join(file)).map(|tokenizer| Self { tokenizer }).map_err(|error| unreadable(file, &error))
    }

    /// The text of `ids`, without the tokens that steer.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|error| Error::new(Kind::Model, format!("tokens cannot be read: {error}")))
    }
}

impl TextEncoder {
    pub(crate) fn load(folder: &Path, spec: &TextSpec) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| unreadable(&spec.tokenizer, error);
        let mut tokenizer = Tokenizer::from_file(folder.join(&spec.tokenizer)).map_err(|error| failed(&error))?;
        let truncation = TruncationParams { max_length: spec.max_tokens, ..tokenizer.get_truncation().cloned().unwrap_or_default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| failed(&error))?;
        // Batches are padded to their own longest text when they are cut.
        tokenizer.with_padding(None);
        Ok(Self { tokenizer })
    }

    pub(crate) fn encode(&self, text: &str, limits: &Limits) -> Result<Tokens> {
        if text.len() > limits.max_text_bytes {
            return Err(Error::new(Kind::Limit, format!("{} bytes of text are over the limit of {}", text.len(), limits.max_text_bytes))
                .with_hint("SET mm.max_text_bytes"));
        }
        let encoding =
            self.tokenizer.encode_fast(text, true).map_err(|error| Error::new(Kind::Media, format!("cannot be tokenized: {error}")))?;
        if encoding.is_empty() {
            return Err(Error::new(Kind::Media, "the tokenizer gives no token for this text"));
        }
        Ok(Tokens { ids: encoding.get_ids().to_vec(), segments: encoding.get_type_ids().to_vec() })
    }
}
