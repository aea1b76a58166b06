//! A prompt as the tokens that the model reads.

use std::borrow::Cow;

use arrow::array::{AsArray, LargeStringArray, StringArray};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::error::{Error, Kind, Result};
use crate::execute::Limits;
use crate::execute::encode::Work;
use crate::execute::generate::markers;
use crate::modality::{Column, TextCodec, check_length};
use crate::package::{Chat, Generation, Modality, Reader};

/// Steps that a template may take for one prompt: one that never ends is an error.
const FUEL: u64 = 10_000_000;

/// What turns prompts into tokens.
#[derive(Debug)]
pub(super) struct Prompts<'a> {
    generation: &'a Generation,
    codec: &'a TextCodec,
    template: Option<Environment<'a>>,
}

const NAME: &str = "chat";

/// What a row asks.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Prompt<'a> {
    /// Nothing but its media.
    Nothing,
    /// A text.
    Text(&'a str),
    /// A list of messages, as JSON.
    Conversation(&'a str),
}

impl Prompt<'_> {
    /// Refuses what is longer than `mm.max_text_bytes`.
    pub(in super::super) fn check_length(&self, limits: &Limits) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Text(text) | Self::Conversation(text) => check_length(text, limits),
        }
    }
}

/// The prompt of each row.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PromptColumn<'a> {
    column: &'a Column,
    prompts: Texts<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Texts<'a> {
    Plain(&'a StringArray),
    Conversations(&'a LargeStringArray),
}

/// The tokens of a prompt.
#[derive(Debug, Default)]
pub(super) struct PromptTokens {
    /// Those that the decoder goes on from.
    pub(super) decoder: Vec<u32>,
    /// Those that an encoder reads.
    pub(super) encoder: Vec<u32>,
}

impl<'a> PromptColumn<'a> {
    /// Of the model's input for prompts.
    pub(in super::super) fn of(work: &'a Work<'_>) -> Result<Self> {
        let input = work.model.manifest.inputs.iter().find(|input| matches!(input.modality, Modality::Prompt));
        let column = input.and_then(|input| work.columns.get(&input.name));
        let column = column.ok_or_else(|| Error::new(Kind::Package, "a model that writes, without a prompt"))?;
        let prompts = match column.values.as_string_opt::<i64>() {
            Some(conversations) => Texts::Conversations(conversations),
            None => Texts::Plain(column.values.as_string::<i32>()),
        };
        Ok(Self { column, prompts })
    }

    pub(in super::super) fn row(self, row: usize) -> Prompt<'a> {
        match self.prompts {
            _ if !self.column.is_present(row) => Prompt::Nothing,
            Texts::Plain(texts) => Prompt::Text(texts.value(row)),
            Texts::Conversations(conversations) => Prompt::Conversation(conversations.value(row)),
        }
    }
}

impl<'a> Prompts<'a> {
    pub(super) fn new(generation: &'a Generation, codec: &'a TextCodec) -> Result<Self> {
        let template = generation.chat.as_ref().map(environment).transpose()?;
        Ok(Self { generation, codec, template })
    }

    /// The tokens of a prompt; `media` are the numbers of a row's media, one for each of the model's markers.
    pub(super) fn tokens(&self, prompt: Prompt<'_>, media: &[usize], limits: &Limits) -> Result<PromptTokens> {
        let text = self.text(prompt, media)?;
        let text = markers::expand(&self.generation.media, &text, media)?;
        let first = &self.generation.first;
        let goes_on = self.template.is_none() && self.generation.reader == Reader::Decoder && first.is_empty();
        // A label stands behind a space of its own.
        let has_labels = !self.generation.rules.labels.is_empty();
        let text = if goes_on && has_labels { text.trim_end_matches(' ') } else { &text };
        if self.generation.reader == Reader::Encoder {
            let encoder = self.codec.encode(text, true, limits)?;
            return if encoder.is_empty() { Err(nothing()) } else { Ok(PromptTokens { decoder: first.clone(), encoder }) };
        }
        let mut tokens = self.codec.encode(text, first.is_empty() && self.is_framed(text), limits)?;
        if !tokens.starts_with(first) {
            tokens.splice(0..0, first.iter().copied());
        }
        if tokens.is_empty() {
            tokens.extend(self.generation.start);
        }
        if tokens.is_empty() {
            return Err(nothing());
        }
        Ok(PromptTokens { decoder: tokens, encoder: Vec::new() })
    }

    /// The text that the model sees of `prompt` without media.
    pub(super) fn example(&self, prompt: &str) -> Result<String> {
        self.text(Prompt::Text(prompt), &vec![0; self.generation.media.len()]).map(Cow::into_owned)
    }

    /// The text of a conversation in which `answer` follows `prompt`.
    pub(super) fn answered(&self, prompt: &str, answer: &str) -> Result<String> {
        let content = |text: &str| markers::content(&self.generation.media, text, &[], &[]);
        let mut messages = vec![message("user", content(prompt)), message("assistant", content(answer))];
        if let Some(system) = &self.generation.rules.system {
            messages.insert(0, message("system", content(system)));
        }
        self.render(messages, false)
    }

