//! Export folders of models that are asked about media among the words of their prompt, as onnx-community writes them: LLaVA and
//! Gemma 3n, whose vectors of pictures and sounds stand among those of tokens (`embed_tokens`, `vision_encoder`, `audio_encoder`,
//! `decoder_model_merged`), and Idefics, whose decoder looks at pictures besides its tokens, as in Flamingo.

use serde_json::Value;

use super::audio_spec::AudioSpec;
use super::decoder::{self, AUDIO_ENCODER, EMBED_TOKENS, INPUTS_EMBEDS, Others, VISION_ENCODER};
use super::generation::{Generation, MediaMarker, tokens};
use super::hugging_face::graph_if_there;
use super::hugging_face_seq2seq::{IMAGE, states, vision};
use super::hugging_face_text::{PROMPT, check_cache, generation};
use super::import::ImportOptions;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::port::{Port, Signature};
use super::source::{Files, read_json};
use super::video_spec::{VIDEO, VideoSpec};
use crate::error::{Error, Kind, Result};

/// Name of the input of sounds.
const AUDIO: &str = "audio";
/// Models whose prompts are put together as their processors do it.
const KNOWN: [&str; 3] = ["llava", "gemma3n", "idefics"];
/// What Idefics puts before and behind pictures.
const IDEFICS_BORDER: &str = "<fake_token_around_image>";

/// The files that say how media become tensors and prompts.
struct Configs<'a> {
    model: &'a Value,
    /// `processor_config.json`.
    processor: Value,
    /// `preprocessor_config.json`.
    preprocessor: Value,
    /// `tokenizer_config.json`.
    tokenizer: Value,
    /// Tokens that steer, from `tokenizer.json`.
    added: Value,
}

/// Reads the folder if it is of such a model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    let variant = options.variant.as_deref();
    let graphs = decoder::graphs(files, variant)?;
    let embed = graph_if_there(files, EMBED_TOKENS, variant)?;
    let kind = config["model_type"].as_str().unwrap_or("");
    if graphs.is_empty() || (embed.is_none() && kind != "idefics") {
        return Ok(None);
    }
    if !KNOWN.contains(&kind) {
        return Err(Error::new(Kind::Package, format!("how the prompts of a '{kind}' model hold media is not known"))
            .with_hint(format!("known are {}", KNOWN.join(", "))));
    }
    let read = |name: &str| read_json(&files.root.join(name)).map(Option::unwrap_or_default);
    let configs = Configs {
        model: config,
        processor: read("processor_config.json")?,
        preprocessor: read("preprocessor_config.json")?,
        tokenizer: read("tokenizer_config.json")?,
        added: read("tokenizer.json")?["added_tokens"].take(),
    };
    let (mut inputs, mut stages, mut markers) = (vec![Input::new(PROMPT, Modality::Prompt)], Vec::new(), Vec::new());
    let mut video = None;
    if let Some(graph) = graph_if_there(files, VISION_ENCODER, variant)? {
        let signature = Signature::read(&files.use_graph(&graph)?.0)?;
        let (input, stage) = vision(files, graph, signature, Input::optional)?;
        if let Modality::Image(spec) = &input.modality {
            video = Some(spec.clone());
        }
        inputs.push(Input { list: true, ..input });
        markers.push(picture_marker(&configs, kind, &stage)?);
        stages.push(stage);
    }
    if let Some(graph) = graph_if_there(files, AUDIO_ENCODER, variant)? {
        let (spec, stage) = hearing(files, graph, &configs)?;
        inputs.push(Input { list: true, ..Input::optional(AUDIO, Modality::Audio(spec)) });
        markers.push(sound_marker(&configs, &stage)?);
        stages.push(stage);
    }
    for (name, is_read) in
        [(VISION_ENCODER, inputs.iter().any(|input| input.name == IMAGE)), (AUDIO_ENCODER, inputs.iter().any(|input| input.name == AUDIO))]
    {
        if let Some(other) = files.any_starting_with(name).filter(|_| !is_read) {
            return Err(Error::new(Kind::Package, format!("the model has {other}, but no {name} of the variant that was asked for"))
                .with_hint("copy or link the graphs that belong together to names of one variant"));
        }
    }
    let mut counts_padding = false;
    for (_, graph) in &graphs {
        counts_padding |= files.use_graph(graph)?.1.counts_tokens;
    }
    let embedding = embed.map(|graph| embedding(files, graph)).transpose()?;
    let seen = stages.iter().find(|stage| stage.name == VISION_ENCODER).filter(|_| embedding.is_none());
    let seen = seen.map(|stage| Ok::<_, Error>(states(stage)?.name.clone())).transpose()?;
    let end = tokens(&config["eos_token_id"]).first().copied();
    let others = Others {
        looked: seen.as_deref().map(|output| (VISION_ENCODER, output)),
        embedded: embedding.as_ref().map_or(&[], |stage| stage.outputs.as_slice()),
        marker: markers.first().map(|marker| (marker.token, end)),
    };
    let decoders = graphs.into_iter().map(|(name, graph)| decoder::stage(files, name, graph, others)).collect::<Result<Vec<_>>>()?;
    check_cache(&decoders)?;
    let generation = Generation { media: markers, ..generation(files, config, &decoders, counts_padding, Vec::new())? };
    if let (Some(image), Some(marker)) = (video, generation.media.first()) {
        // The other half is for words.
        let most = generation.max_positions / (2 * marker.tokens).max(1);
        inputs.push(Input { list: true, ..Input::optional(VIDEO, Modality::Video(VideoSpec::in_prompt(image, most))) });
    }
    stages.extend(embedding);
    stages.extend(decoders);
    Ok(Some(Manifest::new(inputs, stages, Prediction::Text { generation: Box::new(generation) }, None)))
}

