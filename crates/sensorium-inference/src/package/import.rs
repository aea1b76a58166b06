//! The door of the package forms: looks what is there and hands it to the form's reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::joint::Matching;
use super::manifest::{Activation, FileRecord, Input, Manifest, Modality, Prediction, hex};
use super::source::Files;
use super::video_spec::Sampling;
use super::{diffusion, hugging_face, normal_form, onnx_file, pp_ocr, sensorium_toml};
use crate::error::{Error, Kind, Result};
use crate::onnx::ClassNames;

/// What `CREATE MODEL ... OPTIONS (...)` may add to what the files say.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// `task`: 'classification', 'regression', 'embedding' or 'outputs'.
    pub task: Option<String>,
    /// `labels`: class names in the order of the scores.
    pub labels: Option<Vec<String>>,
    /// `activation`: 'softmax', 'sigmoid' or 'none'.
    pub activation: Option<String>,
    /// `max_tokens`: a lower limit than the package's own.
    pub max_tokens: Option<usize>,
    /// `variant`: of several graphs in an export folder, 'fp16' for `model_fp16.onnx` and so on.
    pub variant: Option<String>,
    /// `logit_scale`: factor on the cosine with a label, for [`super::Matching`].
    pub logit_scale: Option<f32>,
    /// `logit_bias`: what is added to that.
    pub logit_bias: Option<f32>,
    /// `language`: what is spoken, for a speech model that knows several.
    pub language: Option<String>,
    /// `timestamps`: whether a speech model writes segments with times.
    pub timestamps: Option<bool>,
    /// `prompt`: the sentence that a label is put into, at `{}`.
    pub prompt: Option<String>,
    /// `sampling`: which frames of a video are looked at, 'uniform', 'key_frames' or the seconds from one to the
    /// next.
    pub sampling: Option<Sampling>,
    /// `label`: the column of an in-context model's rows that is asked for.
    pub label: Option<String>,
    /// The rows behind `AS SELECT`, which an in-context model compares with.
    pub context: Option<RecordBatch>,
}

impl ImportOptions {
    /// Names of the options, as `OPTIONS (...)` takes them.
    pub const NAMES: [&'static str; 12] = [
        "task",
        "labels",
        "label",
        "activation",
        "max_tokens",
        "variant",
        "logit_scale",
        "logit_bias",
        "prompt",
        "language",
        "timestamps",
        "sampling",
    ];
}

impl ImportOptions {
    /// Whether anything is asked for.
    pub(super) fn says_something(&self) -> bool {
        let texts = [&self.task, &self.activation, &self.variant, &self.language, &self.prompt, &self.label];
        let numbers = self.logit_scale.is_some() || self.logit_bias.is_some() || self.max_tokens.is_some();
        texts.into_iter().any(Option::is_some) || numbers || self.labels.is_some() || self.timestamps.is_some() || self.sampling.is_some()
    }
}

/// A package that was read but is not in a catalog yet.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The model in its normal form.
    pub manifest: Manifest,
    /// Folder that the manifest's file paths are relative to.
    pub root: PathBuf,
    /// That folder, where it was made for the draft and goes with it.
    #[expect(dead_code, reason = "held for as long as the draft is")]
    staged: Option<Arc<TempDir>>,
}

impl Draft {
    /// A model that has no files.
    pub(super) fn without_files(manifest: Manifest) -> Self {
        Self { manifest, root: PathBuf::new(), staged: None }
    }
}

/// Reads the package at `path`: an `.onnx` file, or a folder with `sensorium.json` or `sensorium.toml`, or a Hugging Face export folder,
/// or a folder with one `.onnx` file. Each graph is loaded once by ONNX Runtime.
///
/// # Errors
/// [`Kind::Package`] when something is missing, ambiguous, damaged or unsafe; [`Kind::Runtime`] without ONNX Runtime.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Draft> {
    let (mut manifest, files) = read(path, options)?;
    if manifest.joint.is_empty() && manifest.embedding.is_some() && manifest.matching.is_none() {
        // Labels are compared with a text by the text's own model.
        manifest.matching = Matching::from_options(options, None, Activation::Softmax)?;
    }
    check_options(&manifest, options)?;
    check_classes(&manifest.prediction)?;
    let staged = files.stage()?.map(Arc::new);
    let root = staged.as_ref().map_or_else(|| files.root.clone(), |folder| folder.path().to_path_buf());
    manifest.files = digest_files(&root, files.into_used())?;
    Ok(Draft { manifest, root, staged })
}

