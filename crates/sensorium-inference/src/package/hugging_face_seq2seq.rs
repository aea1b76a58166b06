//! Export folders of models whose encoder reads and whose decoder writes: T5, BART and their kin, captioners with an encoder for
//! pictures (`VisionEncoderDecoderModel`, BLIP), and BLIP's answers to questions about a picture.

use serde_json::Value;

use super::decoder::{self, DECODER, LOGITS, Others, TEXT_ENCODER, VISION_ENCODER};
use super::feeds::token_part;
use super::generation::{Reader, tokens};
use super::hugging_face::{check_pixels, graph_if_there, preprocessing};
use super::hugging_face_text::{PROMPT, check_cache, generation, settings};
use super::import::ImportOptions;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage, TokenPart};
use super::port::{Element, Port, Signature};
use super::source::Files;
use crate::error::{Error, Kind, Result};

/// Name of the input of pictures.
pub(super) const IMAGE: &str = "image";
/// Graphs of encoders, as exporters call them; BLIP's has another name than Optimum's.
const ENCODERS: [&str; 3] = ["encoder_model", "vision_model", "vision_encoder"];
/// The tokens of BLIP's texts where config.json leaves them out, as transformers does with what is usual (`configuration_blip.py`).
const BLIP_START: u32 = 30_522;
const BLIP_END: u32 = 102;
/// BLIP's reader of questions, which looks at the picture.
const QUESTION_ENCODER: &str = "text_encoder";

/// Reads the folder if it is of such a model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    let variant = options.variant.as_deref();
    let graphs = decoder::graphs(files, variant)?;
    let encoder = ENCODERS.iter().map(|name| graph_if_there(files, name, variant)).find_map(Result::transpose).transpose()?;
    let (Some(encoder), false) = (encoder, graphs.is_empty()) else { return Ok(None) };
    let mut inputs = Vec::new();
    let mut stages = Vec::new();
    let signature = Signature::read(&files.use_graph(&encoder)?.0)?;
    if signature.inputs.iter().any(|port| port.name == "pixel_values") {
        let (input, stage) = vision(files, encoder, signature, Input::new)?;
        inputs.push(input);
        stages.push(stage);
        if let Some(graph) = graph_if_there(files, QUESTION_ENCODER, variant)? {
            stages.push(text_encoder(files, graph, stages.first())?);
        }
    } else {
        stages.push(text_encoder(files, encoder, None)?);
    }
    let is_asked = stages.iter().any(|stage| stage.name == TEXT_ENCODER);
    let Some(last) = stages.last() else { return Ok(None) };
    let output = states(last)?.name.clone();
    let looked = (if is_asked { TEXT_ENCODER } else { VISION_ENCODER }, output.as_str());
    let mut counts_padding = false;
    for (_, graph) in &graphs {
        counts_padding |= files.use_graph(graph)?.1.counts_tokens;
    }
    let others = Others { looked: Some(looked), ..Others::default() };
    let decoders = graphs.into_iter().map(|(name, graph)| decoder::stage(files, name, graph, others)).collect::<Result<Vec<_>>>()?;
    check_cache(&decoders)?;
    let settings = settings(files, config)?;
    let mut generation = generation(files, config, &decoders, counts_padding, vec![start(config, &settings)?])?;
    if let Some(end) = blip_end(config) {
        generation.ends = vec![end];
    }
    // Prompts are no conversations.
    generation.chat = None;
    generation.reader = if is_asked { Reader::Encoder } else { Reader::Decoder };
    // A captioner may go on from a text or write one of its own.
    inputs.insert(0, if is_asked { Input::new(PROMPT, Modality::Prompt) } else { Input::optional(PROMPT, Modality::Prompt) });
    stages.extend(decoders);
    Ok(Some(Manifest::new(inputs, stages, Prediction::Text { generation: Box::new(generation) }, None)))
}

