//! A model in memory: its tokenizers and its sessions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::limits::Limits;
use super::sessions::Sessions;
use crate::error::Result;
use crate::modality::TextEncoder;
use crate::package::{Manifest, Modality};
use crate::runtime::Provider;

/// Rows after which their mean time is worth more than an estimate from the model's size.
const ENOUGH_ROWS: u64 = 256;

/// One model on one device.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) manifest: Arc<Manifest>,
    /// Rows that reached the model since it was loaded.
    pub(crate) rows: AtomicU64,
    /// What those rows took, in nanoseconds of one core or device.
    pub(super) work: AtomicU64,
    /// Batches that run at this moment.
    pub(crate) running: AtomicUsize,
    pub(super) sessions: Sessions,
    text: HashMap<String, TextEncoder>,
}

impl LoadedModel {
    pub(crate) fn load(manifest: &Arc<Manifest>, folder: &Path, limits: &Limits) -> Result<Self> {
        let sessions = Sessions::open(manifest, folder, &Provider::choose(limits.device)?, limits.gpu)?;
        let mut text = HashMap::new();
        for input in &manifest.inputs {
            if let Modality::Text(spec) = &input.modality {
                text.insert(input.name.clone(), TextEncoder::load(folder, spec)?);
            }
        }
        Ok(Self {
            manifest: Arc::clone(manifest),
            rows: AtomicU64::new(0),
            work: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            sessions,
            text,
        })
    }

    pub(crate) fn text_encoder(&self, input: &str) -> Option<&TextEncoder> {
        self.text.get(input)
    }

    /// What a row has taken so far, once enough of them were seen for a mean.
    pub(super) fn row_time(&self) -> Option<Duration> {
        let rows = self.rows.load(Ordering::Relaxed);
        (rows >= ENOUGH_ROWS).then(|| Duration::from_nanos(self.work.load(Ordering::Relaxed) / rows))
    }

    pub(crate) fn is_on_cpu(&self) -> bool {
        matches!(self.sessions, Sessions::Shared(_))
    }

    /// Bytes of weights, all copies together.
    pub(crate) fn bytes(&self) -> u64 {
        self.manifest.files.values().map(|file| file.bytes).sum::<u64>() * self.sessions.copies()
    }
}
