//! A text that was written, and the column of them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int32Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use crate::error::{Error, Kind, Result};
use crate::modality::TextCodec;
use crate::package::Generation;

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// The model ended it, or a stop text did.
    Stop,
    /// It is as long as it may be.
    Length,
}

/// What a row is answered with.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A text.
    Text(Written),
    /// How likely each label is.
    Probabilities(Vec<f32>),
}

/// A row's answer.
#[derive(Debug)]
pub(in super::super) struct Written {
    text: String,
    finish: Cow<'static, str>,
    tokens: Option<usize>,
    logprob: Option<f64>,
}

impl Written {
    /// The text of `tokens`, without what ended it.
    pub(super) fn new(tokens: &[u32], logprob: f64, finish: Finish, generation: &Generation, codec: &TextCodec) -> Result<Self> {
        let own = tokens.iter().position(|token| generation.ends.contains(token)).unwrap_or(tokens.len());
        let mut text = codec.decode(&tokens[..own])?;
        if let Some(end) = generation.rules.stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(end);
        }
        if generation.cleans_up && generation.rules.json_schema.is_none() {
            text = cleaned(text);
        }
        if generation.rules.json_schema.is_some() {
            // A schema allows numbers that no reader has room for.
            serde_json::from_str::<serde_json::Value>(&text)
                .map_err(|error| Error::new(Kind::Model, format!("an answer of json_schema that cannot be read: {error}")))?;
        }
        let finish = match finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
        };
        Ok(Self { text, finish: finish.into(), tokens: Some(own), logprob: Some(logprob) })
    }

    /// A text that another machine has written.
    pub(in super::super) fn answered(text: String, finish: String, tokens: Option<usize>, logprob: Option<f64>) -> Self {
        Self { text, finish: finish.into(), tokens, logprob }
    }
}

/// As transformers' `PreTrainedTokenizerBase.clean_up_tokenization`.
fn cleaned(text: String) -> String {
    const PAIRS: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    PAIRS.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// `{text, finish_reason, tokens, logprob}`.
pub(in super::super) fn text_fields() -> Fields {
    Fields::from(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("finish_reason", DataType::Utf8, true),
        Field::new("tokens", DataType::Int32, true),
        Field::new("logprob", DataType::Float64, true),
    ])
}

/// The column; NULL where there is no text.
pub(in super::super) fn assemble(texts: &[Option<Written>]) -> Result<ArrayRef> {
    let (mut text, mut finish) = (StringBuilder::new(), StringBuilder::new());
    let (mut tokens, mut logprob) = (Int32Builder::new(), Float64Builder::new());
    for written in texts {
        let written = written.as_ref();
        text.append_option(written.map(|written| written.text.as_str()));
        finish.append_option(written.map(|written| &*written.finish));
        tokens.append_option(written.and_then(|written| i32::try_from(written.tokens?).ok()));
        logprob.append_option(written.and_then(|written| written.logprob));
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(text.finish()), Arc::new(finish.finish()), Arc::new(tokens.finish()), Arc::new(logprob.finish())];
    let present = texts.iter().map(Option::is_some).collect::<NullBuffer>();
    StructArray::try_new(text_fields(), columns, Some(present))
        .map(|column| Arc::new(column) as ArrayRef)
        .map_err(|error| Error::new(Kind::Model, format!("texts cannot be put together: {error}")))
}
