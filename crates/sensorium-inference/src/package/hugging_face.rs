//! Export folders as Hugging Face Optimum and sentence-transformers write them: text encoders and classifiers,
//! image encoders and classifiers.

use serde_json::Value;

use super::audio_spec::{AudioFeatures, AudioSpec};
use super::feeds::{token_feeds, token_part};
use super::image_spec::ImageSpec;
use super::import::{ImportOptions, distinct};
use super::manifest::{Activation, Feed, Input, Manifest, Modality, OutputRef, Pooling, Prediction, Source, Stage};
use super::onnx_file::ONLY_STAGE;
use super::port::{Port, Signature};
use super::source::{Files, read_json};
use super::tasks::output;
use super::text_spec::TextSpec;
use super::video_spec::{FrameOrder, VideoSpec};
use super::{
    hugging_face_joint, hugging_face_seq2seq, hugging_face_series, hugging_face_speech, hugging_face_text, hugging_face_vision_language,
};
use crate::error::{Error, Kind, Result};

/// Reads the folder; `config.json` is known to be there.
pub(super) fn read(files: &mut Files, options: &ImportOptions) -> Result<Manifest> {
    let config = read_json(&files.root.join("config.json"))?.unwrap_or_default();
    if let Some(speech) = hugging_face_speech::read(files, &config, options)? {
        return Ok(speech);
    }
    if let Some(series) = hugging_face_series::read(files, &config, options)? {
        return Ok(series);
    }
    if options.task.is_some() {
        return Err(Error::new(Kind::Setting, "option task has no effect: config.json says what the model is for")
            .with_hint("leave the option out, or write `sensorium.toml` into the folder"));
    }
    if let Some(text) = hugging_face_text::read(files, &config, options)? {
        return Ok(text);
    }
    if let Some(seeing) = hugging_face_vision_language::read(files, &config, options)? {
        return Ok(seeing);
    }
    if let Some(writing) = hugging_face_seq2seq::read(files, &config, options)? {
        return Ok(writing);
    }
    if let Some(joint) = hugging_face_joint::read(files, &config, options)? {
        return Ok(joint);
    }
    let graph = graph(files, options.variant.as_deref())?;
    let (path, _) = files.use_graph(&graph)?;
    let signature = Signature::read(&path)?;
    let (input, feeds) = if signature.inputs.iter().any(|port| SOUND_PORTS.contains(&port.name.as_str())) {
        sound_input(files, &signature.inputs)?
    } else if signature.inputs.iter().any(|port| token_part(&port.name).is_some()) {
        text_input(files, &signature.inputs, options)?
    } else {
        picture_input(files, &config, &signature.inputs, options)?
    };
    let embedding = embedding(files, &signature.outputs, &input.modality)?;
    let prediction = prediction(&config, &signature.outputs, embedding.as_ref(), options)?;
    let stage = Stage { name: ONLY_STAGE.into(), graph, feeds, outputs: signature.outputs };
    Ok(Manifest::new(vec![input], vec![stage], prediction, embedding))
}

/// `model.onnx`, or another of the graphs that exporters put beside it: `model_fp16.onnx`, `model_quantized.onnx`.
pub(super) fn graph(files: &Files, variant: Option<&str>) -> Result<String> {
    let name = file_name("model", variant)?;
    graph_if_there(files, "model", variant)?.ok_or_else(|| {
        let message = format!("no graph in the export folder: neither onnx/{name} nor {name} in {}", files.root.display());
        Error::new(Kind::Package, message).with_hint("export the model with `optimum-cli export onnx`")
    })
}

/// The graph called `name` in the folder, if it has one.
pub(super) fn graph_if_there(files: &Files, name: &str, variant: Option<&str>) -> Result<Option<String>> {
    let name = file_name(name, variant)?;
    Ok([format!("onnx/{name}"), name].into_iter().find(|graph| files.root.join(graph).is_file()))
}

/// The graph in a folder of its own, as pipelines have them.
pub(super) fn graph_if_there_in(files: &Files, folder: &str, variant: Option<&str>) -> Result<Option<String>> {
    let graph = format!("{folder}/{}", file_name("model", variant)?);
    Ok(files.root.join(&graph).is_file().then_some(graph))
}

