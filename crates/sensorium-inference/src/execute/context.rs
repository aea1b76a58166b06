//! What an in-context model is given of its rows with known labels: made once, by the first call.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use ort::value::DynValue;

use super::cancel::Cancel;
use super::feeds::numbers;
use super::sessions::Sessions;
use super::stats::Stats;
use crate::error::{Error, Kind, Result};
use crate::package::{CONTEXT_STAGE, Feed, Manifest, Source, load_context};

/// How often a call that waits for another to encode looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(10);

/// The tensors of a model, once a call has made them.
#[derive(Debug, Default)]
pub(super) struct Context(Mutex<Option<Arc<ContextTensors>>>);

impl Context {
    /// The tensors, made by `make` if nobody has; one that fails or is cancelled leaves it to the next call.
    pub(super) fn get_or_make(&self, cancel: &Cancel, make: impl FnOnce() -> Result<ContextTensors>) -> Result<Arc<ContextTensors>> {
        let mut made = loop {
            match self.0.try_lock() {
                Ok(made) => break made,
                Err(TryLockError::Poisoned(made)) => break PoisonError::into_inner(made),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
            cancel.check()?;
        };
        if let Some(tensors) = &*made {
            return Ok(Arc::clone(tensors));
        }
        let tensors = Arc::new(make()?);
        *made = Some(Arc::clone(&tensors));
        Ok(tensors)
    }
}

/// Tensors that are the same for all rows that are asked about.
#[derive(Debug, Default)]
pub(super) struct ContextTensors {
    /// By graph input of the stage that answers.
    tensors: HashMap<String, Arc<DynValue>>,
}

impl ContextTensors {
    /// Reads the rows of a model whose files lie in `folder`, and encodes them where it has a graph for that.
    pub(super) fn make(manifest: &Manifest, folder: &Path, sessions: &Sessions, cancel: &Cancel, stats: &Stats) -> Result<Self> {
        let Some(context) = &manifest.context else { return Ok(Self::default()) };
        let (features, labels) = load_context(context, folder)?;
        let width = features.len() / context.rows.max(1);
        let tensor = |feed: &Feed| {
            let value = match &feed.source {
                Source::ContextFeatures => numbers(&feed.port, vec![context.rows, width], features.iter().copied())?,
                Source::ContextLabels if feed.port.shape.len() == 1 => numbers(&feed.port, vec![context.rows], labels.iter().copied())?,
                _ => numbers(&feed.port, vec![context.rows, 1], labels.iter().copied())?,
            };
            Ok((feed.port.name.clone(), Arc::new(value)))
        };
        let mut tensors = HashMap::new();
        for (index, stage) in manifest.stages.iter().enumerate() {
            let known = stage.feeds.iter().filter(|feed| matches!(feed.source, Source::ContextFeatures | Source::ContextLabels));
            let known = known.map(tensor).collect::<Result<Vec<_>>>()?;
            if stage.name != CONTEXT_STAGE {
                tensors.extend(known);
                continue;
            }
            let encoded = cancel.guard(|options| sessions.run(index, known, options, stats))?;
            tensors.extend(encoded.into_iter().map(|(name, value)| (name, Arc::new(value))));
        }
        Ok(Self { tensors })
    }

    /// The tensor for a feed that is the same for all rows.
    pub(super) fn get(&self, feed: &Feed) -> Result<Arc<DynValue>> {
        let name = match &feed.source {
            Source::ContextState { output } => output,
            _ => &feed.port.name,
        };
        self.tensors.get(name).cloned().ok_or_else(|| Error::new(Kind::Package, format!("nothing fills graph input {}", feed.port)))
    }
}
