//! Export folders of speech-to-text models with an encoder and a decoder: Whisper.

use serde_json::Value;

use super::audio_spec::{AudioFeatures, AudioSpec};
use super::hugging_face::{check_sound, graph_if_there};
use super::import::ImportOptions;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::port::{Port, Signature};
use super::source::{Files, read_json};
use super::speech::Speech;
use crate::error::{Error, Kind, Result};

/// Names of the input and of the stages.
const AUDIO: &str = "audio";
pub(crate) const ENCODER: &str = "encoder";
/// Takes all tokens so far, or, as merged by Optimum, a cache as well.
pub(crate) const DECODER: &str = "decoder";
/// Takes the last token and a cache.
pub(crate) const DECODER_WITH_PAST: &str = "decoder_with_past";

/// Output of the encoder, which the decoder looks at.
const STATES: &str = "last_hidden_state";

/// Reads the folder if it is of a speech model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    let is_writer = config["architectures"][0].as_str().is_none_or(|name| name.ends_with("ForConditionalGeneration"));
    if config["model_type"].as_str() != Some("whisper") || !is_writer {
        return Ok(None);
    }
    let variant = options.variant.as_deref();
    let there = |name: &str| graph_if_there(files, name, variant);
    let missing = |name: &str| {
        Error::new(Kind::Package, format!("speech model without {name}.onnx in {}", files.root.display()))
            .with_hint("export it with `optimum-cli export onnx --task automatic-speech-recognition-with-past`")
    };
    let encoder = there("encoder_model")?.ok_or_else(|| missing("encoder_model"))?;
    let decoders = match (there("decoder_model_merged")?, there("decoder_model")?, there("decoder_with_past_model")?) {
        (Some(merged), ..) => vec![(DECODER, merged)],
        (None, Some(first), Some(next)) => vec![(DECODER, first), (DECODER_WITH_PAST, next)],
        (None, Some(only), None) => vec![(DECODER, only)],
        (None, None, _) => return Err(missing("decoder_model_merged")),
    };
    let preprocessor = read_json(&files.root.join("preprocessor_config.json"))?.ok_or_else(|| {
        Error::new(Kind::Package, "speech model without preprocessor_config.json: its spectrogram cannot be known")
            .with_hint("export it with the model")
    })?;
    let spec = AudioSpec::from_preprocessor(&preprocessor, false)?;
    if !matches!(spec.features, AudioFeatures::LogMel { .. }) {
        return Err(Error::new(Kind::Package, "speech model whose preprocessor is not Whisper's"));
    }
    let generation = read_json(&files.root.join("generation_config.json"))?.unwrap_or_default();
    let speech = Speech::read(&generation, config, options)?;
    files.use_file(&speech.tokenizer).map_err(|error| error.with_hint("export the tokenizer as `tokenizer.json` (the fast format)"))?;
    let mut stages = vec![encoder_stage(files, encoder, &spec)?];
    for (name, graph) in decoders {
        stages.push(decoder_stage(files, name, graph)?);
    }
    let input = Input { name: AUDIO.into(), optional: false, modality: Modality::Audio(spec) };
    Ok(Some(Manifest::new(vec![input], stages, Prediction::Transcript { speech: Box::new(speech) }, None)))
}

fn encoder_stage(files: &mut Files, graph: String, spec: &AudioSpec) -> Result<Stage> {
    let (path, _) = files.use_graph(&graph)?;
    let signature = Signature::read(&path)?;
    let [port] = signature.inputs.as_slice() else {
        let names: Vec<String> = signature.inputs.iter().map(ToString::to_string).collect();
        return Err(Error::new(Kind::Package, format!("a speech encoder takes one spectrogram, not {}", names.join(", "))));
    };
    check_sound(port, spec)?;
    if !signature.outputs.iter().any(|port| port.name == STATES) {
        return Err(Error::new(Kind::Package, format!("graph {graph} gives no '{STATES}'")));
    }
    let feeds = vec![Feed { port: port.clone(), source: Source::Sound { input: AUDIO.into() } }];
    Ok(Stage { name: ENCODER.into(), graph, feeds, outputs: signature.outputs })
}

fn decoder_stage(files: &mut Files, name: &str, graph: String) -> Result<Stage> {
    let (path, _) = files.use_graph(&graph)?;
    let Signature { inputs, outputs } = Signature::read(&path)?;
    let feeds = inputs.into_iter().map(|port| Ok(Feed { source: decoder_source(&port, &graph)?, port })).collect::<Result<Vec<_>>>()?;
    for feed in &feeds {
        if let Source::Carried { output } = &feed.source
            && name == DECODER
            && !outputs.iter().any(|port| port.name == *output)
        {
            return Err(Error::new(Kind::Package, format!("graph {graph} takes '{}' and gives no '{output}'", feed.port.name)));
        }
    }
    if !outputs.iter().any(|port| port.name == "logits" && port.shape.len() == 3) {
        return Err(Error::new(Kind::Package, format!("graph {graph} gives no 'logits' of each token")));
    }
    Ok(Stage { name: name.into(), graph, feeds, outputs })
}

/// The names that Optimum gives to a decoder's inputs.
fn decoder_source(port: &Port, graph: &str) -> Result<Source> {
    Ok(match port.name.as_str() {
        "input_ids" | "decoder_input_ids" => Source::Written,
        "encoder_hidden_states" => Source::States { stage: ENCODER.into(), output: STATES.into() },
        "use_cache_branch" => Source::UsesCache,
        "cache_position" => Source::WrittenPositions,
        name => match name.strip_prefix("past_key_values.") {
            Some(rest) if port.shape.len() == 4 => Source::Carried { output: format!("present.{rest}") },
            _ => {
                return Err(Error::new(Kind::Package, format!("unknown input of a decoder: {port} in {graph}"))
                    .with_hint("known are input_ids, encoder_hidden_states, past_key_values.*, use_cache_branch and cache_position"));
            }
        },
    })
}