/// The graph that makes vectors of tokens.
fn embedding(files: &mut Files, graph: String) -> Result<Stage> {
    let Signature { inputs, outputs } = Signature::read(&files.use_graph(&graph)?.0)?;
    let [port] = inputs.as_slice() else {
        return Err(Error::new(Kind::Package, format!("graph {graph} takes more than input_ids")));
    };
    if !outputs.iter().any(|port| port.name == INPUTS_EMBEDS && port.shape.len() == 3) {
        return Err(Error::new(Kind::Package, format!("graph {graph} gives no '{INPUTS_EMBEDS}' of each token")));
    }
    let feeds = vec![Feed { port: port.clone(), source: Source::Written }];
    Ok(Stage { name: EMBED_TOKENS.into(), graph, feeds, outputs })
}

/// The graph that hears, and what is done to sound before.
fn hearing(files: &mut Files, graph: String, configs: &Configs<'_>) -> Result<(AudioSpec, Stage)> {
    let Signature { inputs, outputs } = Signature::read(&files.use_graph(&graph)?.0)?;
    let own = &configs.processor["feature_extractor"];
    let spec = AudioSpec::from_preprocessor(if own.is_null() { &configs.preprocessor } else { own }, true)?;
    let source = |port: &Port| match port.name.as_str() {
        "input_features" => Ok(Source::Sound { input: AUDIO.into() }),
        "input_features_mask" => Ok(Source::SoundMask { input: AUDIO.into() }),
        _ => Err(Error::new(Kind::Package, format!("unknown input of an encoder of sound: {port} in {graph}"))
            .with_hint("known are input_features and input_features_mask")),
    };
    let feeds = inputs.iter().map(|port| Ok(Feed { port: port.clone(), source: source(port)? })).collect::<Result<_>>()?;
    Ok((spec, Stage { name: AUDIO_ENCODER.into(), graph, feeds, outputs }))
}

fn missing(what: &str) -> Error {
    Error::new(Kind::Package, format!("how media come into the prompt is not known: {what}"))
        .with_hint("export the folder with config.json, processor_config.json and tokenizer_config.json as they are")
}

