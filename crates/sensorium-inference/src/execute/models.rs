//! Loaded models of a session: each loaded once in the process, the longest idle dropped when there are too many bytes of them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::answer::Wanted;
use super::limits::Limits;
use super::loaded::LoadedModel;
use super::memo::{Caches, run_different};
use super::receipt::{media, receipts};
use super::run::{Answer, Request};
use crate::catalog::{Catalog, ModelVersion};
use crate::error::{Kind, Result};
use crate::runtime::{Device, GpuOptions};

/// A model by its SHA-256, and how it is run.
type Key = (String, Device, GpuOptions);

type Cell = Arc<OnceLock<Result<Arc<LoadedModel>>>>;

/// The models that a session has in memory.
#[derive(Debug, Default)]
pub struct Models {
    /// In order of last use, the latest last.
    loaded: Mutex<Vec<(Key, String, Cell)>>,
    caches: Caches,
}

/// Rows that one model has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelProgress {
    /// `name@version`.
    pub model: String,
    /// Rows since it was loaded.
    pub rows: u64,
    /// Batches that run at this moment.
    pub running: usize,
    /// The figures of [`Stats`] of the calls that have ended.
    pub figures: Vec<(&'static str, u64)>,
}

impl Models {
    /// Runs `version` on the rows of `request`.
    ///
    /// # Errors
    /// When the model cannot be loaded or its device fails. What is wrong with single rows is in the answer.
    pub fn run(&self, catalog: &Catalog, version: &ModelVersion, request: &Request<'_>) -> Result<Answer> {
        let before = request.stats.snapshot();
        request.stats.input_rows.add(request.rows);
        let model = self.load(catalog, version, request.limits)?;
        let asked = version.manifest.endpoint.as_ref().map(|_| version.manifest.answers_sha256());
        let answer = run_different(&model, asked.as_ref().unwrap_or(&version.sha256), &self.caches, request);
        // What a row takes is said of predictions.
        if request.wanted != Wanted::Explanation {
            model.totals.add_growth(request.stats, &before);
        }
        answer
    }

    /// Says that receipts will be asked for, so that media are hashed when they are read.
    pub fn expect_receipts(&self) {
        self.caches.digests.expect();
    }

    /// Where the results of the rows of `request` come from: of the type [`receipt_type`](super::receipt_type). `version` is `whole`,
    /// or the part of a joint model that runs; `run` is the run of a job.
    ///
    /// # Errors
    /// When the model cannot be loaded.
    pub fn receipts(
        &self,
        catalog: &Catalog,
        version: &ModelVersion,
        whole: &ModelVersion,
        request: &Request<'_>,
        run: Option<&str>,
    ) -> Result<Answer> {
        request.stats.input_rows.add(request.rows);
        let model = self.load(catalog, version, request.limits)?;
        let disk = self.caches.disk(request.limits)?;
        receipts(&model, whole, request, &self.caches.digests, disk.as_deref(), run)
    }

    /// The media of the rows of `request`, each as `input uri sha256`: of the type [`media_type`](super::media_type).
    ///
    /// # Errors
    /// When the cache on disk cannot be used.
    pub fn media(&self, version: &ModelVersion, request: &Request<'_>) -> Result<Answer> {
        let disk = self.caches.disk(request.limits)?;
        media(version, request, &self.caches.digests, disk.as_deref())
    }

    /// What a row of `version` took on one core or device, if it is loaded and has seen enough of them.
    pub fn measured_row_time(&self, version: &ModelVersion) -> Option<Duration> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let own = loaded.iter().filter(|((sha256, ..), ..)| *sha256 == version.sha256);
        own.filter_map(|(_, _, cell)| cell.get()?.as_ref().ok()?.row_time()).next_back()
    }

    /// How far each loaded model has come.
    pub fn progress(&self) -> Vec<ModelProgress> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = loaded.iter().filter_map(|(_, name, cell)| Some((name, cell.get()?.as_ref().ok()?)));
        let progress = |(name, model): (&String, &Arc<LoadedModel>)| ModelProgress {
            model: name.clone(),
            rows: model.rows.load(Ordering::Relaxed),
            running: model.running.load(Ordering::Relaxed),
            figures: model.totals.figures(),
        };
        ready.map(progress).collect()
    }

    /// Loads at most once however many ask at once; a failed load is forgotten and tried again.
    fn load(&self, catalog: &Catalog, version: &ModelVersion, limits: &Limits) -> Result<Arc<LoadedModel>> {
        let key = (version.sha256.clone(), limits.device, limits.gpu);
        let cell = self.cell(&key, &version.pinned());
        let loaded = cell.get_or_init(|| {
            let folder = catalog.materialise(version)?;
            let open = || LoadedModel::open(&version.manifest, &folder, limits, &self.caches.digests);
            let opened = match open() {
                // Models that nobody runs make room.
                Err(error) if error.kind() == Kind::Limit => {
                    self.evict(0);
                    open()
                }
                opened => opened,
            };
            Ok(Arc::new(opened?))
        });
        match loaded {
            Ok(model) => {
                self.evict(limits.model_memory_bytes as u64);
                Ok(Arc::clone(model))
            }
            Err(error) => {
                self.loaded.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, _, other)| !Arc::ptr_eq(other, &cell));
                Err(error.clone())
            }
        }
    }

    fn cell(&self, key: &Key, name: &str) -> Cell {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match loaded.iter().position(|(other, ..)| other == key) {
            Some(place) => loaded.remove(place),
            None => (key.clone(), name.to_string(), Cell::default()),
        };
        let cell = Arc::clone(&entry.2);
        loaded.push(entry);
        cell
    }

    /// Drops models that nobody runs, the longest unused first, until the rest fits. The newest always stays.
    fn evict(&self, budget: u64) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |cell: &Cell| cell.get().and_then(|model| model.as_ref().ok()).map_or(0, |model| model.bytes());
        let idle = |cell: &Cell| matches!(cell.get(), Some(Ok(model)) if Arc::strong_count(model) == 1) && Arc::strong_count(cell) == 1;
        while loaded.iter().map(|(_, _, cell)| bytes(cell)).sum::<u64>() > budget {
            let last = loaded.len().saturating_sub(1);
            let Some(place) = loaded[..last].iter().position(|(_, _, cell)| idle(cell)) else { return };
            loaded.remove(place);
        }
    }
}
