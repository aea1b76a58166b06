//! Waiting for the engine without the interpreter's lock: signals are looked for meanwhile, and progress is shown.

use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use datafusion::error::Result;
use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use crate::errors::{broken, raise, to_python};
use crate::session::Watched;

/// How often signals are looked for, and so how long Ctrl-C may go unheard.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// How long the interpreter's end waits for code of its own that a query reads from.
const GRACE: Duration = Duration::from_secs(5);

/// The threads of the process on which the engine runs.
#[derive(Default)]
enum Threads {
    #[default]
    NotStarted,
    /// Those of the process with this number.
    Of(u32, Runtime),
    /// The interpreter ends.
    Ended,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads::NotStarted);

/// The runtime, which a process that was forked from its owner does not have.
///
/// # Errors
/// In a fork, at the interpreter's end, and where threads cannot be started.
pub(crate) fn runtime(py: Python<'_>) -> PyResult<Handle> {
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*threads, Threads::NotStarted) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(broken)?;
        *threads = Threads::Of(std::process::id(), runtime);
    }
    match &*threads {
        Threads::Of(process, runtime) if *process == std::process::id() => Ok(runtime.handle().clone()),
        Threads::Ended => Err(broken("the interpreter ends")),
        _ => Err(raise(
            py,
            "runtime",
            "this process was forked from one that had used sensorium, whose threads it does not have",
            "start processes with multiprocessing.get_context('spawn'), or use sensorium in children only",
        )),
    }
}

/// Ends all queries and waits for the threads that read frames: one that is in the middle of Python's code while the interpreter goes
/// away would take the process with it.
pub(crate) fn shut_down(py: Python<'_>) {
    let threads = std::mem::replace(&mut *THREADS.lock().unwrap_or_else(PoisonError::into_inner), Threads::Ended);
    match threads {
        Threads::Of(process, runtime) if process == std::process::id() => py.detach(|| runtime.shutdown_timeout(GRACE)),
        // There are no threads in a fork, so that waiting for them would take all the time.
        threads => std::mem::forget(threads),
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
