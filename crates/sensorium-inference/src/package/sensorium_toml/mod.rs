//! `sensorium.toml`: says what the files cannot, and joins several graphs into one model.

mod media;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::audio_spec::AudioSpec;
use super::context::{self, ContextEntry};
use super::explanation::{self, EXPLAIN_STAGE, Explanation};
use super::feeds::{plain_feed, plain_input, token_part};
use super::image_spec::ImageSpec;
use super::import::{ImportOptions, distinct, only_graph};
use super::manifest::{Feed, Input, Manifest, Missing, Modality, OutputRef, Pooling, Source, Stage};
use super::onnx_file::ONLY_STAGE;
use super::port::{Port, Signature};
use super::series_spec::SeriesSpec;
use super::source::{Files, is_inside, read_text};
use super::tasks::{Task, TaskFacts, output};
use super::video_spec::{FrameOrder, Sampling};
use crate::error::{Error, Kind, Result};
use crate::onnx::ClassNames;

/// Name of the file.
pub(super) const FILE: &str = "sensorium.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    graph: Option<String>,
    task: Option<String>,
    labels: Option<ClassNames>,
    activation: Option<String>,
    scores: Option<String>,
    embedding: Option<String>,
    pooling: Option<Pooling>,
    #[serde(default)]
    normalize: bool,
    #[serde(default)]
    inputs: toml::Table,
    context: Option<ContextEntry>,
    #[serde(default)]
    encoders: toml::Table,
    explain: Option<Explanation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputEntry {
    modality: Option<String>,
    graph_input: Option<String>,
    #[serde(default)]
    optional: bool,
    missing: Option<Missing>,
    present: Option<String>,
    columns: Option<Vec<String>>,
    tokenizer: Option<String>,
    max_tokens: Option<usize>,
    preprocessor: Option<String>,
    image: Option<ImageSpec>,
    audio: Option<AudioSpec>,
    series: Option<SeriesSpec>,
    video: Option<VideoEntry>,
    /// Graph input that is 1 for the steps of a series and 0 for padding.
    mask: Option<String>,
    /// Graph input that is 1 for measurements that were made.
    observed: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VideoEntry {
    frames: usize,
    sampling: Sampling,
    #[serde(default)]
    order: FrameOrder,
    pooling: Option<Pooling>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncoderEntry {
    package: String,
    graph_input: Option<String>,
    #[serde(default)]
    optional: bool,
    present: Option<String>,
}

/// What is built while the file is read.
#[derive(Default)]
struct Plan {
    inputs: Vec<Input>,
    stages: Vec<Stage>,
    /// Feed of each graph input of the last stage.
    sources: BTreeMap<String, Source>,
    /// Token inputs and whether the graph masks padding are known once the graph's inputs are.
    text: Option<String>,
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Package, format!("{FILE}: {message}"))
}

fn entry<T: serde::de::DeserializeOwned>(section: &str, name: &str, value: &toml::Value) -> Result<T> {
    value.clone().try_into().map_err(|error: toml::de::Error| wrong(format!("[{section}.{name}]: {}", error.message())))
}

/// Reads the package whose root has a `sensorium.toml`.
pub(super) fn read(files: &mut Files, options: &ImportOptions) -> Result<Manifest> {
    let text = read_text(&files.root.join(FILE))?.unwrap_or_default();
    let description: Description = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end()))?;
    let graph = match &description.graph {
        Some(graph) => graph.clone(),
        None => only_graph(&files.root)?,
    };
    if let Some(context) = &description.context {
        if description.explain.is_some() {
            return Err(wrong("[explain]: an in-context model has no rows that it was fitted to"));
        }
        if !(description.inputs.is_empty() && description.encoders.is_empty()) || description.labels.is_some() {
            return Err(wrong("[context]: inputs and labels come from the query that the model is created with"));
        }
        let task = description.facts(options)?;
        let facts = context::Facts { graph, task: task.task, activation: task.activation, scores: task.scores };
        return context::read(files, context, &facts, options);
    }
    let (path, facts) = files.use_graph(&graph)?;
    let signature = Signature::read(&path)?;
    let mut plan = Plan::default();
    for (name, value) in &description.encoders {
        plan.add_encoder(files, name, &entry("encoders", name, value)?)?;
    }
    for (name, value) in &description.inputs {
        plan.add_input(files, name, &entry("inputs", name, value)?, &signature.inputs, options)?;
    }
    let feeds = plan.take_feeds(&signature.inputs)?;
    let embedding = description.embedding(&signature.outputs)?;
    let prediction = description.facts(options)?.prediction(ONLY_STAGE, &signature.outputs, &facts)?;
    plan.stages.push(Stage { name: ONLY_STAGE.into(), graph, feeds, outputs: signature.outputs });
    let mut manifest = Manifest::new(plan.inputs, plan.stages, prediction, embedding);
    if let Some(explanation) = description.explain {
        explanation::add(files, &mut manifest, explanation)?;
    }
    Ok(manifest)
}

