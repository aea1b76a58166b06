//! Export folders of models that continue texts: GPT-2, Llama and their kin, as Optimum and onnx-community write them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::decoder::{self, DECODER, DECODER_WITH_PAST, LOGITS, Others};
use super::generation::{Chat, Generation, Reader, Rules, tokens};
use super::hugging_face::graph;
use super::import::ImportOptions;
use super::manifest::{Input, Manifest, Modality, Prediction, Source, Stage};
use super::port::Signature;
use super::source::{Files, read_json, read_text};
use crate::error::{Error, Kind, Result};

/// Name of the input.
pub(super) const PROMPT: &str = "prompt";
const TOKENIZER: &str = "tokenizer.json";
/// What architectures call the number of places that they know.
const LENGTHS: [&str; 5] = ["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"];

/// The same where nothing says it, by the type of the model: what transformers' own classes begin with, which leave out of config.json
/// what is as they have it (`models/*/configuration_*.py`, 4.57).
const LENGTHS_BY_TYPE: [(&str, usize); 14] = [
    ("gemma", 8_192),
    ("gemma2", 8_192),
    ("gemma3_text", 131_072),
    ("gpt2", 1_024),
    ("gpt_neox", 2_048),
    ("granite", 2_048),
    ("llama", 2_048),
    ("mistral", 131_072),
    ("opt", 2_048),
    ("phi", 2_048),
    ("phi3", 4_096),
    ("qwen2", 32_768),
    ("qwen3", 32_768),
    ("smollm3", 32_768),
];

/// More tokens than memory has room for.
const NO_LENGTH: usize = 1 << 24;

/// Reads the folder if it is of such a model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    let architecture = config["architectures"][0].as_str().unwrap_or("");
    if !architecture.ends_with("ForCausalLM") && !architecture.ends_with("LMHeadModel") {
        return Ok(None);
    }
    let variant = options.variant.as_deref();
    let mut graphs = decoder::graphs(files, variant)?;
    if graphs.is_empty() {
        let graph = graph(files, variant)?;
        // Of a model that was exported for its vectors.
        if !Signature::read(&files.root.join(&graph))?.outputs.iter().any(|port| port.name == LOGITS) {
            return Ok(None);
        }
        graphs.push((DECODER, graph));
    }
    let mut counts_padding = false;
    for (_, graph) in &graphs {
        counts_padding |= files.use_graph(graph)?.1.counts_tokens;
    }
    let stages =
        graphs.into_iter().map(|(name, graph)| decoder::stage(files, name, graph, Others::default())).collect::<Result<Vec<_>>>()?;
    check_cache(&stages)?;
    let generation = generation(files, config, &stages, counts_padding, Vec::new())?;
    let input = Input::new(PROMPT, Modality::Prompt);
    Ok(Some(Manifest::new(vec![input], stages, Prediction::Text { generation: Box::new(generation) }, None)))
}

/// How such a model is asked. `stages` are those of the decoder, `first` the tokens before all others.
pub(super) fn generation(files: &mut Files, config: &Value, stages: &[Stage], counts_padding: bool, first: Vec<u32>) -> Result<Generation> {
    files.use_file(TOKENIZER).map_err(|error| error.with_hint("export the tokenizer as `tokenizer.json` (the fast format)"))?;
    let settings = settings(files, config)?;
    let configs = [config, &config["text_config"], &config["decoder"]];
    let of = |name: &str| [&settings].into_iter().chain(configs).map(|file| tokens(&file[name])).find(|tokens| !tokens.is_empty());
    let ends = of("eos_token_id").ok_or_else(|| {
        Error::new(Kind::Package, "generative model whose texts do not end: generation_config.json does not say 'eos_token_id'")
            .with_hint("export the model with its generation_config.json")
    })?;
    let length = LENGTHS.iter().flat_map(|name| configs.map(|config| &config[*name])).find_map(Value::as_u64);
    // Distances alone count: any number of tokens will do.
    let is_relative = config.get("relative_attention_num_buckets").is_some();
    let length = length.and_then(|length| usize::try_from(length).ok());
    let kinds = || configs.iter().rev().filter_map(|config| config["model_type"].as_str());
    let by_type = || kinds().find_map(|kind| LENGTHS_BY_TYPE.iter().find(|(name, _)| *name == kind).map(|(_, length)| *length));
    let length = if is_relative { Some(NO_LENGTH) } else { length.or_else(by_type) }.ok_or_else(|| {
        Error::new(Kind::Package, "generative model of unknown length: config.json does not say 'max_position_embeddings'")
            .with_hint("write it into config.json, or for a model of several parts into its text_config")
    })?;
    let fed = |is: fn(&Source) -> bool| stages.iter().all(|stage| stage.feeds.iter().any(|feed| is(&feed.source)));
    Ok(Generation {
        tokenizer: TOKENIZER.into(),
        chat: chat(files)?,
        start: of("bos_token_id").and_then(|tokens| tokens.first().copied()),
        ends,
        max_positions: length,
        is_padded: !counts_padding
            && fed(|source| matches!(source, Source::WrittenMask))
            && fed(|source| matches!(source, Source::WrittenPlaces)),
        media: Vec::new(),
        cleans_up: read_json(&files.root.join("tokenizer_config.json"))?
            .is_some_and(|config| config["clean_up_tokenization_spaces"] == Value::Bool(true)),
        rules: Rules::read(&settings, (!first.is_empty()).then_some(first.len()))?,
        reader: Reader::Decoder,
        first,
    })
}

