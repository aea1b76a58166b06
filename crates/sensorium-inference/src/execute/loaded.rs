//! A model in memory, and what one engine session has seen of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use super::opened::Opened;
use super::sessions::Sessions;
use super::stats::Stats;
use crate::modality::TextEncoder;
use crate::package::Manifest;

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
    opened: Arc<Opened>,
}

impl LoadedModel {
    pub(super) fn new(manifest: &Arc<Manifest>, opened: Arc<Opened>) -> Self {
        let (rows, running) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { manifest: Arc::clone(manifest), rows, totals: Stats::default(), running, opened }
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.opened.sessions
    }

    pub(crate) fn text_encoder(&self, input: &str) -> Option<&TextEncoder> {
        self.opened.text.get(input)
    }

    /// What a row has taken so far, once enough of them were seen for a mean.
    pub(super) fn row_time(&self) -> Option<Duration> {
        let rows = self.totals.model_rows.get();
        (rows >= ENOUGH_ROWS).then(|| Duration::from_nanos(u64::try_from(self.totals.work().as_nanos()).unwrap_or(u64::MAX) / rows))
    }

    pub(crate) fn is_on_cpu(&self) -> bool {
        matches!(self.opened.sessions, Sessions::Shared(_))
    }

    /// Bytes of weights, all copies together.
    pub(crate) fn bytes(&self) -> u64 {
        self.manifest.files.values().map(|file| file.bytes).sum::<u64>() * self.opened.sessions.copies()
    }
}
