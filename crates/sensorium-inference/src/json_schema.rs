//! What a JSON Schema means for a text that is written token by token.
//!
//! Which of its words are carried out, and how, is `llguidance`'s affair
//! (<https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md>); others are refused.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};

/// Between the parts of an answer: some models write a space there, none needs more.
const WHITESPACE: &str = "[ ]?";
fn unusable(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Argument, format!("json_schema cannot be carried out: {error}"))
        .with_hint("leave out or rewrite the word of the schema that it names")
}

/// The schema with how it is to be written.
fn grammar(schema: &Value) -> TopLevelGrammar {
    let mut schema = schema.clone();
    if let Some(own) = schema.as_object_mut() {
        own.insert("x-guidance".into(), json!({ "whitespace_pattern": WHITESPACE }));
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// What says which of `tokens` may come next in a text of `schema`.
///
/// # Errors
/// [`Kind::Argument`] for a schema that cannot be carried out.
pub(crate) fn matcher(tokens: &TokEnv, schema: &Value) -> Result<Matcher> {
    let mut factory = ParserFactory::new_simple(tokens).map_err(|error| unusable(&error.root_cause()))?;
    factory.quiet();
    factory.limits_mut().verbose_errors = false;
    let mut matcher = Matcher::new(factory.create_parser(grammar(schema)));
    match (matcher.get_error(), matcher.grammar_warnings()) {
        (Some(error), _) => Err(unusable(&error)),
        (None, warnings) if !warnings.is_empty() => Err(unusable(&warnings.join("; "))),
        _ => Ok(matcher),
    }
}

/// Refuses a text that is no JSON, or not of a schema, which may be a text itself.
///
/// # Errors
/// [`Kind::Model`] for such a text.
pub(crate) fn check_text(schema: &Value, text: &str) -> Result<()> {
    let wrong = |what: &dyn std::fmt::Display| Error::new(Kind::Model, format!("the answer is not of json_schema: {what}"));
    let answer: Value = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let read;
    let schema = match schema {
        Value::String(text) => {
            read = serde_json::from_str(text).unwrap_or_default();
            &read
        }
        other => other,
    };
    let validator = jsonschema::validator_for(schema).map_err(|error| wrong(&error))?;
    validator.validate(&answer).map_err(|error| wrong(&error))
}

/// Refuses a schema that cannot be carried out, whatever the model.
///
/// # Errors
/// As [`matcher`].
pub(crate) fn check_schema(schema: &Value) -> Result<()> {
    matcher(&ApproximateTokEnv::single_byte_env(), schema).map(|_| ())
}
