//! Export folders of speech-to-text models with an encoder and a decoder: Whisper.

use serde_json::Value;

use super::audio_spec::{AudioFeatures, AudioSpec};
use super::decoder::{self, Others};
use super::hugging_face::{check_sound, graph_if_there};
use super::import::ImportOptions;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::port::Signature;
use super::source::{Files, read_json};
use super::speech::Speech;
use crate::error::{Error, Kind, Result};

/// Names of the input and of the stages.
const AUDIO: &str = "audio";
pub(crate) const ENCODER: &str = "encoder";

/// Output of the encoder, which the decoder looks at.
const STATES: &str = "last_hidden_state";

/// Reads the folder if it is of a speech model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    let is_writer = config["architectures"][0].as_str().is_none_or(|name| name.ends_with("ForConditionalGeneration"));
    if config["model_type"].as_str() != Some("whisper") || !is_writer {
        return Ok(None);
    }
    let variant = options.variant.as_deref();
    let missing = |name: &str| {
        Error::new(Kind::Package, format!("speech model without {name}.onnx in {}", files.root.display()))
            .with_hint("export it with `optimum-cli export onnx --task automatic-speech-recognition-with-past`")
    };
    let encoder = graph_if_there(files, "encoder_model", variant)?.ok_or_else(|| missing("encoder_model"))?;
    let decoders = decoder::graphs(files, variant)?;
    if decoders.is_empty() {
        return Err(missing("decoder_model_merged"));
    }
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
        stages.push(decoder::stage(files, name, graph, Others { looked: Some((ENCODER, STATES)), ..Others::default() })?);
    }
    let input = Input::new(AUDIO, Modality::Audio(spec));
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
