//! Export folders of joint image-text models, CLIP and SigLIP: one graph for each side, or one graph for both.

use std::collections::BTreeMap;

use serde_json::Value;

use super::feeds::{token_feeds, token_part};
use super::hugging_face::{check_pixels, graph, graph_if_there};
use super::image_spec::ImageSpec;
use super::import::ImportOptions;
use super::joint::{Matching, check_widths};
use super::logit_scale;
use super::manifest::{Activation, Feed, Input, Manifest, Modality, OutputRef, Prediction, Source, Stage};
use super::port::{Port, Signature};
use super::source::{Files, read_json};
use super::tasks::output;
use super::text_spec::TextSpec;
use crate::error::{Error, Kind, Result};

/// Names of the inputs, and of the stages where each has one of its own.
const TEXT: &str = "text";
const IMAGE: &str = "image";

/// Families whose preprocessing and comparison are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Causal text model; softmax over labels.
    Clip,
    /// Texts padded to full length, as in training; sigmoid of each label.
    Siglip,
}

impl Family {
    fn of(config: &Value) -> Option<Self> {
        match config["model_type"].as_str()? {
            "clip" => Some(Self::Clip),
            "siglip" => Some(Self::Siglip),
            _ => None,
        }
    }
}

/// The graphs of a folder.
enum Graphs {
    /// `text_model.onnx` and `vision_model.onnx`: only the side that is asked for runs.
    Two(String, String),
    /// `model.onnx` with both inputs.
    One(String),
}

/// Reads the folder if it is of a joint model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    let Some(family) = Family::of(config) else { return Ok(None) };
    let variant = options.variant.as_deref();
    let sides = (graph_if_there(files, "text_model", variant)?, graph_if_there(files, "vision_model", variant)?);
    let graphs = match sides {
        (Some(text), Some(vision)) => Graphs::Two(text, vision),
        _ => Graphs::One(graph(files, variant)?),
    };
    let text = text_spec(files, family, options)?;
    let image = image_spec(files)?;
    let mut manifest = match graphs {
        Graphs::Two(texts, pictures) => two(files, family, &texts, &pictures, text, image)?,
        Graphs::One(both) => one(files, family, &both, text, image)?,
    };
    check_widths(&manifest)?;
    let activation = if family == Family::Clip { Activation::Softmax } else { Activation::Sigmoid };
    manifest.matching = Matching::from_options(options, measured(files, &manifest, family, config, variant)?, activation)?;
    Ok(Some(manifest))
}

fn text_spec(files: &mut Files, family: Family, options: &ImportOptions) -> Result<TextSpec> {
    let spec = TextSpec::from_folder(&files.root, "", options.max_tokens)?;
    files.use_file(&spec.tokenizer)?;
    if family == Family::Siglip && TextSpec::known_pad_token(&files.root, "")?.is_none() {
        return Err(Error::new(
            Kind::Package,
            "unknown padding: neither tokenizer nor configuration names a pad token, which this model sees",
        )
        .with_hint("add `\"pad_token\": \"</s>\"` to tokenizer_config.json, as the model was trained"));
    }
    Ok(match family {
        // A causal model does not look at padding, which stands behind the text.
        Family::Clip => TextSpec { masked: true, ..spec },
        // Its processor pads to the longest text that the model takes, and nothing tells the model where padding begins.
        Family::Siglip => TextSpec { fixed_tokens: Some(spec.max_tokens), masked: false, ..spec },
    })
}

fn image_spec(files: &Files) -> Result<ImageSpec> {
    let config = read_json(&files.root.join("preprocessor_config.json"))?.ok_or_else(|| {
        Error::new(Kind::Package, "image-text model without preprocessor_config.json: resize, mean and std cannot be known")
            .with_hint("export it with the model")
    })?;
    ImageSpec::from_preprocessor(&config)
}

fn two(files: &mut Files, family: Family, texts: &str, pictures: &str, text: TextSpec, image: ImageSpec) -> Result<Manifest> {
    let (text_graph, _) = files.use_graph(texts)?;
    let (vision_graph, _) = files.use_graph(pictures)?;
    let (text_side, vision_side) = (Signature::read(&text_graph)?, Signature::read(&vision_graph)?);
    let text_stage =
        Stage { name: TEXT.into(), graph: texts.into(), feeds: text_feeds(&text_side.inputs, &text)?, outputs: text_side.outputs };
    let feeds = pixel_feeds(&vision_side.inputs, &image)?;
    let vision_stage = Stage { name: IMAGE.into(), graph: pictures.into(), feeds, outputs: vision_side.outputs };
    let vectors = [vector(&text_stage, "text_embeds", family)?, vector(&vision_stage, "image_embeds", family)?];
    Ok(manifest(text, image, vec![text_stage, vision_stage], vectors))
}

