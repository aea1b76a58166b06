//! Stopping a call from another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ort::session::{NoSelectedOutputs, RunOptions};

use crate::error::{Error, Kind, Result};

/// A call that may be told to stop. Clones mean the same call.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Default)]
struct State {
    is_cancelled: AtomicBool,
    /// Runs under way; ONNX Runtime looks at their options between two operators.
    running: Mutex<Vec<Arc<RunOptions<NoSelectedOutputs>>>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("is_cancelled", &self.is_cancelled).finish_non_exhaustive()
    }
}

fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "the query was cancelled")
}

impl Cancel {
    /// Stops the call: nothing new is begun, and graphs that run are told to end within milliseconds.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::SeqCst);
        for options in self.0.running.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // One that cannot be told runs to the end of its batch.
            let _ = options.terminate();
        }
    }

    /// Whether the call was told to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::SeqCst)
    }

    /// An error once the call was told to stop.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }

    /// Runs `work` with options that [`Cancel::cancel`] reaches.
    pub(super) fn guard<T>(&self, work: impl FnOnce(&Arc<RunOptions<NoSelectedOutputs>>) -> Result<T>) -> Result<T> {
        let options = RunOptions::new().map_err(|error| Error::new(Kind::Runtime, format!("cannot run a graph: {error}")))?;
        let options = Arc::new(options);
        let running = || self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running().push(Arc::clone(&options));
        // Looked at after it is on the list: a cancel in between reaches one or the other.
        let result = self.check().and_then(|()| work(&options));
        running().retain(|other| !Arc::ptr_eq(other, &options));
        if result.is_err() { self.check().and(result) } else { result }
    }
}