/// The rules of generation: `generation_config.json`, or as transformers does without it, what config.json says of them.
pub(super) fn settings(files: &Files, config: &Value) -> Result<Value> {
    let own = read_json(&files.root.join("generation_config.json"))?;
    let inner = config.get("decoder").filter(|decoder| decoder.is_object());
    Ok(own.unwrap_or_else(|| match (config, inner) {
        (Value::Object(config), Some(Value::Object(decoder))) => {
            // What the decoder says by itself counts where the whole says nothing.
            Value::Object(decoder.iter().chain(config).map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        _ => config.clone(),
    }))
}

/// Without a cache each token would cost as much as the whole text so far.
pub(super) fn check_cache(stages: &[Stage]) -> Result<()> {
    let last = stages.iter().find(|stage| stage.name == DECODER_WITH_PAST).or(stages.first());
    let carries = |stage: &Stage| stage.feeds.iter().any(|feed| matches!(feed.source, Source::Carried { .. }));
    if last.is_some_and(carries) {
        return Ok(());
    }
    Err(Error::new(Kind::Package, "generative model without a cache: its graph takes no past_key_values")
        .with_hint("export it with `optimum-cli export onnx --task text-generation-with-past`"))
}

/// A template without the tags that mark for training what the assistant says, which change nothing of the text.
fn without_training_marks(template: String) -> String {
    const TAGS: [&str; 2] = ["generation", "endgeneration"];
    let marks = ["{%", "{%-", "{%+"].iter().flat_map(|start| ["%}", "-%}", "+%}"].map(|end| (*start, end)));
    let pairs = marks.flat_map(|(start, end)| TAGS.map(|tag| (format!("{start} {tag} {end}"), format!("{start} set _ = 0 {end}"))));
    pairs.fold(template, |template, (mark, idle)| template.replace(&mark, &idle))
}

/// `chat_template.jinja`, or what `tokenizer_config.json` or `chat_template.json` says; of several the one called `default`.
pub(super) fn chat(files: &Files) -> Result<Option<Chat>> {
    let config = read_json(&files.root.join("tokenizer_config.json"))?.unwrap_or_default();
    let map = read_json(&files.root.join("special_tokens_map.json"))?.unwrap_or_default();
    let named = |templates: &Value| {
        let mut all = templates.as_array()?.iter();
        all.find(|template| template["name"] == "default")?["template"].as_str().map(str::to_string)
    };
    let written = |file: &Value| file["chat_template"].as_str().map(str::to_string).or_else(|| named(&file["chat_template"]));
    let template = match read_text(&files.root.join("chat_template.jinja"))? {
        Some(template) => Some(template),
        // That of the processor, which knows of media, before that of the tokenizer.
        None => read_json(&files.root.join("chat_template.json"))?.as_ref().and_then(written).or_else(|| written(&config)),
    };
    let text = |token: &Value| token.as_str().or(token["content"].as_str()).map(str::to_string);
    let named = [&map, &config["extra_special_tokens"], &config];
    let names = named.into_iter().filter_map(Value::as_object).flatten().filter(|(name, _)| name.ends_with("_token"));
    let tokens: BTreeMap<String, String> = names.filter_map(|(name, token)| Some((name.clone(), text(token)?))).collect();
    Ok(template.map(|template| Chat { template: without_training_marks(template), tokens }))
}
