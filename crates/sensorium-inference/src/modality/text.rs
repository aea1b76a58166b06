//! Text to tokens, by the package's own tokenizer.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
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

/// A tokenizer that turns tokens into text, and texts into all of their tokens.
pub(crate) struct TextCodec {
    tokenizer: Tokenizer,
    /// The bytes of all tokens, once somebody asks for them.
    bytes: OnceLock<Result<TokTrie>>,
}

impl fmt::Debug for TextCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextCodec").finish_non_exhaustive()
    }
}

fn unreadable(file: &str, error: &dyn fmt::Display) -> Error {
    Error::new(Kind::Package, format!("cannot read {file}: {error}")).with_hint("export the tokenizer again as tokenizer.json")
}

/// Refuses a text that is longer than `mm.max_text_bytes`.
pub(crate) fn check_length(text: &str, limits: &Limits) -> Result<()> {
    if text.len() <= limits.max_text_bytes {
        return Ok(());
    }
    Err(Error::new(Kind::Limit, format!("{} bytes of text are over the limit of {}", text.len(), limits.max_text_bytes))
        .with_hint("SET mm.max_text_bytes"))
}

fn untokenizable(error: &dyn fmt::Display) -> Error {
    Error::new(Kind::Media, format!("cannot be tokenized: {error}"))
}

impl TextCodec {
    pub(crate) fn load(folder: &Path, file: &str) -> Result<Self> {
        let failed = |error: &dyn fmt::Display| unreadable(file, error);
        let mut tokenizer = Tokenizer::from_file(folder.join(file)).map_err(|error| failed(&error))?;
        tokenizer.with_truncation(None).map_err(|error| failed(&error))?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, bytes: OnceLock::new() })
    }

    /// The tokens as bytes, for texts of a grammar; `ends` are those that end a text.
    pub(crate) fn constrained(&self, ends: &[u32]) -> Result<TokEnv> {
        let trie = self.bytes.get_or_init(|| self.trie()).as_ref().map_err(Clone::clone)?;
        let known: Vec<u32> = ends.iter().copied().filter(|end| (*end as usize) < trie.vocab_size()).collect();
        let trie = if known.is_empty() { trie.clone() } else { trie.with_eos_tokens(&known) };
        Ok(Arc::new(ApproximateTokEnv::new(trie)))
    }

    fn trie(&self) -> Result<TokTrie> {
        let failed = |error: &dyn fmt::Display| {
            Error::new(Kind::Package, format!("the tokenizer's tokens are not known as bytes, which json_schema needs: {error}"))
        };
        let text = self.tokenizer.to_string(false).map_err(|error| failed(&error))?;
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        // It has no errors for vocabularies that it does not know, but panics.
        let read = || {
            let words = llguidance::token_bytes_from_tokenizer_json(&json)?;
            Ok::<_, tokenizers::Error>(TokTrie::from(&TokRxInfo::new(words.len() as u32, 0), &words))
        };
        match std::panic::catch_unwind(read) {
            Ok(trie) => trie.map_err(|error| failed(&error)),
            Err(_) => Err(failed(&"a vocabulary of another kind")),
        }
    }

    /// The token that is written so, ends and other tokens that steer included.
    pub(crate) fn token(&self, text: &str) -> Option<u32> {
        self.tokenizer.get_added_tokens_decoder().iter().find(|(_, token)| token.content == text).map(|(id, _)| *id)
    }

    /// Tokens that there are.
    pub(crate) fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The tokens of a text, with those that the tokenizer puts around it where `is_framed`.
    pub(crate) fn encode(&self, text: &str, is_framed: bool, limits: &Limits) -> Result<Vec<u32>> {
        check_length(text, limits)?;
        let encoding = self.tokenizer.encode_fast(text, is_framed);
        encoding.map(|encoding| encoding.get_ids().to_vec()).map_err(|error| untokenizable(&error))
    }

    /// The text of `ids`, without the tokens that steer.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|error| Error::new(Kind::Model, format!("tokens cannot be read: {error}")))
    }
}

impl TextEncoder {
    pub(crate) fn load(folder: &Path, spec: &TextSpec) -> Result<Self> {
        let failed = |error: &dyn fmt::Display| unreadable(&spec.tokenizer, error);
        let mut tokenizer = Tokenizer::from_file(folder.join(&spec.tokenizer)).map_err(|error| failed(&error))?;
        let truncation = TruncationParams { max_length: spec.max_tokens, ..tokenizer.get_truncation().cloned().unwrap_or_default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| failed(&error))?;
        // Batches are padded to their own longest text when they are cut.
        tokenizer.with_padding(None);
        Ok(Self { tokenizer })
    }

    pub(crate) fn encode(&self, text: &str, limits: &Limits) -> Result<Tokens> {
        check_length(text, limits)?;
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| untokenizable(&error))?;
        if encoding.is_empty() {
            return Err(Error::new(Kind::Media, "the tokenizer gives no token for this text"));
        }
        Ok(Tokens { ids: encoding.get_ids().to_vec(), segments: encoding.get_type_ids().to_vec() })
    }
}
