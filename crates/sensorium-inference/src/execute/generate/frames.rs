//! Videos in a prompt: the model sees each of them as pictures, frames at equal distances, one behind the other in its place.

use serde_json::{Value, json};

use super::markers::COMMON_IMAGE;
use super::media::Counts;
use super::prompt::Prompt;
use crate::error::{Error, Kind, Result};
use crate::package::{MediaMarker, VIDEO};

/// What stands for a video in a text.
const MARKER: &str = "<video>";

/// What the pictures of a prompt are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Picture,
    /// All frames of one.
    Video,
}

/// A prompt with pictures where it had videos.
#[derive(Debug)]
pub(super) struct Spread<'a> {
    given: Prompt<'a>,
    changed: Option<String>,
    /// Media of each of the model's markers, frames among the pictures.
    pub(super) media: Vec<usize>,
    /// What they are of, one after the other; empty where there is no video.
    pub(super) order: Vec<Shown>,
}

impl Spread<'_> {
    pub(super) fn prompt(&self) -> Prompt<'_> {
        match (&self.changed, self.given) {
            (Some(text), Prompt::Conversation(_)) => Prompt::Conversation(text),
            (Some(text), _) => Prompt::Text(text),
            (None, given) => given,
        }
    }
}

/// Puts pictures in the place of videos; pictures, then videos, that the prompt does not mention stand before what the user says first.
///
/// # Errors
/// [`Kind::Media`] where the prompt mentions more or fewer videos than the row has, or pictures beside them.
pub(super) fn spread<'a>(given: Prompt<'a>, markers: &[MediaMarker], counts: &Counts) -> Result<Spread<'a>> {
    let mut media = counts.each.clone();
    let place = markers.iter().position(|marker| marker.part == "image");
    let (Some(place), Some(videos)) = (place, counts.videos) else {
        return Ok(Spread { given, changed: None, media, order: Vec::new() });
    };
    let pictures = std::mem::replace(&mut media[place], counts.each[place] + videos * counts.frames);
    let prompt = Text { own: &markers[place].text, frames: counts.frames, most: pictures + videos };
    let mut order = Vec::new();
    let all = |kind, count| std::iter::repeat_n(kind, count);
    let mut changed = match given {
        Prompt::Nothing => Changed::Text(String::new()),
        Prompt::Text(text) => Changed::Text(prompt.spread(text, &mut order)),
        Prompt::Conversation(json) => {
            let unreadable = |error| Error::new(Kind::Media, format!("the conversation cannot be read: {error}"));
            let messages: Vec<Value> = serde_json::from_str(json).map_err(unreadable)?;
            Changed::Messages(messages.into_iter().map(|message| prompt.spread_message(message, &mut order)).collect())
        }
    };
    let before = |kind, count| if order.contains(&kind) { all(kind, 0) } else { all(kind, count) };
    let mut own: Vec<Shown> = before(Shown::Picture, pictures).chain(before(Shown::Video, videos)).collect();
    if order.is_empty() && !changed.is_in_parts() {
        // Nothing is mentioned, and stands where it would without videos.
        return Ok(Spread { given, changed: None, media, order: own });
    }
    let missing: usize = own.iter().map(|kind| prompt.pictures(*kind)).sum();
    own.append(&mut order);
    for (kind, name, count) in [(Shown::Picture, markers[place].input.as_str(), pictures), (Shown::Video, VIDEO, videos)] {
        let found = own.iter().filter(|other| **other == kind).count();
        if found != count {
            return Err(Error::new(Kind::Media, format!("{found} markers in the prompt for {count} media of '{name}'"))
                .with_hint("write <image> or <video> where each of them belongs, or leave it out of the text altogether"));
        }
    }
    changed.begin_with(&prompt.own.repeat(missing), missing)?;
    Ok(Spread { given, changed: Some(changed.into_text()), media, order: own })
}

/// A prompt that is being changed.
enum Changed {
    Text(String),
    Messages(Vec<Value>),
}

impl Changed {
    /// Whether what the user says first is a list of parts.
    fn is_in_parts(&self) -> bool {
        let Self::Messages(messages) = self else { return false };
        messages.iter().find(|message| is_user(message)).is_some_and(|message| message["content"].is_array())
    }

    /// Puts so many pictures, `markers` in a text, before what the user says first.
    fn begin_with(&mut self, markers: &str, pictures: usize) -> Result<()> {
        match self {
            _ if pictures == 0 => {}
            Self::Text(text) => text.insert_str(0, markers),
            Self::Messages(messages) => {
                let first = messages.iter_mut().find(|message| is_user(message));
                let first = first.ok_or_else(|| Error::new(Kind::Media, "media, and no message of a user that they could belong to"))?;
                match first.get_mut("content") {
                    Some(Value::String(text)) => text.insert_str(0, markers),
                    Some(Value::Array(parts)) => drop(parts.splice(0..0, std::iter::repeat_n(picture(), pictures))),
                    _ => return Err(Error::new(Kind::Media, "media for a message whose content is neither a text nor a list of parts")),
                }
            }
        }
        Ok(())
    }

    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Messages(messages) => Value::from(messages).to_string(),
        }
    }
}

fn is_user(message: &Value) -> bool {
    message.get("role").is_some_and(|role| role == "user")
}

fn picture() -> Value {
    json!({ "type": "image" })
}

/// How pictures and videos stand in a text.
#[derive(Clone, Copy)]
struct Text<'a> {
    /// The model's own marker of a picture.
    own: &'a str,
    /// Pictures of a video.
    frames: usize,
    /// Pictures and videos that there are.
    most: usize,
}

impl Text<'_> {
    fn pictures(self, kind: Shown) -> usize {
        if kind == Shown::Video { self.frames } else { 1 }
    }

    /// The text with pictures where it has videos; `order` goes on with what it mentions, one more than there is at most.
    fn spread(self, text: &str, order: &mut Vec<Shown>) -> String {
        let (mut spread, mut rest) = (String::with_capacity(text.len()), text);
        let markers = [(MARKER, Shown::Video), (COMMON_IMAGE, Shown::Picture), (self.own, Shown::Picture)];
        let next =
            |rest: &str| markers.iter().filter_map(|(marker, kind)| Some((rest.find(marker)?, *marker, *kind))).min_by_key(|found| found.0);
        while let Some((at, marker, kind)) = next(rest).filter(|_| order.len() <= self.most) {
            spread.push_str(&rest[..at]);
            order.push(kind);
            spread.push_str(&self.own.repeat(self.pictures(kind)));
            rest = &rest[at + marker.len()..];
        }
        spread + rest
    }

    fn spread_message(self, mut message: Value, order: &mut Vec<Shown>) -> Value {
        match message.get_mut("content") {
            Some(Value::String(text)) => *text = self.spread(text, order),
            Some(Value::Array(parts)) => *parts = parts.drain(..).flat_map(|part| self.spread_part(part, order)).collect(),
            _ => {}
        }
        message
    }

    fn spread_part(self, mut part: Value, order: &mut Vec<Shown>) -> Vec<Value> {
        match part.get("type").and_then(Value::as_str) {
            Some("video") => {
                order.push(Shown::Video);
                return vec![picture(); self.frames];
            }
            Some("image") => order.push(Shown::Picture),
            _ => {
                if let Some(Value::String(text)) = part.get_mut("text") {
                    *text = self.spread(text, order);
                }
            }
        }
        vec![part]
    }
}
