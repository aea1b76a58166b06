//! Pipelines of Stable Diffusion in the folders that Optimum writes: texts in, pictures out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::hugging_face::graph_if_there_in;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::port::{Port, Signature};
use super::scheduler::Scheduler;
use super::source::{Files, read_json, read_text};
use super::text_spec::TextSpec;
use crate::error::{Error, Kind, Result};

/// The file that makes a folder a pipeline.
pub(super) const FILE: &str = "model_index.json";
/// Graphs, by their folder.
pub(crate) const PROMPT_ENCODER: &str = "text_encoder";
pub(crate) const UNET: &str = "unet";
pub(crate) const VAE_DECODER: &str = "vae_decoder";
pub(crate) const VAE_ENCODER: &str = "vae_encoder";
/// Names of the inputs.
const PROMPT: &str = "prompt";
pub(crate) const INIT_IMAGE: &str = "init_image";

/// How a pipeline draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diffusion {
    /// From noise to a picture.
    pub scheduler: Scheduler,
    /// Channels of what the graphs work on in place of pixels.
    pub channels: usize,
    /// Pixels of a side for one of theirs.
    pub factor: usize,
    /// What theirs are multiplied by between encoder, loop and decoder.
    pub scaling: f64,
    /// Sides of their pictures are multiples of this.
    pub multiple: usize,
    /// What a call says about the picture.
    pub rules: PictureRules,
}

/// How a picture is drawn, with the names that diffusers' pipelines use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureRules {
    /// Steps from noise to picture.
    pub steps: usize,
    /// How much the prompt counts; up to 1 it is not compared with none.
    pub guidance: f64,
    /// The same number draws the same picture for the same prompt.
    pub seed: u64,
    /// Pixels of a row.
    pub width: usize,
    /// Rows of pixels.
    pub height: usize,
    /// What the picture should not be like.
    pub negative_prompt: String,
    /// How much of the way is gone from a picture that is given.
    pub strength: f64,
}

/// How much larger than those that it was trained with a model's pictures may be.
const MOST_TIMES: usize = 2;
/// Most steps, and pixels of a side, that make sense.
const MAX_STEPS: usize = 1_000;
const MAX_SIDE: usize = 4_096;

impl PictureRules {
    /// Names of the options of a call.
    pub const OPTIONS: [&'static str; 7] = ["steps", "guidance", "seed", "width", "height", "negative_prompt", "strength"];

    fn with_options(&self, options: &Map<String, Value>) -> Result<Self> {
        let mut own = self.clone();
        for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            let wrong =
                |wanted: &str| Error::new(Kind::Argument, format!("{name}: not a usable value: {value}")).with_hint(wanted.to_string());
            let count = |most: usize, wanted: &str| {
                let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                count.filter(|count| (1..=most).contains(count)).ok_or_else(|| wrong(wanted))
            };
            let number = |least: f64, most: f64, wanted: &str| {
                value.as_f64().filter(|number| (least..=most).contains(number)).ok_or_else(|| wrong(wanted))
            };
            match name.as_str() {
                "steps" => own.steps = count(MAX_STEPS, "a number of steps from 1 to 1000")?,
                "guidance" => own.guidance = number(0.0, 1e4, "a number from 0; up to 1 the prompt is not compared with none")?,
                "seed" => own.seed = value.as_u64().ok_or_else(|| wrong("a number from 0"))?,
                "width" => own.width = count(MAX_SIDE, "pixels, up to 4096")?,
                "height" => own.height = count(MAX_SIDE, "pixels, up to 4096")?,
                "negative_prompt" => own.negative_prompt = value.as_str().ok_or_else(|| wrong("a text"))?.to_string(),
                "strength" => own.strength = number(f64::MIN_POSITIVE, 1.0, "a number above 0, up to 1")?,
                unknown => {
                    return Err(Error::new(Kind::Argument, format!("unknown option of a model that draws: {unknown}")).with_nearest(
                        unknown,
                        Self::OPTIONS,
                        "its options",
                    ));
                }
            }
        }
        Ok(own)
    }
}

