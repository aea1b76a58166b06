//! The runtime that waits for object stores, apart from the one that runs queries.
//!
//! Model execution is synchronous and may be called from any thread, a worker of another tokio runtime included;
//! waiting there for a future of that same runtime could deadlock.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Kind, Result};

/// Threads that drive sockets; they never decode or compute.
const IO_THREADS: usize = 2;

static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();

/// Runs `future` on the I/O runtime and blocks the calling thread until it is done.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let stopped = |what: &dyn std::fmt::Display| Error::new(Kind::Runtime, format!("the I/O runtime stopped: {what}"));
    let runtime = RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(IO_THREADS)
                .thread_name("sensorium-io")
                .enable_all()
                .build()
                .map_err(|error| stopped(&error))
        })
        .as_ref()
        .map_err(Clone::clone)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // The receiver is gone only if the waiting thread panicked.
        let _ = sender.send(future.await);
    });
    receiver.recv().map_err(|error| stopped(&error))?
}