impl Description {
    fn facts(&self, options: &ImportOptions) -> Result<TaskFacts> {
        let twice = [
            ("task", self.task.is_some() && options.task.is_some()),
            ("labels", self.labels.is_some() && options.labels.is_some()),
            ("activation", self.activation.is_some() && options.activation.is_some()),
        ];
        if let Some((name, _)) = twice.into_iter().find(|(_, is_twice)| *is_twice) {
            return Err(wrong(format!("{name} is said here and in OPTIONS")).with_hint("leave the option out"));
        }
        let asked = TaskFacts::from_options(options)?;
        let labels = self.labels.clone().map(|labels| match labels {
            ClassNames::Strings(names) => distinct(&names),
            integers => integers,
        });
        Ok(TaskFacts {
            task: self.task.as_deref().map(str::parse).transpose()?.or(asked.task),
            labels: labels.or(asked.labels),
            activation: self.activation.as_deref().map(str::parse).transpose()?.or(asked.activation),
            scores: self.scores.clone(),
        })
    }

    fn embedding(&self, ports: &[Port]) -> Result<Option<OutputRef>> {
        let task: Option<Task> = self.task.as_deref().map(str::parse).transpose()?;
        let name = match (&self.embedding, task, ports) {
            (Some(name), ..) => name.clone(),
            (None, Some(Task::Embedding), [port]) => port.name.clone(),
            (None, Some(Task::Embedding), _) => return Err(wrong("write `embedding = \"...\"` with the output that is the vector")),
            _ => return Ok(None),
        };
        let names = ports.iter().map(|port| port.name.as_str());
        let port = ports
            .iter()
            .find(|port| port.name == name)
            .ok_or_else(|| wrong(format!("no output '{name}'")).with_nearest(&name, names, "outputs"))?;
        match (port.shape.len(), self.pooling) {
            (2, _) | (3, Some(_)) => Ok(Some(OutputRef {
                pooling: self.pooling.filter(|_| port.shape.len() == 3),
                normalize: self.normalize,
                ..output(ONLY_STAGE, port)
            })),
            (3, None) => Err(wrong(format!("output '{name}' has one vector a token"))
                .with_hint("write `pooling = \"mean\"`, \"cls\", \"max\" or \"last_token\"")),
            _ => Err(wrong(format!("output {port} is not a vector"))),
        }
    }
}

impl Plan {
    /// Says where a graph input gets its values; two places for one are a mistake.
    fn feed(&mut self, port: String, source: Source) -> Result<()> {
        if self.sources.contains_key(&port) {
            return Err(wrong(format!("graph input '{port}' is filled twice")));
        }
        self.sources.insert(port, source);
        Ok(())
    }

    /// An encoder is a package of its own in a sub-folder; its inputs become the model's, under the encoder's name.
    fn add_encoder(&mut self, files: &mut Files, name: &str, encoder: &EncoderEntry) -> Result<()> {
        if !is_inside(&encoder.package) {
            return Err(wrong(format!("[encoders.{name}]: outside the package: {}", encoder.package)));
        }
        let (manifest, inner) = super::import::read(&files.root.join(&encoder.package), &ImportOptions::default())?;
        let folder = |file: &str| format!("{}/{file}", encoder.package.trim_end_matches('/'));
        for file in inner.into_used() {
            files.use_file(&folder(&file))?;
        }
        let [input] = manifest.inputs.as_slice() else {
            return Err(wrong(format!("[encoders.{name}]: the package must have one input")));
        };
        let vector = manifest.embedding.clone().ok_or_else(|| wrong(format!("[encoders.{name}]: the package has no vector to give")))?;
        let mut input = input.clone();
        if let Modality::Text(spec) = &mut input.modality {
            spec.tokenizer = folder(&spec.tokenizer);
        }
        // An encoder is not explained.
        for mut stage in manifest.stages.into_iter().filter(|stage| stage.name != EXPLAIN_STAGE) {
            stage.name = format!("{name}.{}", stage.name);
            stage.graph = folder(&stage.graph);
            stage.feeds.iter_mut().for_each(|feed| rename(&mut feed.source, name));
            self.stages.push(stage);
        }
        let vector = OutputRef { stage: format!("{name}.{}", vector.stage), ..vector };
        self.feed(encoder.graph_input.clone().unwrap_or_else(|| name.to_string()), Source::Output(vector))?;
        if let Some(present) = &encoder.present {
            self.feed(present.clone(), Source::Present { input: name.to_string() })?;
        } else if encoder.optional {
            return Err(wrong(format!("[encoders.{name}]: optional, but nothing says how the graph is told that it is absent"))
                .with_hint("write `present = \"...\"` with the graph input that is 1 where the value is there"));
        }
        self.inputs.push(Input { name: name.to_string(), optional: encoder.optional, ..input });
        Ok(())
    }