/// An option that changes nothing was meant to change something.
fn check_options(manifest: &Manifest, options: &ImportOptions) -> Result<()> {
    let is_classifier = matches!(manifest.prediction, Prediction::Classification { .. });
    let has = |is: fn(&Input) -> bool| manifest.inputs.iter().any(is);
    let has_text = has(|input| matches!(input.modality, Modality::Text(_)));
    let is_speech = matches!(manifest.prediction, Prediction::Transcript { .. });
    let compares = manifest.matching.is_some() || !manifest.joint.is_empty();
    if options.context.is_some() && manifest.context.is_none() {
        return Err(Error::new(Kind::Argument, "AS SELECT has no effect: the package is no in-context model")
            .with_hint("leave the query out; `[context]` in sensorium.toml describes a model that takes rows with labels"));
    }
    let idle = [
        ("label", options.label.is_some() && manifest.context.is_none(), "the model is given no rows with labels"),
        ("language", options.language.is_some() && !is_speech, "the model writes nothing down"),
        ("timestamps", options.timestamps.is_some() && !is_speech, "the model writes nothing down"),
        (
            "sampling",
            options.sampling.is_some() && (manifest.writes() || !has(|input| matches!(input.modality, Modality::Video(_)))),
            if manifest.writes() { "frames of a video in a prompt are as far apart as they can be" } else { "the model looks at no video" },
        ),
        ("labels", options.labels.is_some() && !is_classifier, "the model is no classifier"),
        ("activation", options.activation.is_some() && !is_classifier, "the model is no classifier"),
        ("max_tokens", options.max_tokens.is_some() && !has_text, "the model has no text input of its own"),
        ("logit_scale", options.logit_scale.is_some() && !compares, "the model gives no vectors that labels could be compared with"),
        ("logit_bias", options.logit_bias.is_some() && !compares, "the model gives no vectors that labels could be compared with"),
        ("prompt", options.prompt.is_some() && !compares, "the model gives no vectors that labels could be compared with"),
    ];
    match idle.into_iter().find(|(_, is_idle, _)| *is_idle) {
        None => Ok(()),
        Some((name, _, why)) => {
            Err(Error::new(Kind::Setting, format!("option {name} has no effect: {why}")).with_hint("leave the option out"))
        }
    }
}

/// Names of classes are keys of a result: there must be some, all different.
fn check_classes(prediction: &Prediction) -> Result<()> {
    let Prediction::Classification { classes, .. } = prediction else { return Ok(()) };
    let different = match classes {
        ClassNames::Integers(names) => names.iter().collect::<BTreeSet<_>>().len(),
        ClassNames::Strings(names) => names.iter().collect::<BTreeSet<_>>().len(),
    };
    if different > 0 && different == classes.len() {
        return Ok(());
    }
    Err(Error::new(Kind::Package, format!("{} labels, {different} of them different", classes.len())).with_hint("name each class once"))
}

pub(super) fn read(path: &Path, options: &ImportOptions) -> Result<(Manifest, Files)> {
    if path.is_file() {
        let folder = path.parent().unwrap_or(Path::new(""));
        if options.variant.is_some() {
            return Err(idle_variant());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Files::new(folder);
        return Ok((onnx_file::read(&mut files, &name, options)?, files));
    }
    if !path.is_dir() {
        return Err(Error::new(Kind::Package, format!("no such file or folder: {}", path.display())));
    }
    let mut files = Files::new(path);
    if path.join(diffusion::FILE).is_file() && !path.join(normal_form::FILE).is_file() {
        return Ok((diffusion::read(&mut files, options.variant.as_deref())?, files));
    }
    if let (Some(_), true) = (&options.variant, path.join(sensorium_toml::FILE).is_file() || !path.join("config.json").is_file()) {
        return Err(idle_variant());
    }
    let manifest = if path.join(normal_form::FILE).is_file() {
        normal_form::read(&mut files, options)?
    } else if path.join(sensorium_toml::FILE).is_file() {
        sensorium_toml::read(&mut files, options)?
    } else if path.join("config.json").is_file() {
        hugging_face::read(&mut files, options)?
    } else if let Some(graphs) = pp_ocr::graphs(path) {
        pp_ocr::read(&mut files, &graphs, options)?
    } else {
        let graph = only_graph(path)?;
        onnx_file::read(&mut files, &graph, options)?
    };
    Ok((manifest, files))
}

fn idle_variant() -> Error {
    Error::new(Kind::Setting, "option variant has no effect: only an export folder with config.json has several graphs")
        .with_hint("leave the option out")
}

/// Name of the one `.onnx` file of a folder.
pub(super) fn only_graph(folder: &Path) -> Result<String> {
    let failed = |error: io::Error| Error::new(Kind::Package, format!("cannot list {}: {error}", folder.display()));
    let mut graphs = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".onnx") {
            graphs.push(name);
        }
    }
    graphs.sort();
    match graphs.as_slice() {
        [graph] => Ok(graph.clone()),
        [] => Err(Error::new(Kind::Package, format!("not a model package: {}", folder.display()))
            .with_hint("a package is an .onnx file, or a folder with sensorium.toml, with config.json and onnx/, or with one .onnx file")),
        several => Err(Error::new(Kind::Package, format!("several graphs in {}: {}", folder.display(), several.join(", ")))
            .with_hint("name the one to use: CREATE MODEL ... FROM 'folder/model.onnx', or write `graph = \"...\"` in sensorium.toml")),
    }
}

fn digest_files(root: &Path, used: impl IntoIterator<Item = String>) -> Result<BTreeMap<String, FileRecord>> {
    used.into_iter().map(|file| Ok((file.clone(), digest(&root.join(file))?))).collect()
}

/// SHA-256 and size of a file, read in pieces.
pub(crate) fn digest(path: &Path) -> Result<FileRecord> {
    let failed = |error: io::Error| Error::new(Kind::Package, format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(FileRecord { sha256: hex(&hash.finalize()), bytes }),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// SHA-256 of a file in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn file_sha256(path: &Path) -> Result<String> {
    digest(path).map(|record| record.sha256)
}

/// Class names made usable as keys: a name that stands for several classes gets its index.
pub(super) fn distinct(names: &[String]) -> ClassNames {
    let repeated = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let named = names.iter().enumerate().map(|(index, name)| if repeated(name) { format!("{name} #{index}") } else { name.clone() });
    ClassNames::Strings(named.collect())
}
