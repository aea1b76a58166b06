//! A model in memory: its tokenizers and a pool of sessions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ort::session::Session;

use super::limits::Limits;
use crate::error::Result;
use crate::modality::TextEncoder;
use crate::package::{Manifest, Modality};
use crate::runtime::{Provider, open_session};

/// One model on one device.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) provider: Provider,
    /// Rows that reached the model since it was loaded.
    pub(crate) rows: AtomicU64,
    /// Batches that run at this moment.
    pub(crate) running: AtomicUsize,
    folder: PathBuf,
    text: HashMap<String, TextEncoder>,
    /// For each slot, the sessions of all stages; opened at the slot's first batch, as each copy has its own weights.
    slots: Vec<Mutex<Vec<Session>>>,
}

impl LoadedModel {
    pub(crate) fn load(manifest: &Arc<Manifest>, folder: &Path, limits: &Limits, threads: usize) -> Result<Self> {
        let provider = Provider::choose(limits.device)?;
        let mut text = HashMap::new();
        for input in &manifest.inputs {
            if let Modality::Text(spec) = &input.modality {
                text.insert(input.name.clone(), TextEncoder::load(folder, spec)?);
            }
        }
        let slots = if provider == Provider::Cpu { threads } else { 1 };
        let model = Self {
            manifest: Arc::clone(manifest),
            provider,
            rows: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            folder: folder.to_path_buf(),
            text,
            slots: (0..slots).map(|_| Mutex::default()).collect(),
        };
        // A device that cannot be used is an error of the load, not of the first row.
        model.with_sessions(0, |_| Ok(()))?;
        Ok(model)
    }

    pub(crate) fn text_encoder(&self, input: &str) -> Option<&TextEncoder> {
        self.text.get(input)
    }

    /// Calls `work` with the sessions of a slot, one per stage. `worker` is the number of the calling thread.
    pub(crate) fn with_sessions<T>(&self, worker: usize, work: impl FnOnce(&mut [Session]) -> Result<T>) -> Result<T> {
        let slot = &self.slots[worker % self.slots.len()];
        let mut sessions = slot.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.len() < self.manifest.stages.len() {
            let stage = &self.manifest.stages[sessions.len()];
            sessions.push(open_session(&self.folder.join(&stage.graph), self.provider)?);
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        let result = work(&mut sessions);
        self.running.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Bytes of weights, were every slot in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.manifest.files.values().map(|file| file.bytes).sum::<u64>() * self.slots.len() as u64
    }
}
