//! A model in memory, and what one engine session has seen of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::cancel::Cancel;
use super::context::{Context, ContextTensors};
use super::digests::Digests;
use super::explain::Explainer;
use super::limits::Limits;
use super::opened;
use super::sessions::Sessions;
use super::stats::Stats;
use crate::error::{Error, Kind, Result};
use crate::modality::{TextCodec, TextEncoder};
use crate::onnx::GraphFacts;
use crate::package::{Manifest, Modality, Prediction};
use crate::runtime::runtime_info;

/// Rows after which their mean time is worth more than an estimate from the model's size.
const ENOUGH_ROWS: u64 = 256;

/// One model on one device.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) manifest: Arc<Manifest>,
    /// Rows that reached the model since the session loaded it.
    pub(crate) rows: AtomicU64,
    /// What the calls counted that have ended.
    pub(super) totals: Stats,
    /// Batches that run at this moment.
    pub(crate) running: AtomicUsize,
    sessions: Arc<Sessions>,
    text: HashMap<String, Arc<TextEncoder>>,
    written: Option<Arc<TextCodec>>,
    /// Where its files lie.
    folder: PathBuf,
    context: Context,
    explainer: OnceLock<Result<Explainer>>,
    precision: OnceLock<Result<&'static str>>,
    /// What is known of the bytes of media, shared by all models of a session.
    pub(super) digests: Arc<Digests>,
}

impl LoadedModel {
    /// Opens what nobody in the process has open. The model's files lie in `folder`.
    pub(super) fn open(manifest: &Arc<Manifest>, folder: &Path, limits: &Limits, digests: &Arc<Digests>) -> Result<Self> {
        let (rows, running) = (AtomicU64::new(0), AtomicUsize::new(0));
        let mut text = HashMap::new();
        for input in &manifest.inputs {
            if let Modality::Text(spec) = &input.modality {
                text.insert(input.name.clone(), opened::tokenizer(manifest, spec, folder)?);
            }
        }
        let written = match &manifest.prediction {
            Prediction::Transcript { speech } => Some(opened::text_codec(manifest, &speech.tokenizer, folder)?),
            Prediction::Text { generation } if manifest.endpoint.is_none() => {
                Some(opened::text_codec(manifest, &generation.tokenizer, folder)?)
            }
            _ => None,
        };
        let sessions = opened::sessions(manifest, folder, limits)?;
        let (folder, context, explainer) = (folder.to_path_buf(), Context::default(), OnceLock::new());
        Ok(Self {
            manifest: Arc::clone(manifest),
            rows,
            totals: Stats::default(),
            running,
            sessions,
            text,
            written,
            folder,
            context,
            explainer,
            precision: OnceLock::new(),
            digests: Arc::clone(digests),
        })
    }

    /// What all rows are compared with.
    pub(super) fn context(&self, cancel: &Cancel, stats: &Stats) -> Result<Arc<ContextTensors>> {
        self.context.get_or_make(cancel, || ContextTensors::make(&self.manifest, &self.folder, &self.sessions, cancel, stats))
    }

    /// What explains its rows, read when the first is asked for.
    pub(super) fn explainer(&self) -> Result<&Explainer> {
        self.explainer.get_or_init(|| Explainer::open(&self.manifest, &self.folder)).as_ref().map_err(Clone::clone)
    }

    /// The type of most weights: `fp32`, `fp16`, `int8`, .. Graphs are read when it is first asked for.
    pub(super) fn precision(&self) -> Result<&'static str> {
        if self.manifest.endpoint.is_some() {
            return Ok("unknown");
        }
        let read = || {
            let mut all = GraphFacts::default();
            for stage in &self.manifest.stages {
                let path = self.folder.join(&stage.graph);
                let bytes =
                    std::fs::read(&path).map_err(|error| Error::new(Kind::Package, format!("cannot read {}: {error}", path.display())))?;
                for (element, count) in GraphFacts::read(&stage.graph, &bytes)?.weights {
                    *all.weights.entry(element).or_default() += count;
                }
            }
            Ok(all.precision())
        };
        self.precision.get_or_init(read).clone()
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(crate) fn text_encoder(&self, input: &str) -> Option<&TextEncoder> {
        self.text.get(input).map(AsRef::as_ref)
    }

    /// What turns the tokens of a model that writes into text.
    pub(super) fn text_codec(&self) -> Option<&TextCodec> {
        self.written.as_deref()
    }

    /// What a row has taken so far, once enough of them were seen for a mean.
    pub(super) fn row_time(&self) -> Option<Duration> {
        let rows = self.totals.model_rows.get();
        (rows >= ENOUGH_ROWS).then(|| Duration::from_nanos(u64::try_from(self.totals.work().as_nanos()).unwrap_or(u64::MAX) / rows))
    }

    /// What runs it.
    pub(super) fn runtime(&self) -> Result<String> {
        if self.manifest.endpoint.is_some() { Ok("endpoint".into()) } else { Ok(runtime_info()?.name()) }
    }

    /// The execution provider that runs it, as ONNX Runtime names it.
    pub(super) fn provider(&self) -> &'static str {
        if self.manifest.endpoint.is_some() {
            return "endpoint";
        }
        if self.is_on_cpu() { "CPUExecutionProvider" } else { "CUDAExecutionProvider" }
    }

    pub(crate) fn is_on_cpu(&self) -> bool {
        self.sessions.are_on_cpu()
    }

    /// Bytes of weights, all copies together.
    pub(crate) fn bytes(&self) -> u64 {
        self.manifest.files.values().map(|file| file.bytes).sum::<u64>() * self.sessions.copies()
    }
}