impl Diffusion {
    /// The same with what a call says.
    ///
    /// # Errors
    /// [`Kind::Argument`] for an unknown option, or a value that makes no sense.
    pub(crate) fn with_options(&self, options: &Map<String, Value>) -> Result<Self> {
        let rules = self.rules.with_options(options)?;
        for (name, side, own) in [("width", rules.width, self.rules.width), ("height", rules.height, self.rules.height)] {
            if side > own * MOST_TIMES {
                return Err(Error::new(Kind::Argument, format!("{name}: {side} is more than {MOST_TIMES} times the {own} of the model"))
                    .with_hint("it was not trained for that, and memory grows with the fourth power of the side"));
            }
            if side % self.multiple != 0 {
                return Err(Error::new(Kind::Argument, format!("{name}: {side} is no multiple of {}", self.multiple))
                    .with_hint("the model's pictures have sides of such multiples only"));
            }
        }
        if rules.negative_prompt.is_empty() || rules.guidance > 1.0 {
            return Ok(Self { rules, ..self.clone() });
        }
        Err(Error::new(Kind::Argument, "negative_prompt has no effect: guidance is 1 or less").with_hint("guidance: 7.5"))
    }
}

fn unknown(what: String) -> Error {
    Error::new(Kind::Package, what)
        .with_hint("pipelines of Stable Diffusion 1 and 2 are known, as `optimum-cli export onnx --task text-to-image` writes them")
}

/// Reads the folder; `model_index.json` is known to be there.
pub(super) fn read(files: &mut Files, variant: Option<&str>) -> Result<Manifest> {
    let index = read_json(&files.root.join(FILE))?.unwrap_or_default();
    let class = index["_class_name"].as_str().unwrap_or("");
    if !["StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"].iter().any(|known| class.ends_with(known)) {
        return Err(unknown(format!("a pipeline of another kind: '{class}'")));
    }
    let config = |folder: &str| read_json(&files.root.join(folder).join("config.json")).map(Option::unwrap_or_default);
    let (unet, vae) = (config(UNET)?, config(VAE_DECODER)?);
    let scheduler = read_text(&files.root.join("scheduler/scheduler_config.json"))?;
    let scheduler = scheduler.ok_or_else(|| unknown("no scheduler/scheduler_config.json".into()))?;
    // Python's writer knows infinities, which JSON does not.
    let scheduler = scheduler.replace("-Infinity", "null").replace("Infinity", "null");
    let scheduler = serde_json::from_str(&scheduler).map_err(|error| unknown(format!("scheduler_config.json: {error}")))?;
    let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
    let levels = |config: &Value| config["block_out_channels"].as_array().map(Vec::len).filter(|levels| (1..=16).contains(levels));
    let vae_levels = levels(&vae).ok_or_else(|| unknown("vae_decoder/config.json does not say 'block_out_channels'".into()))?;
    let unet_levels = levels(&unet).ok_or_else(|| unknown("unet/config.json does not say 'block_out_channels'".into()))?;
    let factor = 1 << (vae_levels - 1);
    let side = |place: usize| count(&unet["sample_size"]).or_else(|| count(&unet["sample_size"][place]));
    let (Some(height), Some(width)) = (side(0), side(1)) else { return Err(unknown("unet/config.json does not say 'sample_size'".into())) };
    let channels = count(&unet["in_channels"]).ok_or_else(|| unknown("unet/config.json does not say 'in_channels'".into()))?;
    let text = tokenizer(files)?;
    let mut stages = vec![
        stage(files, variant, PROMPT_ENCODER, |port| match port.name.as_str() {
            "input_ids" => Some(Source::Tokens { input: PROMPT.into(), part: super::TokenPart::InputIds }),
            _ => None,
        })?,
        stage(files, variant, UNET, |port| {
            ["sample", "timestep", "encoder_hidden_states"].contains(&port.name.as_str()).then_some(Source::Loop)
        })?,
        stage(files, variant, VAE_DECODER, |port| (port.name == "latent_sample").then_some(Source::Loop))?,
    ];
    let mut inputs = vec![Input::new(PROMPT, Modality::Text(text))];
    if graph_if_there_in(files, VAE_ENCODER, variant)?.is_some() {
        stages.push(stage(files, variant, VAE_ENCODER, |port| (port.name == "sample").then_some(Source::Loop))?);
        inputs.push(Input::optional(INIT_IMAGE, Modality::Document));
    }
    let scaling = vae["scaling_factor"].as_f64().unwrap_or(0.182_15);
    if !(scaling.is_finite() && scaling > 0.0) {
        return Err(unknown(format!("vae_decoder/config.json: scaling_factor = {scaling}")));
    }
    let diffusion = Diffusion {
        scheduler: Scheduler::read(&scheduler)?,
        channels,
        factor,
        scaling,
        multiple: factor << (unet_levels - 1),
        rules: PictureRules {
            steps: 50,
            guidance: 7.5,
            seed: 0,
            width: width * factor,
            height: height * factor,
            negative_prompt: String::new(),
            strength: 0.8,
        },
    };
    Ok(Manifest::new(inputs, stages, Prediction::Picture { diffusion: Box::new(diffusion) }, None))
}