fn file_name(name: &str, variant: Option<&str>) -> Result<String> {
    if let Some(wrong) = variant.filter(|variant| !variant.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')) {
        return Err(Error::new(Kind::Setting, format!("variant: not a usable value: '{wrong}'")).with_hint("'fp16' for model_fp16.onnx"));
    }
    Ok(variant.map_or(format!("{name}.onnx"), |variant| format!("{name}_{variant}.onnx")))
}

fn text_input(files: &mut Files, ports: &[Port], options: &ImportOptions) -> Result<(Input, Vec<Feed>)> {
    let spec = TextSpec::from_folder(&files.root, "", options.max_tokens)?;
    files.use_file(&spec.tokenizer)?;
    let (feeds, masked, fixed_tokens) = token_feeds(ports, "text")?;
    let max_tokens = fixed_tokens.map_or(spec.max_tokens, |fixed| fixed.min(spec.max_tokens));
    let modality = Modality::Text(TextSpec { masked, fixed_tokens, max_tokens, ..spec });
    Ok((Input::new("text", modality), feeds))
}

/// A picture, or a video where the graph takes several at once.
fn picture_input(files: &Files, config: &Value, ports: &[Port], options: &ImportOptions) -> Result<(Input, Vec<Feed>)> {
    match ports {
        [port] if port.shape.len() == VIDEO_DIMENSIONS => {
            let frames = config["num_frames"].as_u64().and_then(|frames| usize::try_from(frames).ok()).or(port.shape[1]);
            let frames = frames.ok_or_else(|| Error::new(Kind::Package, "video model without num_frames in config.json"))?;
            let sampling = options.sampling.ok_or_else(|| {
                Error::new(Kind::Package, format!("nothing says which {frames} frames of a video the model looks at"))
                    .with_hint("OPTIONS (sampling = 'uniform'), or sampling = 0.5 for a frame each half second")
            })?;
            let spec =
                VideoSpec { image: preprocessing(files)?, frames, sampling, order: FrameOrder::FramesFirst, pooling: None }.check()?;
            spec.check_port(port)?;
            let feed = Feed { port: port.clone(), source: Source::Frames { input: "video".into() } };
            Ok((Input::new("video", Modality::Video(spec)), vec![feed]))
        }
        _ => image_input(files, ports),
    }
}

/// Rows, frames, channels, height and width.
const VIDEO_DIMENSIONS: usize = 5;

/// What is done to a picture, as the folder says.
pub(super) fn preprocessing(files: &Files) -> Result<ImageSpec> {
    let config = read_json(&files.root.join("preprocessor_config.json"))?.ok_or_else(|| {
        Error::new(Kind::Package, "image model without preprocessor_config.json: resize, mean and std cannot be known")
            .with_hint("export it with the model, or write them in `sensorium.toml`")
    })?;
    ImageSpec::from_preprocessor(&config)
}

fn image_input(files: &Files, ports: &[Port]) -> Result<(Input, Vec<Feed>)> {
    let [port] = ports else {
        let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
        return Err(Error::new(Kind::Package, format!("neither a text nor an image model: inputs {}", names.join(", ")))
            .with_hint("describe the inputs in `sensorium.toml`"));
    };
    let spec = preprocessing(files)?;
    check_pixels(port, &spec)?;
    let feed = Feed { port: port.clone(), source: Source::Pixels { input: "image".into() } };
    Ok((Input::new("image", Modality::Image(spec)), vec![feed]))
}

/// What exporters call the features of sound.
const SOUND_PORTS: [&str; 2] = ["input_values", "input_features"];

fn sound_input(files: &Files, ports: &[Port]) -> Result<(Input, Vec<Feed>)> {
    let config = read_json(&files.root.join("preprocessor_config.json"))?.ok_or_else(|| {
        Error::new(Kind::Package, "sound model without preprocessor_config.json: rate and features cannot be known")
            .with_hint("export it with the model, or write them in `sensorium.toml`")
    })?;
    let spec = AudioSpec::from_preprocessor(&config, ports.iter().any(|port| port.name == "attention_mask"))?;
    let input = || "audio".to_string();
    let feed = |port: &Port| match port.name.as_str() {
        name if SOUND_PORTS.contains(&name) => {
            check_sound(port, &spec)?;
            Ok(Feed { port: port.clone(), source: Source::Sound { input: input() } })
        }
        "attention_mask" if spec.fixed_shape().is_none() => Ok(Feed { port: port.clone(), source: Source::SoundMask { input: input() } }),
        _ => Err(Error::new(Kind::Package, format!("unknown input of a sound model: {port}"))
            .with_hint("describe the inputs in `sensorium.toml`")),
    };
    let feeds = ports.iter().map(feed).collect::<Result<Vec<_>>>()?;
    Ok((Input::new(&input(), Modality::Audio(spec)), feeds))
}

