//! Graphs of decoders as Optimum names their inputs: tokens, places, a cache that one step hands to the next.

use super::hugging_face::graph_if_there;
use super::manifest::{Feed, Source, Stage};
use super::port::{Port, Signature};
use super::source::Files;
use crate::error::{Error, Kind, Result};

/// Takes all tokens so far, or, as merged by Optimum, a cache as well.
pub(crate) const DECODER: &str = "decoder";
/// Takes the last token and a cache.
pub(crate) const DECODER_WITH_PAST: &str = "decoder_with_past";
/// Looks at pictures.
pub(crate) const VISION_ENCODER: &str = "vision_encoder";
/// Hears.
pub(crate) const AUDIO_ENCODER: &str = "audio_encoder";
/// Reads prompts.
pub(crate) const TEXT_ENCODER: &str = "text_encoder";
/// Makes vectors of tokens for a decoder that takes these, so that those of media can stand among them.
pub(crate) const EMBED_TOKENS: &str = "embed_tokens";
/// The vectors.
pub(crate) const INPUTS_EMBEDS: &str = "inputs_embeds";
/// The scores of the next token.
pub(crate) const LOGITS: &str = "logits";

/// Rows, heads, tokens and width of a cache.
const CACHE_DIMENSIONS: usize = 4;

/// What a decoder gets from other graphs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Others<'a> {
    /// The stage whose output it looks at besides its own tokens, and that output.
    pub(super) looked: Option<(&'static str, &'a str)>,
    /// What the graph gives that makes vectors of tokens.
    pub(super) embedded: &'a [Port],
    /// Token that stands for a medium which is looked at from there on, and the token behind which none is.
    pub(super) marker: Option<(u32, Option<u32>)>,
}

/// The decoder's graphs in the folder, by stage: a merged one, the two that were merged, or one.
pub(super) fn graphs(files: &Files, variant: Option<&str>) -> Result<Vec<(&'static str, String)>> {
    let there = |name: &str| graph_if_there(files, name, variant);
    Ok(match (there("decoder_model_merged")?, there("decoder_model")?, there("decoder_with_past_model")?) {
        (Some(merged), ..) => vec![(DECODER, merged)],
        (None, Some(first), Some(next)) => vec![(DECODER, first), (DECODER_WITH_PAST, next)],
        (None, Some(only), None) => vec![(DECODER, only)],
        (None, None, _) => Vec::new(),
    })
}

/// Reads one of them.
///
/// # Errors
/// [`Kind::Package`] for an input that nobody could fill.
pub(super) fn stage(files: &mut Files, name: &str, graph: String, others: Others<'_>) -> Result<Stage> {
    let (path, _) = files.use_graph(&graph)?;
    let Signature { inputs, outputs } = Signature::read(&path)?;
    let feeds = inputs.into_iter().map(|port| Ok(Feed { source: source(&port, &graph, others)?, port })).collect::<Result<Vec<_>>>()?;
    for feed in &feeds {
        if let Source::Carried { output } = &feed.source
            && name == DECODER
            && !outputs.iter().any(|port| port.name == *output)
        {
            return Err(Error::new(Kind::Package, format!("graph {graph} takes '{}' and gives no '{output}'", feed.port.name)));
        }
    }
    if !outputs.iter().any(|port| port.name == LOGITS && port.shape.len() == 3) {
        return Err(Error::new(Kind::Package, format!("graph {graph} gives no '{LOGITS}' of each token")));
    }
    Ok(Stage { name: name.into(), graph, feeds, outputs })
}

/// What exporters call the states that a decoder looks at.
const STATES: [&str; 3] = ["encoder_hidden_states", "image_encoder_embeddings", "perceiver_embeddings"];

fn source(port: &Port, graph: &str, others: Others<'_>) -> Result<Source> {
    let is_embedded = |name: &str| others.embedded.iter().any(|output| output.name == name);
    Ok(match (port.name.as_str(), others.looked) {
        (name, _) if is_embedded(name) => Source::Embedded { output: name.into() },
        ("input_ids" | "decoder_input_ids", _) => Source::Written,
        (name, Some((stage, output))) if STATES.contains(&name) => Source::States { stage: stage.into(), output: output.into() },
        ("encoder_attention_mask", Some(_)) => Source::StatesMask,
        ("image_attention_mask", Some(_)) if others.marker.is_some() => {
            let (marker, end) = others.marker.unwrap_or_default();
            Source::MarkedStates { marker, end }
        }
        ("attention_mask" | "decoder_attention_mask", _) => Source::WrittenMask,
        ("position_ids", _) => Source::WrittenPlaces,
        ("use_cache_branch", _) => Source::UsesCache,
        ("cache_position", _) => Source::WrittenPositions,
        // Of the last token only.
        ("num_logits_to_keep" | "logits_to_keep", _) => {
            let shape = port.shape.iter().map(|size| size.unwrap_or(1)).collect();
            Source::Constant { value: 1.0, shape }
        }
        (name, _) => match name.strip_prefix("past_key_values.") {
            Some(rest) if port.shape.len() == CACHE_DIMENSIONS => Source::Carried { output: format!("present.{rest}") },
            _ => {
                let known = "input_ids, inputs_embeds, attention_mask, position_ids, encoder_hidden_states, encoder_attention_mask, \
                             image_attention_mask, past_key_values.*, use_cache_branch and cache_position";
                return Err(Error::new(Kind::Package, format!("unknown input of a decoder: {port} in {graph}"))
                    .with_hint(format!("known are {known}")));
            }
        },
    })
}