    fn add_input(&mut self, files: &mut Files, name: &str, entry: &InputEntry, ports: &[Port], options: &ImportOptions) -> Result<()> {
        if let Some(present) = &entry.present {
            self.feed(present.clone(), Source::Present { input: name.to_string() })?;
        }
        let port_name = entry.graph_input.clone().unwrap_or_else(|| name.to_string());
        if let Some(columns) = &entry.columns {
            return self.add_columns(columns, entry, find(ports, &port_name)?);
        }
        let modality = match entry.modality.as_deref() {
            Some("text") => {
                self.add_tokens(name, ports)?;
                media::text(files, entry, options)?
            }
            Some("image") => {
                let port = find(ports, entry.graph_input.as_deref().unwrap_or("pixel_values"))?;
                self.feed(port.name.clone(), Source::Pixels { input: name.to_string() })?;
                media::image(files, name, entry, port)?
            }
            Some("audio") => {
                let port = find(ports, entry.graph_input.as_deref().unwrap_or("input_values"))?;
                self.feed(port.name.clone(), Source::Sound { input: name.to_string() })?;
                self.audio(files, name, entry, port, ports)?
            }
            Some("video") => self.video(files, name, entry, find(ports, entry.graph_input.as_deref().unwrap_or("pixel_values"))?, ports)?,
            Some("series") => self.series(name, entry, find(ports, &port_name)?, ports)?,
            None | Some("number" | "category" | "vector") => self.add_plain(name, entry, find(ports, &port_name)?)?,
            Some(other) => {
                let names = ["number", "category", "vector", "text", "image", "audio", "series", "video"];
                return Err(wrong(format!("[inputs.{name}]: unknown modality '{other}'")).with_nearest(other, names, "modalities"));
            }
        };
        check_optional(name, entry, &modality)?;
        self.inputs.push(Input { name: name.to_string(), optional: entry.optional, list: false, modality });
        Ok(())
    }

    fn add_plain(&mut self, name: &str, entry: &InputEntry, port: &Port) -> Result<Modality> {
        let mut input = plain_input(port, name)?;
        if entry.modality.as_deref().is_some_and(|asked| asked != input.modality.name()) {
            return Err(wrong(format!("[inputs.{name}]: graph input {port} takes a {}", input.modality.name())));
        }
        set_missing(&mut input.modality, entry.missing.clone());
        self.feed(port.name.clone(), plain_feed(port, &input).source)?;
        Ok(input.modality)
    }

    /// One graph input of several columns: each becomes an input of its own.
    fn add_columns(&mut self, columns: &[String], entry: &InputEntry, port: &Port) -> Result<()> {
        let width = port.shape.get(1).copied().flatten();
        if port.shape.len() != 2 || width.is_some_and(|width| width != columns.len()) {
            return Err(wrong(format!("{} columns for graph input {port}", columns.len())));
        }
        let single = Port { shape: vec![None, Some(1)], ..port.clone() };
        for column in columns {
            let mut input = plain_input(&single, column)?;
            set_missing(&mut input.modality, entry.missing.clone());
            check_optional(column, entry, &input.modality)?;
            self.inputs.push(Input { optional: entry.optional, ..input });
        }
        self.feed(port.name.clone(), Source::Columns { inputs: columns.to_vec() })?;
        Ok(())
    }

    fn add_tokens(&mut self, name: &str, ports: &[Port]) -> Result<()> {
        for port in ports {
            if let Some(part) = token_part(&port.name) {
                self.feed(port.name.clone(), Source::Tokens { input: name.to_string(), part })?;
            }
        }
        self.text = Some(name.to_string());
        Ok(())
    }

