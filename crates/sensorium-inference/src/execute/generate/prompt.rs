//! A prompt as the tokens that the model reads.

use std::borrow::Cow;

use arrow::array::{AsArray, LargeStringArray, StringArray};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::error::{Error, Kind, Result};
use crate::execute::Limits;
use crate::execute::encode::Work;
use crate::modality::TextCodec;
use crate::package::{Chat, Generation, Modality};

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
pub(super) enum Prompt<'a> {
    /// A text.
    Text(&'a str),
    /// A list of messages, as JSON.
    Conversation(&'a str),
}

/// The prompt of each row.
#[derive(Debug, Clone, Copy)]
pub(super) enum PromptColumn<'a> {
    Texts(&'a StringArray),
    Conversations(&'a LargeStringArray),
}

impl<'a> PromptColumn<'a> {
    /// Of the model's input for prompts.
    pub(super) fn of(work: &'a Work<'_>) -> Result<Self> {
        let input = work.model.manifest.inputs.iter().find(|input| matches!(input.modality, Modality::Prompt));
        let column = input.and_then(|input| work.columns.get(&input.name));
        let values = &column.ok_or_else(|| Error::new(Kind::Package, "a model that writes, without a prompt"))?.values;
        Ok(match values.as_string_opt::<i64>() {
            Some(conversations) => Self::Conversations(conversations),
            None => Self::Texts(values.as_string::<i32>()),
        })
    }

    pub(super) fn row(self, row: usize) -> Prompt<'a> {
        match self {
            Self::Texts(texts) => Prompt::Text(texts.value(row)),
            Self::Conversations(conversations) => Prompt::Conversation(conversations.value(row)),
        }
    }
}

impl<'a> Prompts<'a> {
    pub(super) fn new(generation: &'a Generation, codec: &'a TextCodec) -> Result<Self> {
        let template = generation.chat.as_ref().map(environment).transpose()?;
        Ok(Self { generation, codec, template })
    }

    /// The tokens of a prompt.
    pub(super) fn tokens(&self, prompt: Prompt<'_>, limits: &Limits) -> Result<Vec<u32>> {
        // A template writes the tokens at the start and end of a text itself.
        let mut tokens = self.codec.encode(&self.text(prompt)?, self.template.is_none(), limits)?;
        if tokens.is_empty() {
            tokens.extend(self.generation.start);
        }
        if tokens.is_empty() {
            return Err(Error::new(Kind::Media, "the prompt is empty, and the model knows no token that begins texts"));
        }
        Ok(tokens)
    }

    /// The text that the model sees of a prompt.
    pub(super) fn text<'b>(&self, prompt: Prompt<'b>) -> Result<Cow<'b, str>> {
        let message = |role: &str, content: &str| Value::from_pairs([("role", role), ("content", content)]);
        let mut messages = match (prompt, &self.template) {
            (Prompt::Text(text), None) => return Ok(Cow::Borrowed(text)),
            (Prompt::Text(text), Some(_)) => vec![message("user", text)],
            (Prompt::Conversation(_), None) => {
                return Err(Error::new(Kind::Media, "a conversation for a model without a chat template").with_hint("give it a text"));
            }
            (Prompt::Conversation(json), Some(_)) => serde_json::from_str::<Vec<Value>>(json)
                .map_err(|error| Error::new(Kind::Media, format!("the conversation cannot be read: {error}")))?,
        };
        let begins = |message: &Value| message.get_attr("role").is_ok_and(|role| role.as_str() == Some("system"));
        if let Some(system) = self.generation.rules.system.as_ref().filter(|_| !messages.first().is_some_and(begins)) {
            messages.insert(0, message("system", system));
        }
        self.render(messages).map(Cow::Owned)
    }

    fn render(&self, messages: Vec<Value>) -> Result<String> {
        let (Some(template), Some(chat)) = (&self.template, &self.generation.chat) else { return Ok(String::new()) };
        let failed = |error: minijinja::Error| {
            let cause = error.detail().map_or_else(|| error.to_string(), str::to_string);
            Error::new(Kind::Media, format!("the model's chat template refuses the conversation: {cause}"))
        };
        let context = chat.tokens.iter().map(|(name, token)| (name.clone(), Value::from(token.clone())));
        let own = [
            ("messages".to_string(), Value::from(messages)),
            ("add_generation_prompt".to_string(), Value::from(true)),
            // As transformers has them where there are none.
            ("tools".to_string(), Value::from(())),
            ("documents".to_string(), Value::from(())),
        ];
        let context = Value::from_pairs(context.chain(own));
        template.get_template(NAME).and_then(|template| template.render(context)).map_err(failed)
    }
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
