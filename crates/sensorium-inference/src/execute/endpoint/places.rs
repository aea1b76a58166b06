//! Media among the words of a request: each where its marker or part stands, others before what the user says last.

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};

/// Media of a row as parts of a message.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) images: Vec<Value>,
    pub(super) sounds: Vec<Value>,
    /// The frames of each video, which are images of the protocol; nothing where the call has no videos.
    pub(super) videos: Option<Vec<Vec<Value>>>,
}

/// Media of one kind that have not found their places yet.
struct Waiting {
    /// What stands for one in a text.
    marker: &'static str,
    /// Type of a part that stands for one.
    part: &'static str,
    media: std::vec::IntoIter<Vec<Value>>,
}

/// All media of a row; none where texts stay as they are.
struct Unplaced(Vec<Waiting>);

impl Unplaced {
    fn of(parts: Parts) -> Self {
        if parts.images.is_empty() && parts.sounds.is_empty() && parts.videos.is_none() {
            return Self(Vec::new());
        }
        let one_by_one = |parts: Vec<Value>| parts.into_iter().map(|part| vec![part]).collect::<Vec<_>>().into_iter();
        let mut kinds = vec![
            Waiting { marker: "<image>", part: "image", media: one_by_one(parts.images) },
            Waiting { marker: "<audio>", part: "audio", media: one_by_one(parts.sounds) },
        ];
        kinds.extend(parts.videos.map(|videos| Waiting { marker: "<video>", part: "video", media: videos.into_iter() }));
        Self(kinds)
    }

    /// Media that are mentioned nowhere: `is_mentioned` tells by marker and type of part.
    fn unmentioned(&mut self, is_mentioned: impl Fn(&str, &str) -> bool) -> Vec<Value> {
        let kinds = self.0.iter_mut().filter(|kind| !is_mentioned(kind.marker, kind.part));
        kinds.flat_map(|kind| kind.media.by_ref()).flatten().collect()
    }

    fn is_mentioned_in(&self, text: &str) -> bool {
        self.0.iter().any(|kind| text.contains(kind.marker))
    }

    /// The parts of a text, media in the places of their markers.
    fn place(&mut self, text: &str) -> Result<Vec<Value>> {
        let (mut all, mut rest) = (Vec::new(), text);
        let said = |all: &mut Vec<Value>, text: &str| {
            if !text.is_empty() {
                all.push(json!({ "type": "text", "text": text }));
            }
        };
        let next = |kinds: &[Waiting], rest: &str| {
            let found = kinds.iter().enumerate().filter_map(|(place, kind)| Some((rest.find(kind.marker)?, place)));
            found.min()
        };
        while let Some((at, place)) = next(&self.0, rest) {
            said(&mut all, &rest[..at]);
            let kind = &mut self.0[place];
            all.extend(kind.media.next().ok_or_else(unequal)?);
            rest = &rest[at + kind.marker.len()..];
        }
        said(&mut all, rest);
        Ok(all)
    }

    /// What stands for a part of a message: a medium, or media and words, or else the part itself.
    fn place_part(&mut self, part: Value) -> Result<Vec<Value>> {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("");
        if let Some(own) = self.0.iter_mut().find(|own| own.part == kind) {
            return own.media.next().ok_or_else(unequal);
        }
        match part.get("text").and_then(Value::as_str).filter(|text| self.is_mentioned_in(text)) {
            Some(text) => self.place(text),
            None => Ok(vec![part]),
        }
    }

    fn all_placed(&self) -> Result<()> {
        if self.0.iter().any(|kind| kind.media.len() > 0) { Err(unequal()) } else { Ok(()) }
    }
}

fn unequal() -> Error {
    Error::new(Kind::Media, "the prompt mentions more or fewer media than the row has")
        .with_hint("write <image>, <video> or <audio> for each of them, or for none")
}

/// The text, or where there are media its parts: those that the text does not mention stand before it.
pub(super) fn content(text: &str, parts: Parts) -> Result<Value> {
    let mut media = Unplaced::of(parts);
    if media.0.is_empty() {
        return Ok(text.into());
    }
    let mut all = media.unmentioned(|marker, _| text.contains(marker));
    all.extend(media.place(text)?);
    media.all_placed()?;
    Ok(all.into())
}

/// The messages with media where they mention them, others in the last one of the user.
pub(super) fn conversation(json: &str, parts: Parts) -> Result<Vec<Value>> {
    let unreadable = |error: serde_json::Error| Error::new(Kind::Media, format!("the conversation cannot be read: {error}"));
    let mut messages: Vec<Value> = serde_json::from_str(json).map_err(unreadable)?;
    let mut media = Unplaced::of(parts);
    if media.0.is_empty() {
        return Ok(messages);
    }
    let before = media.unmentioned(|marker, kind| messages.iter().any(|message| mentions(message, marker, kind)));
    for message in &mut messages {
        match message.get_mut("content") {
            Some(Value::String(text)) if media.is_mentioned_in(text) => {
                let parts = media.place(text)?;
                message["content"] = parts.into();
            }
            Some(Value::Array(parts)) => {
                let placed = parts.drain(..).map(|part| media.place_part(part)).collect::<Result<Vec<_>>>()?;
                parts.extend(placed.into_iter().flatten());
            }
            _ => {}
        }
    }
    media.all_placed()?;
    if before.is_empty() {
        return Ok(messages);
    }
    let last = messages.iter_mut().rev().find(|message| message.get("role").is_some_and(|role| role == "user"));
    let last = last.ok_or_else(|| Error::new(Kind::Media, "media, and no message of a user that they could belong to"))?;
    let said = match last.get_mut("content").map(Value::take) {
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![json!({ "type": "text", "text": text })],
        Some(Value::Array(own)) => own,
        _ => return Err(Error::new(Kind::Media, "media for a message whose content is neither a text nor a list of parts")),
    };
    last["content"] = before.into_iter().chain(said).collect();
    Ok(messages)
}

/// Whether a message speaks of a medium, by its marker or as a part.
fn mentions(message: &Value, marker: &str, kind: &str) -> bool {
    match message.get("content") {
        Some(Value::String(text)) => text.contains(marker),
        Some(Value::Array(parts)) => parts.iter().any(|part| {
            let text = part.get("text").and_then(Value::as_str);
            text.is_some_and(|text| text.contains(marker)) || part.get("type").is_some_and(|own| own == kind)
        }),
        _ => false,
    }
}
