//! Waiting for the engine without the interpreter's lock: signals are looked for meanwhile, and progress is shown.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use datafusion::error::Result;
use pyo3::prelude::*;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::errors::{broken, raise, to_python};
use crate::session::Watched;

/// How often signals are looked for, and so how long Ctrl-C may go unheard.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// The threads of the process on which the engine runs, and the process that they belong to.
static RUNTIME: OnceLock<(Runtime, u32)> = OnceLock::new();

/// The runtime, which a process that was forked from its owner does not have.
///
/// # Errors
/// In a fork, and where threads cannot be started.
pub(crate) fn runtime(py: Python<'_>) -> PyResult<&'static Runtime> {
    if RUNTIME.get().is_none() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(broken)?;
        // Somebody else's is as good.
        let _ = RUNTIME.set((runtime, std::process::id()));
    }
    match RUNTIME.get() {
        Some((runtime, process)) if *process == std::process::id() => Ok(runtime),
        _ => Err(raise(
            py,
            "runtime",
            "this process was forked from one that had used sensorium, whose threads it does not have",
            "start processes with multiprocessing.get_context('spawn'), or use sensorium in children only",
        )),
    }
}

/// Ends a task that nobody waits for.
#[derive(Debug)]
pub(crate) struct AbortWhenDropped(pub(crate) JoinHandle<()>);

impl Drop for AbortWhenDropped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` to its end; Ctrl-C ends it early.
///
/// # Errors
/// Those of `work`, and the exception that a signal's handler raised.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    watched: &mut Watched,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = channel();
    let task = runtime(py)?.spawn(async move {
        // Nobody waits any more after a signal.
        let _ = sender.send(work.await);
    });
    let _task = AbortWhenDropped(task);
    loop {
        let outcome;
        (outcome, receiver) = py.detach(move || (receiver.recv_timeout(TICK), receiver));
        match outcome {
            Ok(done) => return done.map_err(|error| to_python(py, &error)),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                watched.tick(py)?;
            }
            Err(RecvTimeoutError::Disconnected) => return Err(broken("a thread of the engine has panicked")),
        }
    }
}
