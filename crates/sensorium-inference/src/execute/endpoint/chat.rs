//! Conversations: what a row asks as the body of a request, and what comes back.

use serde_json::{Map, Value, json};

use super::super::generate::{Prompt, Written};
use crate::error::{Error, Kind, Result};
use crate::json_schema;
use crate::package::Endpoint;

/// Media of a row as parts of a message.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) images: Vec<Value>,
    pub(super) sounds: Vec<Value>,
}

/// What stands for media in a text.
const IMAGE: &str = "<image>";
const AUDIO: &str = "<audio>";

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

/// The text, or where there are media its parts: those that the text does not mention stand before it.
fn content(text: &str, parts: Parts) -> Result<Value> {
    if parts.images.is_empty() && parts.sounds.is_empty() {
        return Ok(text.into());
    }
    let (mut all, mut rest) = (Vec::new(), text);
    let mut images = parts.images.into_iter();
    let mut sounds = parts.sounds.into_iter();
    if !text.contains(IMAGE) {
        all.extend(images.by_ref());
    }
    if !text.contains(AUDIO) {
        all.extend(sounds.by_ref());
    }
    let said = |all: &mut Vec<Value>, text: &str| {
        if !text.is_empty() {
            all.push(json!({ "type": "text", "text": text }));
        }
    };
    let unequal = || {
        Error::new(Kind::Media, "the prompt mentions more or fewer media than the row has")
            .with_hint("write <image> or <audio> for each of them, or for none")
    };
    while let Some((at, marker)) = [IMAGE, AUDIO].into_iter().filter_map(|marker| Some((rest.find(marker)?, marker))).min() {
        said(&mut all, &rest[..at]);
        let next = if marker == IMAGE { images.next() } else { sounds.next() };
        all.push(next.ok_or_else(unequal)?);
        rest = &rest[at + marker.len()..];
    }
    said(&mut all, rest);
    if images.next().is_some() || sounds.next().is_some() {
        return Err(unequal());
    }
    Ok(all.into())
}

/// The messages as they are, the media in the last one of the user.
fn conversation(json: &str, parts: Parts) -> Result<Vec<Value>> {
    let unreadable = |error: serde_json::Error| Error::new(Kind::Media, format!("the conversation cannot be read: {error}"));
    let mut messages: Vec<Value> = serde_json::from_str(json).map_err(unreadable)?;
    let has_media = !parts.images.is_empty() || !parts.sounds.is_empty();
    if has_media {
        let last = messages.iter_mut().rev().find(|message| message["role"] == "user");
        let last = last.ok_or_else(|| Error::new(Kind::Media, "media, and no message of a user that they could belong to"))?;
        last["content"] = match last["content"].take() {
            Value::String(text) => content(&text, parts)?,
            Value::Array(own) => parts.images.into_iter().chain(parts.sounds).chain(own).collect(),
            _ => return Err(Error::new(Kind::Media, "media for a message whose content is neither a text nor a list of parts")),
        };
    }
    Ok(messages)
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