/// Refuses features of another shape than the graph takes.
pub(super) fn check_sound(port: &Port, spec: &AudioSpec) -> Result<()> {
    let trailing = port.shape.get(1..).unwrap_or_default();
    let fits = match spec.fixed_shape() {
        None => trailing.len() == 1,
        Some(wanted) => {
            // YAMNet's patches may be pictures of one channel.
            let own =
                trailing.strip_prefix(&[Some(1)]).filter(|_| matches!(spec.features, AudioFeatures::Yamnet { .. })).unwrap_or(trailing);
            own.len() == 2 && own.iter().zip(wanted).all(|(size, wanted)| size.is_none_or(|size| size == wanted))
        }
    };
    if fits && port.element.is_float() {
        return Ok(());
    }
    let features = spec.fixed_shape().map_or("samples".to_string(), |shape| format!("features of {shape:?}"));
    Err(Error::new(Kind::Package, format!("{features} for graph input {port}"))
        .with_hint("the preprocessor must give what the graph takes"))
}

/// Refuses a picture size that the graph does not take.
pub(super) fn check_pixels(port: &Port, spec: &ImageSpec) -> Result<()> {
    let size = spec.size()?;
    let (height, width, channels) = (size.height as usize, size.width as usize, spec.channels());
    let wanted = match spec.layout {
        super::Layout::Nchw => [channels, height, width],
        super::Layout::Nhwc => [height, width, channels],
    };
    let fits = port.shape.len() == 4 && port.shape[1..].iter().zip(wanted).all(|(size, wanted)| size.is_none_or(|size| size == wanted));
    if fits && port.element.is_numeric() {
        return Ok(());
    }
    Err(Error::new(Kind::Package, format!("picture of {wanted:?} for graph input {port}"))
        .with_hint("resize, crop and layout must give what the graph takes"))
}

/// The row's vector: an output that is one already, or token vectors pooled as sentence-transformers' folder says.
fn embedding(files: &Files, ports: &[Port], modality: &Modality) -> Result<Option<OutputRef>> {
    check_modules(files)?;
    // A text model's pooler_output is trained for something else than comparison.
    let last = if matches!(modality, Modality::Text(_)) { "text_embeds" } else { "pooler_output" };
    // A speaker model's `embeddings` are what it is for; those of others may be of tokens.
    let speaker = if matches!(modality, Modality::Audio(_)) { "embeddings" } else { "embedding" };
    let ready = ["sentence_embedding", "embedding", speaker, "image_embeds", "text_embeds", last];
    let named = |name: &&str| ports.iter().find(|port| port.name == **name && port.shape.len() == 2);
    let tokens = ports.iter().find(|port| port.name == "last_hidden_state" || port.name == "token_embeddings");
    let pooling = read_json(&files.root.join("1_Pooling/config.json"))?;
    match (pooling, tokens, modality) {
        (Some(config), Some(port), Modality::Text(_)) if named(&"sentence_embedding").is_none() => {
            let normalize = read_json(&files.root.join("modules.json"))?
                .and_then(|modules| modules.as_array().map(|modules| modules.iter().any(is_normalize)))
                .unwrap_or(false);
            Ok(Some(OutputRef { pooling: Some(pooling_mode(&config)?), normalize, ..output(ONLY_STAGE, port) }))
        }
        _ => Ok(ready.iter().find_map(named).map(|port| output(ONLY_STAGE, port))),
    }
}

