//! Threads that own a device each and take jobs off one queue.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::stats::Stats;
use crate::error::{Error, Kind, Result};

/// Does the jobs of one thread, with what that thread owns.
pub(super) type Worker<I, O> = Box<dyn FnMut(I) -> O>;

struct Job<I, O> {
    input: I,
    reply: Sender<Done<O>>,
}

struct Done<O> {
    began: Instant,
    ended: Instant,
    output: O,
}

/// The queue and its threads. A caller waits for its own job, so the queue is never longer than there are callers, who
/// are what prepares further jobs meanwhile.
pub(super) struct Owners<I, O> {
    queue: Option<Sender<Job<I, O>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<I, O> std::fmt::Debug for Owners<I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

fn gone() -> Error {
    Error::new(Kind::Runtime, "the thread of the device has ended")
}

impl<I: Send + 'static, O: Send + 'static> Owners<I, O> {
    /// Starts a thread for each of `makers`, which makes its worker there.
    ///
    /// # Errors
    /// That of the first maker that fails.
    pub(super) fn start<M>(makers: Vec<M>) -> Result<Self>
    where
        M: FnOnce() -> Result<Worker<I, O>> + Send + 'static,
    {
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let mut owners = Self { queue: Some(queue), threads: Vec::new() };
        let (made, is_made) = channel();
        let count = makers.len();
        for (index, make) in makers.into_iter().enumerate() {
            let (jobs, made) = (Arc::clone(&jobs), made.clone());
            let own = move || {
                let worker = make();
                let (worker, outcome) = match worker {
                    Ok(worker) => (Some(worker), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                let _ = made.send(outcome);
                drop(made);
                if let Some(worker) = worker {
                    work(worker, &jobs);
                }
            };
            let thread = std::thread::Builder::new().name(format!("sensorium-device-{index}")).spawn(own);
            owners.threads.push(thread.map_err(|error| Error::new(Kind::Runtime, format!("cannot start a thread: {error}")))?);
        }
        drop(made);
        for _ in 0..count {
            is_made.recv().unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(owners)
    }

    /// Has some thread do the job, and waits.
    pub(super) fn run(&self, input: I, stats: &Stats) -> Result<O> {
        let (reply, answer) = channel();
        let queued = Instant::now();
        self.queue.as_ref().ok_or_else(gone)?.send(Job { input, reply }).map_err(|_| gone())?;
        let Done { began, ended, output } = answer.recv().map_err(|_| gone())?;
        stats.queue_time.add_time(began - queued);
        stats.device_time.add_time(ended - began);
        Ok(output)
    }
}

impl<I, O> Owners<I, O> {
    /// Number of threads.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }
}

impl<I, O> Drop for Owners<I, O> {
    /// What a thread owns is dropped there, before this returns.
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work<I, O>(mut worker: Worker<I, O>, jobs: &Mutex<Receiver<Job<I, O>>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { input, reply }) = next else { return };
        let began = Instant::now();
        let output = worker(input);
        // One whose caller has gone is nobody's loss.
        let _ = reply.send(Done { began, ended: Instant::now(), output });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    type Square = (u64, ThreadId);
    type Own = Owners<u64, Square>;
    type Maker = fn() -> Result<Worker<u64, Square>>;

    /// Squares slowly, and says where.
    fn squares() -> Result<Worker<u64, Square>> {
        Ok(Box::new(|number| {
            std::thread::sleep(Duration::from_micros(200));
            (number * number, std::thread::current().id())
        }))
    }

    #[test]
    fn callers_get_their_own_answers_from_all_threads() {
        let owners = Own::start(vec![squares, squares]).expect("two threads");
        let (stats, threads) = (Stats::default(), Mutex::new(BTreeSet::new()));
        std::thread::scope(|scope| {
            for caller in 0..8 {
                let (owners, stats, threads) = (&owners, &stats, &threads);
                scope.spawn(move || {
                    for time in 0..50 {
                        let number = caller * 100 + time;
                        let (square, thread) = owners.run(number, stats).expect("an answer");
                        assert_eq!(square, number * number);
                        threads.lock().expect("no panic").insert(format!("{thread:?}"));
                    }
                });
            }
        });
        assert_eq!(threads.into_inner().expect("no panic").len(), owners.count());
        assert!(stats.device_time.get() > 0 && stats.queue_time.get() > 0);
    }

    #[test]
    fn one_that_cannot_be_made_is_an_error_at_once() {
        let made: Vec<Maker> = vec![squares, || Err(Error::new(Kind::Runtime, "no device"))];
        assert_eq!(Own::start(made).expect_err("refused").to_string(), "no device");
    }

    #[test]
    fn what_a_thread_owns_is_gone_when_the_queue_is() {
        let owned = Arc::new(());
        let kept = Arc::clone(&owned);
        let make = move || -> Result<Worker<u64, u64>> { Ok(Box::new(move |number| number + Arc::strong_count(&kept) as u64)) };
        let owners = Owners::start(vec![make]).expect("a thread");
        assert_eq!(owners.run(1, &Stats::default()).expect("an answer"), 3);
        drop(owners);
        assert_eq!(Arc::strong_count(&owned), 1);
    }

    #[test]
    fn a_thread_that_panics_is_an_error_for_its_caller() {
        let make = || -> Result<Worker<u64, u64>> { Ok(Box::new(|number| 10 / number)) };
        let owners = Owners::start(vec![make]).expect("a thread");
        assert_eq!(owners.run(2, &Stats::default()).expect("an answer"), 5);
        assert_eq!(owners.run(0, &Stats::default()).expect_err("gone").kind(), Kind::Runtime);
        assert_eq!(owners.run(2, &Stats::default()).expect_err("gone").kind(), Kind::Runtime);
    }
}