    /// The text that the model sees of a prompt, each medium as one marker.
    pub(super) fn text<'b>(&self, prompt: Prompt<'b>, media: &[usize]) -> Result<Cow<'b, str>> {
        let markers = &self.generation.media;
        let mut messages = match (prompt, &self.template) {
            (Prompt::Nothing, _) => return Ok(Cow::Borrowed("")),
            (Prompt::Text(text), None) => return Ok(markers::plain(markers, text, media)),
            (Prompt::Text(text), Some(_)) => {
                let before = markers::unmentioned(markers, text, media);
                vec![message("user", markers::content(markers, text, media, &before))]
            }
            (Prompt::Conversation(_), None) => {
                return Err(Error::new(Kind::Media, "a conversation for a model without a chat template").with_hint("give it a text"));
            }
            (Prompt::Conversation(json), Some(_)) => {
                let unreadable = |error| Error::new(Kind::Media, format!("the conversation cannot be read: {error}"));
                let messages: Vec<Value> = serde_json::from_str(json).map_err(unreadable)?;
                // Media that no message mentions belong to the first of the user.
                let is_user = |message: &Value| message.get_attr("role").is_ok_and(|role| role.as_str() == Some("user"));
                let (first, before) = (messages.iter().position(is_user), markers::unmentioned_in_messages(markers, json, media));
                let before = |place: usize| if first == Some(place) { before.as_slice() } else { &[] };
                let messages = messages.into_iter().enumerate();
                messages.map(|(place, message)| markers::in_parts(markers, message, media, before(place))).collect()
            }
        };
        let begins = |message: &Value| message.get_attr("role").is_ok_and(|role| role.as_str() == Some("system"));
        if let Some(system) = self.generation.rules.system.as_ref().filter(|_| !messages.first().is_some_and(begins)) {
            messages.insert(0, message("system", markers::content(markers, system, &[], &[])));
        }
        self.render(messages, true).map(Cow::Owned)
    }

    /// Whether the tokenizer puts its own tokens around a text. A template writes them itself, but for models of media, where it may leave
    /// that to the tokenizer (transformers' `ProcessorMixin.apply_chat_template`).
    fn is_framed(&self, text: &str) -> bool {
        let Some(chat) = &self.generation.chat else { return true };
        let begins = chat.tokens.get("bos_token").is_some_and(|token| text.starts_with(token.as_str()));
        !self.generation.media.is_empty() && !begins
    }

    /// `asks` for an answer behind the messages.
    fn render(&self, messages: Vec<Value>, asks: bool) -> Result<String> {
        let (Some(template), Some(chat)) = (&self.template, &self.generation.chat) else { return Ok(String::new()) };
        let failed = |error: minijinja::Error| {
            let cause = error.detail().map_or_else(|| error.to_string(), str::to_string);
            Error::new(Kind::Media, format!("the model's chat template refuses the conversation: {cause}"))
        };
        let context = chat.tokens.iter().map(|(name, token)| (name.clone(), Value::from(token.clone())));
        let own = [
            ("messages".to_string(), Value::from(messages)),
            ("add_generation_prompt".to_string(), Value::from(asks)),
            // As transformers has them where there are none.
            ("tools".to_string(), Value::from(())),
            ("documents".to_string(), Value::from(())),
        ];
        let context = Value::from_pairs(context.chain(own));
        template.get_template(NAME).and_then(|template| template.render(context)).map_err(failed)
    }
}

fn message(role: &str, content: Value) -> Value {
    Value::from_pairs([("role", Value::from(role)), ("content", content)])
}

fn nothing() -> Error {
    Error::new(Kind::Media, "the prompt is empty, and the model knows no token that begins texts")
}

/// As transformers sets Jinja up (`utils/chat_template_utils.py`): blocks leave no lines behind, and a few functions more.
fn environment(chat: &Chat) -> Result<Environment<'_>> {
    let mut environment = Environment::new();
    let unreadable = |error: minijinja::Error| Error::new(Kind::Package, format!("the model's chat template cannot be read: {error}"));
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(unreadable)?);
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter("tojson", to_json);
    environment.add_template(NAME, &chat.template).map_err(unreadable)?;
    Ok(environment)
}

/// As Python's `json.dumps(ensure_ascii=False)` writes it, which minijinja's own filter does not: that one escapes for HTML.
#[expect(clippy::needless_pass_by_value, reason = "as minijinja hands keywords over")]
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let failed = |error: serde_json::Error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    if value.kind() == ValueKind::Undefined {
        return Err(minijinja::Error::new(ErrorKind::UndefinedError, "tojson of something undefined"));
    }
    let mut bytes = Vec::new();
    match indent {
        Some(indent) => {
            let indent = b" ".repeat(indent);
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&indent);
            serde::Serialize::serialize(value, &mut serde_json::Serializer::with_formatter(&mut bytes, formatter)).map_err(failed)?;
        }
        None => {
            serde::Serialize::serialize(value, &mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)).map_err(failed)?;
        }
    }
    String::from_utf8(bytes).map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// Python's own separators: `", "` and `": "`.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
