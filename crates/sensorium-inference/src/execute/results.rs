//! What has come out of a call so far. Batches put their results here as they end, so that no more of them wait than run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::answer::Collector;
use super::run::{Failure, Request, Step};
use super::tensor::HostTensor;
use crate::error::{Error, Kind, Result};

/// The rows of a batch and what the model gave for them, one tensor for each collector.
pub(super) type Outcome = (Vec<usize>, Result<Vec<HostTensor>>);

/// Shared by the workers of a call.
pub(super) struct Results<'a> {
    request: &'a Request<'a>,
    collected: Mutex<Collected>,
    /// Whether the rest is not worth its work.
    is_over: AtomicBool,
}

/// Results by row, rows that failed, and what ended the call.
struct Collected {
    collectors: Vec<Collector>,
    failures: Vec<Failure>,
    error: Option<Error>,
}

impl<'a> Results<'a> {
    pub(super) fn new(request: &'a Request<'a>, collectors: Vec<Collector>, failures: Vec<Failure>) -> Self {
        let is_over = AtomicBool::new(request.stop_at_failure && !failures.is_empty());
        Self { request, collected: Mutex::new(Collected { collectors, failures, error: None }), is_over }
    }

    /// Whether further batches are not wanted.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.request.cancel.is_cancelled()
    }

    /// Adds rows that failed before the model.
    pub(super) fn fail(&self, failures: Vec<Failure>) {
        if !failures.is_empty() {
            self.is_over.fetch_or(self.request.stop_at_failure, Ordering::Relaxed);
            self.collected.lock().unwrap_or_else(PoisonError::into_inner).failures.extend(failures);
        }
    }

    /// Adds what a batch gave.
    pub(super) fn add(&self, (rows, result): Outcome) {
        let start = Instant::now();
        match result {
            Ok(tensors) => {
                let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
                let scattered =
                    collected.collectors.iter_mut().zip(tensors).try_for_each(|(collector, tensor)| collector.scatter(&rows, tensor));
                drop(collected);
                scattered.unwrap_or_else(|error| self.end(error));
            }
            Err(error) if error.kind() == Kind::Model => {
                let failure = |row: &usize| Failure { row: *row, uri: None, step: Step::Model, error: error.clone() };
                self.fail(rows.iter().map(failure).collect());
            }
            Err(error) => self.end(error),
        }
        self.request.stats.scatter_time.since(start);
    }

    fn end(&self, error: Error) {
        self.is_over.store(true, Ordering::Relaxed);
        self.collected.lock().unwrap_or_else(PoisonError::into_inner).error.get_or_insert(error);
    }

    /// Results by row, and the rows that failed.
    pub(super) fn take(self) -> Result<(Vec<Collector>, Vec<Failure>)> {
        self.request.cancel.check()?;
        let Collected { collectors, failures, error } = self.collected.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok((collectors, failures)), Err)
    }
}