fn stage(files: &mut Files, variant: Option<&str>, name: &str, source: impl Fn(&Port) -> Option<Source>) -> Result<Stage> {
    let graph = graph_if_there_in(files, name, variant)?.ok_or_else(|| unknown(format!("no {name}/model.onnx")))?;
    let Signature { inputs, outputs } = Signature::read(&files.use_graph(&graph)?.0)?;
    let feed = |port: Port| {
        let source = source(&port).ok_or_else(|| unknown(format!("unknown input of {graph}: {port}")))?;
        Ok(Feed { port, source })
    };
    let feeds = inputs.into_iter().map(feed).collect::<Result<_>>()?;
    Ok(Stage { name: name.into(), graph, feeds, outputs })
}

/// `tokenizer/tokenizer.json`, or what transformers makes of the files of the slow tokenizer beside it.
fn tokenizer(files: &mut Files) -> Result<TextSpec> {
    let config = read_json(&files.root.join("tokenizer/tokenizer_config.json"))?.unwrap_or_default();
    if files.root.join("tokenizer/tokenizer.json").is_file() {
        let spec = TextSpec::from_folder(&files.root, "tokenizer", None)?;
        files.use_file(&spec.tokenizer)?;
        return Ok(TextSpec { fixed_tokens: Some(spec.max_tokens), masked: false, ..spec });
    }
    let vocabulary = read_json(&files.root.join("tokenizer/vocab.json"))?.ok_or_else(|| unknown("no tokenizer/vocab.json".into()))?;
    let merges = read_text(&files.root.join("tokenizer/merges.txt"))?.ok_or_else(|| unknown("no tokenizer/merges.txt".into()))?;
    let named = |name: &str, usual: &str| {
        let token = &config[name];
        let token = token.as_str().or(token["content"].as_str()).unwrap_or(usual).to_string();
        let id = vocabulary[&token].as_u64().ok_or_else(|| unknown(format!("tokenizer/vocab.json has no '{token}'")))?;
        Ok::<_, Error>((token, id))
    };
    let (start, end) = (named("bos_token", "<|startoftext|>")?, named("eos_token", "<|endoftext|>")?);
    let pad = named("pad_token", &end.0)?;
    let max_tokens = config["model_max_length"].as_u64().and_then(|length| usize::try_from(length).ok()).unwrap_or(77);
    files.make_file("tokenizer.json", clip_tokenizer(&vocabulary, &merges, &start, &end).to_string().into_bytes());
    Ok(TextSpec {
        tokenizer: "tokenizer.json".into(),
        max_tokens,
        pad_token: u32::try_from(pad.1).unwrap_or(0),
        fixed_tokens: Some(max_tokens),
        masked: false,
    })
}

/// CLIP's tokenizer, as transformers' `convert_slow_tokenizer.py` puts it together.
fn clip_tokenizer(vocabulary: &Value, merges: &str, start: &(String, u64), end: &(String, u64)) -> Value {
    // The first line says which version the file is of.
    let pairs = merges.lines().skip(1).filter_map(|line| line.split_once(' ')).map(|(one, other)| json!([one, other]));
    let added = |(token, id): &(String, u64)| json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": true });
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(start), added(end)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": words }, "behavior": "Removed", "invert": true },
            bytes,
        ] },
        "post_processor": {
            "type": "RobertaProcessing", "sep": [end.0, end.1], "cls": [start.0, start.1], "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": end.0, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
            "fuse_unk": false, "vocab": vocabulary, "merges": pairs.collect::<Vec<_>>(),
        },
    })
}