impl Configs<'_> {
    /// The token that config.json gives under one of `names`, and its text.
    fn marker(&self, names: &[&str]) -> Result<(u32, String)> {
        let token = names.iter().find_map(|name| tokens(&self.model[*name]).first().copied());
        let token = token.ok_or_else(|| missing(&format!("config.json does not say '{}'", names[0])))?;
        let is_own = |added: &&Value| added["id"].as_u64() == Some(u64::from(token));
        let text = self.added.as_array().and_then(|added| added.iter().find(is_own)?["content"].as_str());
        Ok((token, text.ok_or_else(|| missing(&format!("tokenizer.json has no added token {token}")))?.to_string()))
    }

    /// The text of a token that tokenizer_config.json names.
    fn named(&self, name: &str) -> Result<String> {
        let token = [&self.tokenizer[name], &self.tokenizer["extra_special_tokens"][name]].into_iter().find(|token| !token.is_null());
        let text = token.and_then(|token| token.as_str().or(token["content"].as_str()));
        text.map(str::to_string).ok_or_else(|| missing(&format!("tokenizer_config.json does not say '{name}'")))
    }

    fn count(&self, file: &Value, name: &str) -> Option<usize> {
        file[name].as_u64().and_then(|count| usize::try_from(count).ok())
    }
}

/// Number of vectors where the graph itself fixes it.
fn fixed(stage: &Stage) -> Result<Option<usize>> {
    Ok(states(stage)?.shape.get(1).copied().flatten())
}

/// As `processing_llava.py`, `processing_gemma3n.py` and `processing_idefics.py` write pictures down.
fn picture_marker(configs: &Configs<'_>, kind: &str, stage: &Stage) -> Result<MediaMarker> {
    let nothing = (String::new(), String::new());
    let (around, tokens, shares_borders) = match kind {
        "idefics" => ((IDEFICS_BORDER.to_string(), IDEFICS_BORDER.to_string()), Some(1), true),
        "gemma3n" => {
            let around = (format!("\n\n{}", configs.named("boi_token")?), format!("{}\n\n", configs.named("eoi_token")?));
            (around, configs.count(&configs.processor, "image_seq_length"), false)
        }
        _ => (nothing, fixed(stage)?.or_else(|| llava_tokens(configs)), false),
    };
    let (token, text) = match kind {
        "idefics" => {
            let text = "<image>";
            let is_own = |added: &&Value| added["content"] == text;
            let id = configs.added.as_array().and_then(|added| added.iter().find(is_own)?["id"].as_u64());
            let id = id.and_then(|id| u32::try_from(id).ok());
            (id.ok_or_else(|| missing("tokenizer.json has no token <image>"))?, text.to_string())
        }
        _ => configs.marker(&["image_token_id", "image_token_index"])?,
    };
    let tokens = tokens.ok_or_else(|| missing("nothing says how many tokens a picture becomes"))?;
    Ok(MediaMarker { input: IMAGE.into(), text, token, part: "image".into(), tokens, around, shares_borders })
}

/// Patches of a picture, as `processing_llava.py` counts them.
fn llava_tokens(configs: &Configs<'_>) -> Option<usize> {
    let patch = configs.count(&configs.processor, "patch_size")?;
    let edge = configs.count(&configs.model["vision_config"], "image_size")?;
    let patches = (edge / patch.max(1)).pow(2) + configs.count(&configs.processor, "num_additional_image_tokens").unwrap_or(0);
    let is_default = configs.processor["vision_feature_select_strategy"] == "default";
    Some(if is_default { patches.saturating_sub(1) } else { patches })
}

fn sound_marker(configs: &Configs<'_>, stage: &Stage) -> Result<MediaMarker> {
    let (token, text) = configs.marker(&["audio_token_id", "audio_token_index"])?;
    let tokens = fixed(stage)?.or_else(|| configs.count(&configs.processor, "audio_seq_length"));
    let tokens = tokens.ok_or_else(|| missing("processor_config.json does not say 'audio_seq_length'"))?;
    let around = (format!("\n\n{}", configs.named("boa_token")?), format!("{}\n\n", configs.named("eoa_token")?));
    Ok(MediaMarker { input: AUDIO.into(), text, token, part: "audio".into(), tokens, around, shares_borders: false })
}
