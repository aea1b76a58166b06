//! Conversations: what a row asks as the body of a request, and what comes back.

use serde_json::{Map, Value, json};

use super::super::generate::{Prompt, Written};
use super::places::{Parts, content, conversation};
use crate::error::{Error, Kind, Result};
use crate::json_schema;
use crate::package::Endpoint;

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, prompt: Prompt<'_>, parts: Parts) -> Result<Value> {
    let mut messages = match prompt {
        Prompt::Nothing => vec![json!({ "role": "user", "content": content("", parts)? })],
        Prompt::Text(text) => vec![json!({ "role": "user", "content": content(text, parts)? })],
        Prompt::Conversation(json) => conversation(json, parts)?,
    };
    if let Some(system) = endpoint.options.get("system").filter(|_| messages.first().is_none_or(|first| first["role"] != "system")) {
        messages.insert(0, json!({ "role": "system", "content": system }));
    }
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.clone().into());
    body.insert("messages".into(), messages.into());
    for (name, value) in &endpoint.options {
        match name.as_str() {
            "max_tokens" => body.insert(endpoint.max_tokens_field.clone(), value.clone()),
            "json_schema" => {
                let schema = match value {
                    Value::String(text) => serde_json::from_str::<Value>(text).unwrap_or_default(),
                    other => other.clone(),
                };
                let named = json!({ "name": "answer", "strict": is_strict(&schema), "schema": schema });
                body.insert("response_format".into(), json!({ "type": "json_schema", "json_schema": named }))
            }
            "system" => None,
            name => body.insert(name.into(), value.clone()),
        };
    }
    if endpoint.logprobs {
        body.insert("logprobs".into(), true.into());
    }
    Ok(Value::Object(body))
}

/// Whether all objects of a schema name their fields and want all of them, without which OpenAI refuses to be strict.
fn is_strict(schema: &Value) -> bool {
    let own = match schema {
        Value::Object(fields) => match fields.get("properties").and_then(Value::as_object) {
            Some(properties) => {
                let required = fields.get("required").and_then(Value::as_array);
                fields.get("additionalProperties") == Some(&Value::Bool(false))
                    && properties.keys().all(|name| required.is_some_and(|required| required.iter().any(|own| own == name)))
            }
            None => true,
        },
        _ => true,
    };
    let inner = match schema {
        Value::Object(fields) => fields.values().all(is_strict),
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    };
    own && inner
}

/// An answer with what it has taken.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) written: Result<Written>,
    pub(super) read_tokens: u64,
    pub(super) written_tokens: u64,
}

/// Reads what an endpoint has answered; what that has cost counts, whether it is of use or not.
pub(super) fn reply(endpoint: &Endpoint, answer: &Value) -> Reply {
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap_or(0);
    Reply { written: written(endpoint, answer), read_tokens: usage("prompt_tokens"), written_tokens: usage("completion_tokens") }
}

/// Refuses what has no answer at all, whatever it says.
pub(super) fn check(answer: &Value) -> Result<&Value> {
    let unknown = |what: &str| Error::new(Kind::Model, format!("not an answer of OpenAI's protocol: {what}"));
    let choice = answer["choices"].get(0);
    let error = [Some(&answer["error"]), choice.map(|choice| &choice["error"])].into_iter().flatten().find(|error| !error.is_null());
    if let Some(error) = error {
        let text = error["message"].as_str().or(error.as_str()).map_or_else(|| error.to_string(), str::to_string);
        return Err(Error::new(Kind::Fetch, format!("the endpoint answered with an error: {text}")).retryable());
    }
    let choice = choice.ok_or_else(|| unknown("no choices"))?;
    if choice["finish_reason"] == "error" {
        return Err(Error::new(Kind::Fetch, "the endpoint answered with an error of its own").retryable());
    }
    if choice["message"].is_object() { Ok(choice) } else { Err(unknown("no message")) }
}

fn written(endpoint: &Endpoint, answer: &Value) -> Result<Written> {
    let unknown = |what: &str| Error::new(Kind::Model, format!("not an answer of OpenAI's protocol: {what}"));
    let choice = check(answer)?;
    let reason = choice["finish_reason"].as_str().unwrap_or("stop");
    if reason == "content_filter" {
        return Err(Error::new(Kind::Model, "the endpoint has withheld its answer: content_filter"));
    }
    if let Some(refusal) = choice["message"]["refusal"].as_str().filter(|refusal| !refusal.is_empty()) {
        return Err(Error::new(Kind::Model, format!("the model has refused to answer: {refusal}")));
    }
    let text = match &choice["message"]["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ if reason == "length" => {
            return Err(
                Error::new(Kind::Limit, "the model has thought for all of max_tokens and written nothing").with_hint("raise max_tokens")
            );
        }
        _ => return Err(unknown("no content")),
    };
    if let Some(schema) = endpoint.options.get("json_schema") {
        json_schema::check_text(schema, &text)?;
    }
    let logprobs = choice["logprobs"]["content"].as_array();
    let logprob = logprobs.map(|tokens| tokens.iter().filter_map(|token| token["logprob"].as_f64()).sum());
    let tokens = answer["usage"]["completion_tokens"].as_u64().and_then(|tokens| usize::try_from(tokens).ok());
    Ok(Written::answered(text, reason.to_string(), tokens, logprob))
}
