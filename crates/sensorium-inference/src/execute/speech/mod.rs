//! Speech to text: windows of a clip through the encoder, then tokens one by one, several clips at a time.
//!
//! Windows, times and what may be written next follow OpenAI's `transcribe.py` and `decoding.py` without sampling and
//! without the text of the window before. Each worker has some clips in hand: one that is written leaves, the next
//! row takes its place.

mod clip;
mod rules;
mod segments;
mod transcript;
mod writer;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::encode::Work;
use super::fetch::{Fetched, Fetches};
use super::results::Results;
use super::run::{Answer, Failure, Step, batch_rows};
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::package::Speech;
use clip::{Clip, Sound};
pub(super) use transcript::transcript_fields;
use transcript::{Transcript, assemble};
use writer::Writer;

/// The text of each of `rows`; `failures` are those of rows that cannot be looked at.
pub(super) fn run(work: &Work<'_>, speech: &Speech, rows: &[usize], failures: Vec<Failure>) -> Result<Answer> {
    let results = Results::new(work.request, Vec::new(), failures);
    let transcripts: Mutex<Vec<Option<Transcript>>> = Mutex::new((0..work.request.rows).map(|_| None).collect());
    let sound = Sound::of(&work.model.manifest)?;
    let writer = Writer::new(work, speech)?;
    let workers = workers::count()?;
    let mut fetches = Fetches::start(work, rows)?;
    while let Some((rows, fetched)) = fetches.next(work)? {
        let in_hand = batch_rows(work.model, work.request.limits).min(rows.len().div_ceil(workers)).max(1);
        let next = AtomicUsize::new(0);
        let queue = Queue { work, sound, rows, fetched: &fetched, next: &next, results: &results };
        workers::for_each(0..workers, |_| {
            let done = |row: usize, transcript: Transcript| {
                transcripts.lock().unwrap_or_else(PoisonError::into_inner)[row] = Some(transcript);
            };
            write_all(&queue, &writer, in_hand, done);
        })?;
        work.request.cancel.check()?;
    }
    let (_, mut failures) = results.take()?;
    failures.sort_by_key(|failure| failure.row);
    let start = Instant::now();
    let values = assemble(&transcripts.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    work.request.stats.scatter_time.since(start);
    Ok(Answer::new(values, failures))
}

/// The rows that no worker has begun yet.
struct Queue<'a> {
    work: &'a Work<'a>,
    sound: Sound<'a>,
    rows: &'a [usize],
    fetched: &'a Fetched,
    next: &'a AtomicUsize,
    results: &'a Results<'a>,
}

impl Queue<'_> {
    /// The next row whose sound can be used; those before it have failed.
    fn next(&self) -> Option<Clip> {
        while !self.results.is_over() {
            let row = *self.rows.get(self.next.fetch_add(1, Ordering::Relaxed))?;
            match self.sound.clip(self.work, row, self.fetched) {
                Ok(clip) => return Some(clip),
                Err(failure) => self.results.fail(vec![failure]),
            }
        }
        None
    }
}

/// Writes clips until there are no more, `in_hand` of them at a time.
fn write_all(queue: &Queue<'_>, writer: &Writer<'_>, in_hand: usize, done: impl Fn(usize, Transcript)) {
    let mut clips: Vec<Clip> = Vec::new();
    loop {
        while clips.len() < in_hand {
            let Some(clip) = queue.next() else { break };
            clips.push(clip);
        }
        if clips.is_empty() || queue.results.is_over() {
            return;
        }
        write_windows(queue, writer, &mut clips);
        let (ended, rest): (Vec<Clip>, Vec<Clip>) = clips.into_iter().partition(Clip::is_over);
        clips = rest;
        let stats = queue.work.request.stats;
        stats.model_rows.add(ended.len());
        queue.work.model.rows.fetch_add(ended.len() as u64, Ordering::Relaxed);
        for clip in ended.into_iter().filter(|clip| !clip.failed) {
            done(clip.row, clip.into_transcript());
        }
    }
}

/// One window of each clip; if the graphs fail on them, of its halves, so that one clip does not sink its neighbours.
fn write_windows(queue: &Queue<'_>, writer: &Writer<'_>, clips: &mut [Clip]) {
    if queue.results.is_over() {
        return;
    }
    match writer.write(clips) {
        Ok(()) => {}
        Err(error) if error.kind() == Kind::Model && clips.len() > 1 => {
            let (left, right) = clips.split_at_mut(clips.len() / 2);
            write_windows(queue, writer, left);
            write_windows(queue, writer, right);
        }
        Err(error) => {
            clips.iter_mut().for_each(|clip| clip.failed = true);
            let rows: Vec<usize> = clips.iter().map(|clip| clip.row).collect();
            // An error that is not a row's ends the call.
            match error.kind() {
                Kind::Model | Kind::Media => {
                    let failure = |row: usize| Failure { row, uri: None, step: Step::Model, error: error.clone() };
                    queue.results.fail(rows.into_iter().map(failure).collect());
                }
                _ => queue.results.add((rows, Err(error))),
            }
        }
    }
}

/// The manifest contradicts itself.
fn incomplete(what: &str) -> Error {
    Error::new(Kind::Package, format!("speech model without {what}"))
}
