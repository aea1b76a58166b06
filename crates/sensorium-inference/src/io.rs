//! The runtime that waits for object stores, apart from the one that runs queries.
//!
//! Model execution is synchronous and may be called from any thread, a worker of another tokio runtime included;
//! waiting there for a future of that same runtime could deadlock.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::execute::Cancel;

/// Threads that drive sockets; they never decode or compute.
const IO_THREADS: usize = 2;
/// How often one that waits looks whether it still should.
const LOOK: Duration = Duration::from_millis(20);

static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();

fn stopped(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Runtime, format!("the I/O runtime stopped: {what}"))
}

/// Runs `future` on the I/O runtime and blocks the calling thread until it is done.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    start(future)?.wait(&Cancel::default())
}

/// Starts `future` on the I/O runtime.
pub(crate) fn start<T: Send + 'static>(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<Pending<T>> {
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
    let task = runtime.spawn(async move {
        // The receiver is gone only if nobody waits any more.
        let _ = sender.send(future.await);
    });
    Ok(Pending { receiver, task })
}

/// A future that runs on the I/O runtime; dropping this stops it.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    receiver: mpsc::Receiver<Result<T>>,
    task: JoinHandle<()>,
}

impl<T> Pending<T> {
    /// Blocks the calling thread until the future is done, or until `cancel` is told to stop.
    pub(crate) fn wait(self, cancel: &Cancel) -> Result<T> {
        loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(result) => return result,
                Err(mpsc::RecvTimeoutError::Timeout) => cancel.check()?,
                Err(error) => return Err(stopped(&error)),
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