    fn take_feeds(&mut self, ports: &[Port]) -> Result<Vec<Feed>> {
        let known: Vec<String> = self.sources.keys().cloned().collect();
        if let Some(extra) = known.iter().find(|name| ports.iter().all(|port| port.name != **name)) {
            let names = ports.iter().map(|port| port.name.as_str());
            return Err(wrong(format!("the graph has no input '{extra}'")).with_nearest(extra, names, "graph inputs"));
        }
        self.set_text_facts(ports);
        let mut feeds = Vec::new();
        for port in ports {
            let source = match self.sources.remove(&port.name) {
                Some(source) => source,
                None => {
                    let input = plain_input(port, &port.name)?;
                    let source = plain_feed(port, &input).source;
                    self.inputs.push(input);
                    source
                }
            };
            feeds.push(Feed { port: port.clone(), source });
        }
        Ok(feeds)
    }

    fn set_text_facts(&mut self, ports: &[Port]) {
        let Some(name) = self.text.clone() else { return };
        let ids = ports.iter().find(|port| port.name == "input_ids");
        for input in self.inputs.iter_mut().filter(|input| input.name == name) {
            if let Modality::Text(spec) = &mut input.modality {
                spec.masked = ports.iter().any(|port| port.name == "attention_mask");
                spec.fixed_tokens = ids.and_then(|port| port.shape.get(1).copied().flatten());
                spec.max_tokens = spec.fixed_tokens.map_or(spec.max_tokens, |fixed| fixed.min(spec.max_tokens));
            }
        }
    }
}

fn find<'a>(ports: &'a [Port], name: &str) -> Result<&'a Port> {
    let names = ports.iter().map(|port| port.name.as_str());
    ports
        .iter()
        .find(|port| port.name == name)
        .ok_or_else(|| wrong(format!("the graph has no input '{name}'")).with_nearest(name, names, "graph inputs"))
}

fn rename(source: &mut Source, name: &str) {
    match source {
        Source::Columns { inputs } => inputs.iter_mut().for_each(|input| *input = name.to_string()),
        Source::Vector { input } | Source::Tokens { input, .. } | Source::Pixels { input } | Source::Present { input } => {
            *input = name.to_string()
        }
        Source::Frames { input } | Source::Sound { input } | Source::SoundMask { input } => *input = name.to_string(),
        Source::Series { input } | Source::SeriesMask { input } | Source::SeriesObserved { input } => *input = name.to_string(),
        Source::Output(vector) => vector.stage = format!("{name}.{}", vector.stage),
        Source::Crops | Source::ContextFeatures | Source::ContextLabels | Source::ContextState { .. } | Source::Queries => {}
        Source::Written | Source::WrittenPositions | Source::WrittenPlaces | Source::WrittenMask => {}
        Source::Constant { .. } | Source::Carried { .. } | Source::UsesCache => {}
        Source::StatesMask | Source::MarkedStates { .. } | Source::Embedded { .. } | Source::Asked { .. } | Source::Loop => {}
        Source::States { stage, .. } => *stage = format!("{name}.{stage}"),
    }
}

fn set_missing(modality: &mut Modality, value: Option<Missing>) {
    if let Modality::Number { missing, .. } | Modality::Category { missing } = modality {
        *missing = value;
    }
}

/// An optional input needs a way to tell the graph that it is absent.
fn check_optional(name: &str, entry: &InputEntry, modality: &Modality) -> Result<()> {
    let fits = match (&entry.missing, modality) {
        (None, _) => true,
        (Some(Missing::Number(value)), Modality::Number { element, .. }) => {
            value.is_finite() && (element.is_float() || (value.fract() == 0.0 && *value >= 0.0))
        }
        (Some(Missing::Text(_)), Modality::Category { .. }) => true,
        (Some(Missing::Text(text)), Modality::Number { element, .. }) => text == "nan" && element.is_float(),
        _ => false,
    };
    if !fits {
        return Err(wrong(format!("[inputs.{name}]: `missing` does not fit a {}", modality.name()))
            .with_hint("a number, or \"nan\" for floating-point inputs; a string for categories"));
    }
    if entry.optional && entry.missing.is_none() && entry.present.is_none() {
        return Err(wrong(format!("[inputs.{name}]: optional, but nothing says how the graph is told that it is absent")).with_hint(
            "write `missing = \"nan\"` (or a value), or `present = \"...\"` with the graph input that is 1 where the value is there",
        ));
    }
    Ok(())
}