/// The graph that looks at pictures; `input` makes the model's input for them.
pub(super) fn vision(
    files: &Files,
    graph: String,
    signature: Signature,
    input: impl Fn(&str, Modality) -> Input,
) -> Result<(Input, Stage)> {
    let [port] = signature.inputs.as_slice() else {
        let names: Vec<String> = signature.inputs.iter().map(ToString::to_string).collect();
        return Err(Error::new(Kind::Package, format!("{graph} takes one tensor of pictures, not {}", names.join(", ")))
            .with_hint("models that look at a picture in parts or at any size are not known"));
    };
    let spec = preprocessing(files)?;
    check_pixels(port, &spec)?;
    let feeds = vec![Feed { port: port.clone(), source: Source::Pixels { input: IMAGE.into() } }];
    let stage = Stage { name: VISION_ENCODER.into(), graph, feeds, outputs: signature.outputs };
    Ok((input(IMAGE, Modality::Image(spec)), stage))
}

/// The graph that reads prompts, and looks at what `picture` gives.
fn text_encoder(files: &mut Files, graph: String, picture: Option<&Stage>) -> Result<Stage> {
    let signature = Signature::read(&files.use_graph(&graph)?.0)?;
    let seen = picture.map(|stage| Ok((stage.name.clone(), states(stage)?.name.clone()))).transpose()?;
    let source = |port: &Port| match (port.name.as_str(), token_part(&port.name), &seen) {
        (_, Some(part @ (TokenPart::InputIds | TokenPart::AttentionMask)), _) => Ok(Source::Asked { part }),
        ("encoder_hidden_states", _, Some((stage, output))) => Ok(Source::States { stage: stage.clone(), output: output.clone() }),
        ("encoder_attention_mask", _, Some(_)) => Ok(Source::StatesMask),
        _ => Err(Error::new(Kind::Package, format!("unknown input of an encoder: {port} in {graph}"))
            .with_hint("known are input_ids and attention_mask, pixel_values, and behind pictures encoder_hidden_states")),
    };
    let feeds = signature.inputs.iter().map(|port| Ok(Feed { port: port.clone(), source: source(port)? })).collect::<Result<_>>()?;
    Ok(Stage { name: TEXT_ENCODER.into(), graph, feeds, outputs: signature.outputs })
}

/// What the decoder looks at: the vectors of steps that an encoder gives.
pub(super) fn states(stage: &Stage) -> Result<&Port> {
    let is_states = |port: &&Port| port.shape.len() == 3 && matches!(port.element, Element::Float32 | Element::Float16);
    let named = stage.outputs.iter().find(|port| is_states(port) && port.name == "last_hidden_state");
    named
        .or_else(|| stage.outputs.iter().find(is_states))
        .filter(|port| port.name != LOGITS)
        .ok_or_else(|| Error::new(Kind::Package, format!("graph {} gives no vectors of steps", stage.graph)))
}

/// The token that stands before all others.
fn start(config: &Value, settings: &Value) -> Result<u32> {
    let of = |file: &Value, name: &str| tokens(&file[name]).first().copied();
    let blip = is_blip(config).then(|| of(&config["text_config"], "bos_token_id").unwrap_or(BLIP_START));
    let named = || [settings, config, &config["decoder"]].into_iter().find_map(|file| of(file, "decoder_start_token_id"));
    let begins = || [settings, config, &config["decoder"]].into_iter().find_map(|file| of(file, "bos_token_id"));
    blip.or_else(named).or_else(begins).ok_or_else(|| {
        Error::new(Kind::Package, format!("nothing says what a text of the {DECODER} begins with: decoder_start_token_id is missing"))
            .with_hint("export the model with its generation_config.json")
    })
}

/// transformers gives BLIP's decoder this end, whatever generation_config.json says (`modeling_blip.py`).
fn blip_end(config: &Value) -> Option<u32> {
    let own = tokens(&config["text_config"]["sep_token_id"]).first().copied();
    is_blip(config).then(|| own.unwrap_or(BLIP_END))
}

fn is_blip(config: &Value) -> bool {
    config["model_type"] == "blip"
}