/// sentence-transformers' steps behind the graph: only pooling and normalisation are done here.
fn check_modules(files: &Files) -> Result<()> {
    let modules = read_json(&files.root.join("modules.json"))?.unwrap_or_default();
    for kind in modules.as_array().into_iter().flatten().filter_map(|module| module["type"].as_str()) {
        if !["Transformer", "Pooling", "Normalize"].iter().any(|known| kind.ends_with(known)) {
            return Err(Error::new(Kind::Package, format!("modules.json has a step that is not carried out here: {kind}"))
                .with_hint("export the whole pipeline as one graph with the output sentence_embedding"));
        }
    }
    let lowers =
        read_json(&files.root.join("sentence_bert_config.json"))?.is_some_and(|config| config["do_lower_case"] == Value::Bool(true));
    if lowers {
        return Err(Error::new(Kind::Package, "sentence_bert_config.json asks for do_lower_case, which is not carried out here")
            .with_hint("put the lower-casing into tokenizer.json"));
    }
    Ok(())
}

fn is_normalize(module: &Value) -> bool {
    module["type"].as_str().is_some_and(|kind| kind.ends_with("Normalize"))
}

/// The one mode that `1_Pooling/config.json` switches on.
fn pooling_mode(config: &Value) -> Result<Pooling> {
    let modes = [
        ("pooling_mode_mean_tokens", Pooling::Mean),
        ("pooling_mode_cls_token", Pooling::Cls),
        ("pooling_mode_max_tokens", Pooling::Max),
        ("pooling_mode_lasttoken", Pooling::LastToken),
    ];
    let on: Vec<Pooling> = modes.iter().filter(|(key, _)| config[*key].as_bool() == Some(true)).map(|(_, mode)| *mode).collect();
    let others = config.as_object().is_some_and(|object| {
        object.iter().any(|(key, value)| {
            key.starts_with("pooling_mode_") && value.as_bool() == Some(true) && modes.iter().all(|(known, _)| known != key)
        })
    });
    match on.as_slice() {
        [mode] if !others => Ok(*mode),
        _ => Err(Error::new(Kind::Package, "unknown pooling: 1_Pooling/config.json must switch on one of mean, cls, max or lasttoken")
            .with_hint("write `pooling = \"mean\"` in `sensorium.toml`")),
    }
}

/// Classification and regression heads say so in `config.json`; anything else returns its vector or its outputs.
fn prediction(config: &Value, ports: &[Port], embedding: Option<&OutputRef>, options: &ImportOptions) -> Result<Prediction> {
    let architecture = config["architectures"][0].as_str().unwrap_or("");
    let kinds = ["ForSequenceClassification", "ForImageClassification", "ForAudioClassification", "ForVideoClassification"];
    let is_classifier = kinds.iter().any(|kind| architecture.ends_with(kind));
    let logits = ports.iter().find(|port| port.name == "logits");
    if let (true, Some(port)) = (is_classifier, logits) {
        let labels = match &options.labels {
            Some(labels) => labels.clone(),
            None => id2label(config)?,
        };
        if config["problem_type"].as_str() == Some("regression") {
            return Ok(Prediction::Regression { value: output(ONLY_STAGE, port) });
        }
        let several = config["problem_type"].as_str() == Some("multi_label_classification") || labels.len() == 1;
        let activation = if several { Activation::Sigmoid } else { Activation::Softmax };
        let activation = options.activation.as_deref().map(str::parse).transpose()?.unwrap_or(activation);
        return Ok(Prediction::Classification { classes: distinct(&labels), scores: output(ONLY_STAGE, port), activation, label: None });
    }
    match embedding {
        Some(vector) => Ok(Prediction::Outputs { fields: vec![("embedding".into(), vector.clone())] }),
        None if ports.iter().all(|port| port.shape.len() <= 2) => {
            Ok(Prediction::Outputs { fields: ports.iter().map(|port| (port.name.clone(), output(ONLY_STAGE, port))).collect() })
        }
        None => Err(Error::new(
            Kind::Package,
            format!("unknown pooling: '{}' gives one vector a token and nothing says how they become one", ports[0].name),
        )
        .with_hint(
            "export the folder with sentence-transformers' 1_Pooling/config.json, or write `pooling = \"mean\"` in `sensorium.toml`",
        )),
    }
}

pub(super) fn id2label(config: &Value) -> Result<Vec<String>> {
    let unknown = || {
        Error::new(Kind::Package, "classifier without labels: config.json has no complete id2label")
            .with_hint("OPTIONS (labels = 'a,b,c') in the order of the logits")
    };
    let table = config["id2label"].as_object().ok_or_else(unknown)?;
    (0..table.len()).map(|index| table.get(&index.to_string()).and_then(Value::as_str).map(str::to_string).ok_or_else(unknown)).collect()
}
