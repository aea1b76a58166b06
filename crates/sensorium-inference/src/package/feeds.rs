//! Matching the inputs of a graph to what a call passes.

use super::manifest::{Feed, Input, Modality, Source, TokenPart};
use super::port::{Element, Port};
use crate::error::{Error, Kind, Result};

/// The conventional names of a tokenizer's tensors in exported graphs.
pub(super) fn token_part(name: &str) -> Option<TokenPart> {
    Some(match name {
        "input_ids" => TokenPart::InputIds,
        "attention_mask" => TokenPart::AttentionMask,
        "token_type_ids" => TokenPart::TokenTypeIds,
        "position_ids" => TokenPart::PositionIds,
        _ => return None,
    })
}

/// A graph input that one SQL value fills: a number, a category, or a vector. `name` is the SQL name.
pub(super) fn plain_input(port: &Port, name: &str) -> Result<Input> {
    let unclear = |why: &str| {
        Error::new(Kind::Package, format!("unclear graph input: {port}: {why}"))
            .with_hint(format!("write [inputs.{name}] with its modality in `sensorium.toml`"))
    };
    let trailing = port.shape.get(1..).unwrap_or_default();
    let modality = match (port.element, trailing) {
        (Element::String, [] | [Some(1)]) => Modality::Category { missing: None },
        (element, [] | [Some(1)]) if element.is_numeric() => Modality::Number { element, missing: None },
        (element, [Some(width)]) if element.is_numeric() => Modality::Vector { width: *width, element },
        (_, [None]) => return Err(unclear("its width is not fixed")),
        _ => return Err(unclear("only [rows], [rows, 1] and [rows, width] are values of a column")),
    };
    Ok(Input::new(name, modality))
}

/// The feed of an input made by [`plain_input`].
pub(super) fn plain_feed(port: &Port, input: &Input) -> Feed {
    let source = match input.modality {
        Modality::Vector { .. } => Source::Vector { input: input.name.clone() },
        _ => Source::Columns { inputs: vec![input.name.clone()] },
    };
    Feed { port: port.clone(), source }
}

/// Feeds of a text encoder's graph, whose inputs must all be tokenizer outputs; also whether padding is masked, and
/// the number of tokens if the graph fixes it.
pub(super) fn token_feeds(ports: &[Port], input: &str) -> Result<(Vec<Feed>, bool, Option<usize>)> {
    let feeds = ports.iter().map(|port| {
        let part = token_part(&port.name).ok_or_else(|| {
            Error::new(Kind::Package, format!("unknown input of a text model: {port}"))
                .with_hint("known are input_ids, attention_mask, token_type_ids and position_ids; join other inputs in `sensorium.toml`")
        })?;
        Ok(Feed { port: port.clone(), source: Source::Tokens { input: input.to_string(), part } })
    });
    let feeds = feeds.collect::<Result<Vec<_>>>()?;
    let masked = ports.iter().any(|port| port.name == "attention_mask");
    let fixed = ports.iter().find_map(|port| port.shape.get(1).copied().flatten());
    Ok((feeds, masked, fixed))
}
