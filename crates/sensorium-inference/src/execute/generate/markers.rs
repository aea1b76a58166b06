//! Media among the words of a prompt: markers that stand for them, and the tokens that they become.

use std::borrow::Cow;

use minijinja::value::{Value, ValueKind};

use crate::error::{Error, Kind, Result};
use crate::package::MediaMarker;

/// What users write for a picture, whatever the model's own marker is.
pub(super) const COMMON_IMAGE: &str = "<image>";

/// Those of `media` that a text does not mention.
pub(super) fn unmentioned(markers: &[MediaMarker], text: &str, media: &[usize]) -> Vec<usize> {
    markers.iter().zip(media).map(|(marker, count)| if mentions(marker, text) { 0 } else { *count }).collect()
}

fn mentions(marker: &MediaMarker, text: &str) -> bool {
    text.contains(&marker.text) || text.contains(&format!("<{}>", marker.part))
}

/// The text with each model's own markers where it has `<image>` or `<audio>` and the row such media.
pub(super) fn own<'a>(markers: &[MediaMarker], text: &'a str, media: &[usize]) -> Cow<'a, str> {
    markers.iter().zip(media).fold(Cow::Borrowed(text), |text, (marker, count)| {
        let common = format!("<{}>", marker.part);
        let is_other = marker.text != common && *count > 0 && text.contains(&common);
        if is_other { Cow::Owned(text.replace(&common, &marker.text)) } else { text }
    })
}

/// The text for a model without a template: media that it does not mention stand before it.
pub(super) fn plain<'a>(markers: &[MediaMarker], text: &'a str, media: &[usize]) -> Cow<'a, str> {
    let text = own(markers, text, media);
    let before: String = markers
        .iter()
        .zip(media)
        .filter(|(marker, _)| !text.contains(&marker.text))
        .map(|(marker, count)| marker.text.repeat(*count))
        .collect();
    if before.is_empty() { text } else { Cow::Owned(format!("{before}{text}")) }
}

/// The content of a message: the text, or for a model of media its parts, as transformers' templates expect them. `media` are those of the
/// row, `before` those that stand before the text.
pub(super) fn content(markers: &[MediaMarker], text: &str, media: &[usize], before: &[usize]) -> Value {
    if markers.is_empty() {
        return Value::from(text);
    }
    let text = &*own(markers, text, media);
    let before = markers.iter().zip(before);
    let before = before.flat_map(|(marker, count)| std::iter::repeat_n(part(&marker.part), *count));
    Value::from(before.chain(parts(markers, text)).collect::<Vec<Value>>())
}

/// A message whose content is parts, where it was a text; with what [`content`] takes.
pub(super) fn in_parts(markers: &[MediaMarker], message: Value, media: &[usize], before: &[usize]) -> Value {
    let text = message.get_attr("content").ok().and_then(|content| content.as_str().map(str::to_string));
    let (false, Some(text), Ok(keys)) = (markers.is_empty(), text, message.try_iter()) else { return message };
    let field = |key: Value| {
        let value = if key.as_str() == Some("content") {
            content(markers, &text, media, before)
        } else {
            message.get_item(&key).unwrap_or_default()
        };
        (key, value)
    };
    if message.kind() == ValueKind::Map { Value::from_pairs(keys.map(field)) } else { message }
}

/// Those of `media` that messages do not mention, in their texts or as parts.
pub(super) fn unmentioned_in_messages(markers: &[MediaMarker], conversation: &str, media: &[usize]) -> Vec<usize> {
    let dense = conversation.replace(' ', "");
    let says = |marker: &MediaMarker| mentions(marker, conversation) || dense.contains(&format!("\"type\":\"{}\"", marker.part));
    markers.iter().zip(media).map(|(marker, count)| if says(marker) { 0 } else { *count }).collect()
}

fn part(kind: &str) -> Value {
    Value::from_pairs([("type", kind)])
}

/// The text between markers, and what they stand for.
fn parts(markers: &[MediaMarker], text: &str) -> Vec<Value> {
    let (mut parts, mut rest) = (Vec::new(), text);
    let next = |rest: &str| markers.iter().filter_map(|marker| Some((rest.find(&marker.text)?, marker))).min_by_key(|(at, _)| *at);
    let said = |text: &str| Value::from_pairs([("type", "text"), ("text", text)]);
    while let Some((at, marker)) = next(rest) {
        if at > 0 {
            parts.push(said(&rest[..at]));
        }
        parts.push(part(&marker.part));
        rest = &rest[at + marker.text.len()..];
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(said(rest));
    }
    parts
}

/// The text with as many tokens for each marker as its medium has vectors.
///
/// # Errors
/// [`Kind::Media`] where the text has more or fewer markers than the row has media.
pub(super) fn expand(markers: &[MediaMarker], text: &str, media: &[usize]) -> Result<String> {
    let mut expanded = text.to_string();
    for (marker, count) in markers.iter().zip(media) {
        let found = text.matches(&marker.text).count();
        if found != *count {
            let message = format!("{found} markers in the prompt for {count} media of '{}'", marker.input);
            return Err(Error::new(Kind::Media, message)
                .with_hint(format!("write <{}> where each of them belongs, or leave it out of the text altogether", marker.part)));
        }
        let (before, behind) = (&marker.around.0, &marker.around.1);
        let own = format!("{before}{}{behind}", marker.text.repeat(marker.tokens));
        expanded = expanded.replace(&marker.text, &own);
        if marker.shares_borders {
            expanded = expanded.replace(&format!("{behind}{before}"), before);
            expanded = expanded.split(before.as_str()).map(|text| text.trim_matches(' ')).collect::<Vec<_>>().join(before);
        }
    }
    Ok(expanded)
}
