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
                let named = json!({ "name": "answer", "strict": true, "schema": schema });
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
        let text = last["content"].as_str().unwrap_or_default().to_string();
        last["content"] = content(&text, parts)?;
    }
    Ok(messages)
}

/// An answer with what it has taken.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) written: Written,
    pub(super) read_tokens: u64,
    pub(super) written_tokens: u64,
}

/// Reads what an endpoint has answered.
pub(super) fn reply(endpoint: &Endpoint, answer: &Value) -> Result<Reply> {
    let unknown = |what: &str| Error::new(Kind::Model, format!("not an answer of OpenAI's protocol: {what}"));
    let choice = answer["choices"].get(0).ok_or_else(|| unknown("no choices"))?;
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
        _ => return Err(unknown("no content")),
    };
    if let Some(schema) = endpoint.options.get("json_schema") {
        json_schema::check_text(schema, &text)?;
    }
    let usage = |name: &str| answer["usage"][name].as_u64();
    let logprobs = choice["logprobs"]["content"].as_array();
    let logprob = logprobs.map(|tokens| tokens.iter().filter_map(|token| token["logprob"].as_f64()).sum());
    let tokens = usage("completion_tokens");
    Ok(Reply {
        written: Written::answered(text, reason.to_string(), tokens.and_then(|tokens| usize::try_from(tokens).ok()), logprob),
        read_tokens: usage("prompt_tokens").unwrap_or(0),
        written_tokens: tokens.unwrap_or(0),
    })
}
