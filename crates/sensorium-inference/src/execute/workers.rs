//! The threads that decode, tokenize and run CPU sessions, one for each core; never tokio's.
//!
//! A worker does not wait for other workers: it would take up somebody else's batch in the meantime, and its own call
//! would go on only after that, perhaps beside an idle core. Whoever waits stands outside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Kind, Result};

static WORKERS: OnceLock<Result<ThreadPool>> = OnceLock::new();

/// Pieces of a list for each worker: enough that the last one is short.
const PIECES_PER_WORKER: usize = 8;

fn workers() -> Result<&'static ThreadPool> {
    let build = || {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("sensorium-worker-{index}"))
            .build()
            .map_err(|error| Error::new(Kind::Runtime, format!("cannot start worker threads: {error}")))
    };
    WORKERS.get_or_init(build).as_ref().map_err(Clone::clone)
}

/// Number of workers.
pub(super) fn count() -> Result<usize> {
    Ok(workers()?.current_num_threads())
}

/// Runs `one` for each item, in about their order, and waits. A worker that calls it does all itself.
pub(super) fn for_each<T: Send>(items: impl IntoIterator<Item = T>, one: impl Fn(T) + Sync) -> Result<()> {
    let (one, workers) = (&one, workers()?);
    if workers.current_thread_index().is_some() {
        items.into_iter().for_each(one);
    } else {
        workers.in_place_scope(|scope| items.into_iter().for_each(|item| scope.spawn(move |_| one(item))));
    }
    Ok(())
}

/// What `one` makes of each number below `count`, in order; at least `least` of them in a task.
pub(super) fn map<T: Send>(count: usize, least: usize, one: impl Fn(usize) -> T + Sync) -> Result<Vec<T>> {
    let piece = count.div_ceil(self::count()? * PIECES_PER_WORKER).max(least).max(1);
    let mut pieces: Vec<Vec<T>> = (0..count.div_ceil(piece)).map(|_| Vec::new()).collect();
    for_each(pieces.iter_mut().enumerate(), |(place, made): (usize, &mut Vec<T>)| {
        let start = place * piece;
        made.extend((start..count.min(start + piece)).map(&one));
    })?;
    Ok(pieces.into_iter().flatten().collect())
}

/// Runs `work` on a worker; `None` where it panicked. It must not wait for other calls, as nobody else would do their
/// work.
///
/// # Errors
/// [`Kind::Runtime`] when the threads cannot be started.
pub fn on_workers<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<impl Future<Output = Option<T>>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    workers()?.spawn_fifo(move || {
        // A panic would end the process here.
        if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
            let _ = sender.send(done);
        }
    });
    Ok(async { receiver.await.ok() })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn lists_keep_their_order() {
        for count in [0, 1, 2, 63, 64, 65, 1_000] {
            assert_eq!(map(count, 3, |number| number * 2).expect("workers"), (0..count).map(|number| number * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_item_is_run_once() {
        let sum = AtomicUsize::new(0);
        for_each(0..1_000, |item| _ = sum.fetch_add(item, Ordering::Relaxed)).expect("workers");
        assert_eq!(sum.into_inner(), 499_500);
    }
}