fn one(files: &mut Files, family: Family, graph: &str, text: TextSpec, image: ImageSpec) -> Result<Manifest> {
    let (path, _) = files.use_graph(graph)?;
    let signature = Signature::read(&path)?;
    let (tokens, others): (Vec<Port>, Vec<Port>) = signature.inputs.into_iter().partition(|port| token_part(&port.name).is_some());
    let feeds = text_feeds(&tokens, &text)?.into_iter().chain(pixel_feeds(&others, &image)?).collect();
    let stage = Stage { name: "model".into(), graph: graph.into(), feeds, outputs: signature.outputs };
    let vectors = [vector(&stage, "text_embeds", family)?, vector(&stage, "image_embeds", family)?];
    Ok(manifest(text, image, vec![stage], vectors))
}

fn text_feeds(ports: &[Port], spec: &TextSpec) -> Result<Vec<Feed>> {
    let (feeds, _, fixed) = token_feeds(ports, TEXT)?;
    match fixed {
        Some(fixed) if spec.fixed_tokens != Some(fixed) => Err(Error::new(
            Kind::Package,
            format!("the text graph takes {fixed} tokens only, the tokenizer gives up to {}", spec.max_tokens),
        )
        .with_hint("export it with a dynamic sequence length")),
        _ => Ok(feeds),
    }
}

fn pixel_feeds(ports: &[Port], spec: &ImageSpec) -> Result<Vec<Feed>> {
    let [port] = ports else {
        let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
        return Err(Error::new(Kind::Package, format!("an image-text model takes one picture tensor, not {}", names.join(", "))));
    };
    check_pixels(port, spec)?;
    Ok(vec![Feed { port: port.clone(), source: Source::Pixels { input: IMAGE.into() } }])
}

/// The output that lies in the common space. SigLIP has no projection head, so that a side alone calls it `pooler_output`;
/// CLIP's output of that name lies in another space.
fn vector(stage: &Stage, name: &str, family: Family) -> Result<OutputRef> {
    let names = [name, "pooler_output"];
    let names = if family == Family::Siglip { &names[..] } else { &names[..1] };
    let found = names.iter().find_map(|name| stage.outputs.iter().find(|port| port.name == **name && port.shape.len() == 2));
    let port = found.ok_or_else(|| {
        let names: Vec<&str> = stage.outputs.iter().map(|port| port.name.as_str()).collect();
        Error::new(Kind::Package, format!("graph {} gives no vector: outputs {}", stage.graph, names.join(", ")))
            .with_hint("export it with its projection head, output text_embeds or image_embeds")
    })?;
    Ok(OutputRef { normalize: true, ..output(&stage.name, port) })
}

fn manifest(text: TextSpec, image: ImageSpec, stages: Vec<Stage>, [text_vector, image_vector]: [OutputRef; 2]) -> Manifest {
    let inputs = vec![Input::new(IMAGE, Modality::Image(image)), Input::new(TEXT, Modality::Text(text))];
    let fields = vec![("image_embedding".into(), image_vector.clone()), ("text_embedding".into(), text_vector.clone())];
    let joint = BTreeMap::from([(IMAGE.into(), image_vector), (TEXT.into(), text_vector)]);
    Manifest { joint, ..Manifest::new(inputs, stages, Prediction::Outputs { fields }, None) }
}

/// Scale and bias, which are learned and stand in no configuration: measured on the graph that has both sides, where
/// there is one.
fn measured(files: &Files, manifest: &Manifest, family: Family, config: &Value, variant: Option<&str>) -> Result<Option<(f32, f32)>> {
    let Some(both) = graph_if_there(files, "model", variant)? else { return Ok(None) };
    let vocabulary = config["text_config"]["vocab_size"].as_u64().unwrap_or(2);
    logit_scale::measure(&files.root.join(both), manifest, vocabulary, family == Family::Siglip)
}
