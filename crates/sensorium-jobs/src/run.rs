//! A run: chunk by chunk into staged files, checks, and one file that appears at once.
//!
//! What is done stands in the ledger before the next step begins, so that a run that was killed goes on where it stopped. Staging is
//! repeatable: the same chunk gives the same file; the output is written from the staged files, as often as it takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use backon::{ExponentialBuilder, Retryable};
use chrono::NaiveDate;
use object_store::path::Path;
use sensorium_engine::Session;
use serde::Serialize;

use crate::checks::check;
use crate::chunks::ChunkPlan;
use crate::commit::{Damaged, commit, token};
use crate::delta::{Publication, check_columns};
use crate::error::{JobError, Result};
use crate::job_file::{Format, Job, Notice};
use crate::ledger::{ChunkRecord, FailureRecord, Ledger, Outcome, RunRecord, RunState, now};
use crate::parameters::Parameters;
use crate::setting_up::{Ready, set_up};
use crate::sharing;
use crate::sink::Sink;
use crate::stage::stage;
use crate::webhook::notify;

/// Times that staged files which are gone are made again.
const REPAIRS: usize = 3;
/// Rows from which on a share of failures says something.
const JUDGED_ROWS: u64 = 100;

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct RunRequest<'r> {
    /// The job.
    pub job: &'r Job,
    /// The date that it is for.
    pub date: NaiveDate,
    /// A date that is done is done again, and its output replaced.
    pub force: bool,
    /// Folder or URL of the models, instead of that of the job.
    pub models: Option<&'r str>,
    /// Set to have it stop behind the chunk that is worked on.
    pub stop: Option<&'r AtomicBool>,
}

/// What a run has come to.
#[derive(Debug, Clone, Serialize)]
pub struct Finished {
    /// Its name.
    pub run: String,
    /// Whether it had been done before, so that nothing was to do.
    pub was_done: bool,
    /// File of the output.
    pub output: String,
    /// Rows of the output.
    pub rows: u64,
    /// Failures of rows.
    pub rejected: u64,
    /// Chunks, and how many of them were staged by an earlier attempt.
    pub chunks: u64,
    /// Of these, staged by an earlier attempt.
    pub kept_chunks: u64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Chunks that are staged.
    pub chunks: u64,
    /// Of so many.
    pub of: u64,
    /// Rows of the input in them, where they are counted.
    pub rows: u64,
}

/// Runs a job for a date; does nothing where that is done.
///
/// # Errors
/// For a job that is running, and anything that goes wrong; the run is then `failed` in the ledger, and the next one goes on with it.
pub async fn run(ledger: &Ledger, request: &RunRequest<'_>, observe: &(dyn Fn(Step) + Sync)) -> Result<Finished> {
    let job = request.job;
    let _lock = ledger.lock(&job.name)?;
    let before = ledger.run_of(&job.name, request.date)?;
    let generation = match &before {
        Some(done) if done.state == RunState::Done && !request.force => {
            if let Some(outcome) = &done.outcome {
                clean_up(job, done).await;
                return Ok(finished(&done.run, outcome, true, outcome.chunks));
            }
            done.generation
        }
        // Chunks of what is forced are made anew.
        Some(before) if request.force || before.state == RunState::Done => before.generation + 1,
        Some(open) => open.generation,
        None => 1,
    };
    let record = not_set_up(request, generation);
    let (ready, schema, sink) = match set_up_with_retries(request).await {
        Ok(set_up) => set_up,
        Err(error) => {
            ledger.begin(&record)?;
            return Err(failed(ledger, job, &record, error).await);
        }
    };
    let record = RunRecord {
        fingerprint: ready.fingerprint.clone(),
        query: ready.sql.clone(),
        parameters: ready.parameters.clone(),
        models: ready.models(),
        environment: ready.environment.clone(),
        ..record
    };
    ready.session.set("mm.run_id", &record.run).await?;
    ledger.begin(&record)?;
    if ready.sink.format == Format::Delta {
        // Before hours of work are done for a table that does not take it.
        let checked = check_columns(&sink, &schema).await;
        if let Err(error) = checked {
            return Err(failed(ledger, job, &record, error).await);
        }
    }
    sharing::take(ledger, &record.run, &ready).await;
    let keeps_failures = before.is_none_or(|before| before.state != RunState::Failed);
    let attempt = Attempt { ledger, job, record: &record, ready: &ready, sink, observe, stop: request.stop, keeps_failures };
    let done = match job.file.limits.seconds {
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), attempt.work()).await.unwrap_or_else(|_| {
            Err(JobError::new(format!("{} took more than {seconds} seconds", record.run))
                .with_hint("limits.seconds; the next run goes on where this one stopped"))
        }),
        None => attempt.work().await,
    };
    let done = match done {
        Err(error) if !is_told_to_stop(request.stop) => Err(failed(ledger, job, &record, error).await),
        done => done,
    };
    match &done {
        Err(error) if is_told_to_stop(request.stop) => ledger.log(&record.run, &error.to_string())?,
        Err(_) => {}
        Ok(done) => {
            sharing::give(ledger, &record.run, &ready).await;
            let counts = Some((done.rows, done.rejected));
            if done.rejected > 0 {
                notify(ledger, job, &record, Notice::Rejected, None, counts).await;
            }
            notify(ledger, job, &record, Notice::Done, None, counts).await;
        }
    }
    done
}

/// Writes down that a run has failed, and tells those who want to know, whether it can be written down or not.
async fn failed(ledger: &Ledger, job: &Job, record: &RunRecord, error: JobError) -> JobError {
    let noted = ledger.fail(&record.run, &error.to_string());
    notify(ledger, job, record, Notice::Failed, Some(&error.to_string()), None).await;
    match noted {
        Ok(()) => error,
        Err(other) => error.with_hint(format!("the ledger does not know of it: {other}")),
    }
}

/// What is known of a run before its query is planned.
fn not_set_up(request: &RunRequest<'_>, generation: u64) -> RunRecord {
    let job = request.job;
    RunRecord {
        run: name(job, request.date, generation),
        job: job.name.clone(),
        run_date: request.date,
        generation,
        state: RunState::Running,
        started_at: now(),
        fingerprint: String::new(),
        query: job.sql.clone(),
        parameters: "[]".into(),
        models: Vec::new(),
        environment: "{}".into(),
        outcome: None,
        error: None,
    }
}

/// Sets a job up, with the columns of its output and its sink; inputs may come late, and stores may not answer.
async fn set_up_with_retries(request: &RunRequest<'_>) -> Result<(Ready, SchemaRef, Sink)> {
    let set_up = || async {
        let mut ready = set_up(request.job, request.date, request.models, &BTreeMap::new()).await?;
        if ready.chunks.is_empty() {
            ready.chunks = ChunkPlan::Whole { why: "the table has no rows".into() };
        }
        let (schema, _) = ready.output()?;
        let sink = Sink::open(&ready.sink)?;
        Ok((ready, schema, sink))
    };
    set_up.retry(delays(request.job)).when(|_| !is_told_to_stop(request.stop)).await
}

fn delays(job: &Job) -> ExponentialBuilder {
    let retries = &job.file.retries;
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs_f64(retries.delay_s))
        .with_max_delay(Duration::from_secs_f64(retries.most_delay_s))
        .with_max_times(retries.attempts as usize)
        .with_jitter()
}

/// Removes what the run and earlier ones of its date have staged. What cannot be removed now is removed the next time.
async fn clean_up(job: &Job, run: &RunRecord) {
    let sink = Parameters::of(job, run.run_date).and_then(|parameters| job.sink(&parameters));
    let Ok(sink) = sink.and_then(|sink| Sink::open(&sink)) else { return };
    for generation in 1..=run.generation {
        let _ = sink.clean(&name(job, run.run_date, generation), run.run_date, &job.name).await;
    }
}

fn name(job: &Job, date: NaiveDate, generation: u64) -> String {
    format!("{}-{date}-{generation}", job.name)
}

fn is_told_to_stop(stop: Option<&AtomicBool>) -> bool {
    stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}

fn finished(run: &str, outcome: &Outcome, was_done: bool, kept_chunks: u64) -> Finished {
    Finished {
        run: run.to_string(),
        was_done,
        output: outcome.output.clone(),
        rows: outcome.rows_out,
        rejected: outcome.rejected,
        chunks: outcome.chunks,
        kept_chunks,
    }
}

/// Rows for which results were found that an earlier run or the same one had kept.
fn cached(session: &Session) -> u64 {
    let is_hit = |figure: &&(&str, u64)| matches!(figure.0, "cache_hits" | "disk_cache_hits");
    session.progress().iter().flat_map(|model| model.figures.iter().filter(is_hit).map(|(_, count)| count).collect::<Vec<_>>()).sum()
}

/// What the models of a session have done, as JSON.
fn figures(session: &Session) -> Option<String> {
    let models: BTreeMap<String, BTreeMap<&str, u64>> = session
        .progress()
        .into_iter()
        .map(|model| (model.model, model.figures.into_iter().filter(|(_, figure)| *figure > 0).collect()))
        .collect();
    serde_json::to_string(&models).ok()
}

/// One attempt at a run.
struct Attempt<'a> {
    ledger: &'a Ledger,
    job: &'a Job,
    record: &'a RunRecord,
    ready: &'a Ready,
    sink: Sink,
    observe: &'a (dyn Fn(Step) + Sync),
    stop: Option<&'a AtomicBool>,
    /// Whether chunks with rows that failed are kept: not where an attempt has failed, for which these may have been the reason.
    keeps_failures: bool,
}

impl Attempt<'_> {
    async fn work(&self) -> Result<Finished> {
        let start = Instant::now();
        let run = &self.record.run;
        self.ledger.log(run, &format!("{} chunks to {}", self.ready.chunks.len(), self.ready.sink.path))?;
        let schema = self.ready.output()?.0;
        let mut kept = None;
        for _ in 0..=REPAIRS {
            let (chunks, found) = self.stage_all().await?;
            kept.get_or_insert(found);
            self.check(&chunks).await?;
            let rows = chunks.iter().map(|chunk| chunk.rows_out).sum();
            let (job, date) = (self.job.name.as_str(), self.record.run_date);
            let path = self.sink.output(date, job, &token(run, &chunks));
            let publication = Publication { job, date, path: &path, rows, schema: &schema };
            match commit(&self.sink, &chunks, &publication).await? {
                Ok(written) => {
                    let outcome = Outcome {
                        finished_at: now(),
                        seconds: start.elapsed().as_secs_f64(),
                        output: self.sink.name(&path),
                        output_sha256: written.sha256,
                        output_bytes: written.bytes,
                        chunks: chunks.len() as u64,
                        rows_in: chunks.iter().map(|chunk| chunk.rows_in).sum(),
                        rows_out: rows,
                        rejected: chunks.iter().map(|chunk| chunk.rejected).sum(),
                        cached: chunks.iter().map(|chunk| chunk.cached).sum(),
                        figures: figures(&self.ready.session),
                    };
                    self.ledger.finish(self.record, &outcome)?;
                    // From here on the run is done, whatever else goes wrong.
                    let _ = self.ledger.log(run, &format!("{} rows in {}", outcome.rows_out, outcome.output));
                    clean_up(self.job, self.record).await;
                    return Ok(finished(run, &outcome, false, kept.unwrap_or_default()));
                }
                Err(Damaged(number)) => {
                    self.ledger.forget_chunk(run, number)?;
                    self.tell_of_damage(number)?;
                }
            }
        }
        Err(JobError::new(format!("sink {}: staged files go away while the run is going on", self.ready.sink.path)))
    }

    fn tell_of_damage(&self, chunk: u64) -> Result<()> {
        self.ledger.log(&self.record.run, &format!("staged chunk {chunk} is gone or damaged, and is made again"))
    }

    /// Stages all chunks that are not; returns them in their order, and how many were.
    async fn stage_all(&self) -> Result<(Vec<ChunkRecord>, u64)> {
        let known = self.ledger.chunks(&self.record.run)?;
        let (mut chunks, mut kept): (Vec<ChunkRecord>, u64) = (Vec::new(), 0);
        for number in 0..self.ready.chunks.len() {
            if is_told_to_stop(self.stop) {
                return Err(
                    JobError::new(format!("{} was stopped", self.record.run)).with_hint("the next run goes on where this one stopped")
                );
            }
            let digest = self.ready.chunks.digest(number, &self.ready.fingerprint);
            let is_kept = |chunk: &&ChunkRecord| {
                chunk.number == number as u64 && chunk.digest == digest && (self.keeps_failures || chunk.rejected == 0)
            };
            let before = known.iter().find(is_kept);
            let chunk = match before {
                Some(chunk) if self.sink.holds(&Path::from(chunk.file.as_str()), &chunk.sha256).await => {
                    kept += 1;
                    chunk.clone()
                }
                before => {
                    if before.is_some() {
                        self.tell_of_damage(number as u64)?;
                    }
                    self.stage_with_retries(number, digest).await.map_err(|error| error.during(format!("chunk {number}")))?
                }
            };
            chunks.push(chunk);
            self.guard(&chunks)?;
            let rows = chunks.iter().filter_map(|chunk| chunk.rows_in).sum();
            (self.observe)(Step { chunks: chunks.len() as u64, of: self.ready.chunks.len() as u64, rows });
        }
        Ok((chunks, kept))
    }

    /// Stops a run that is going wrong.
    fn guard(&self, chunks: &[ChunkRecord]) -> Result<()> {
        let limits = &self.job.file.limits;
        let rows: u64 = chunks.iter().map(|chunk| chunk.rows_out).sum();
        let rejected: u64 = chunks.iter().map(|chunk| chunk.rejected).sum();
        if let Some(most) = limits.rows.filter(|most| rows > *most) {
            return Err(JobError::new(format!("{rows} rows are more than {most}")).with_hint("limits.rows"));
        }
        let is_last = chunks.len() == self.ready.chunks.len();
        let share = rejected as f64 / rows.max(1) as f64;
        if share > limits.error_share && (rows >= JUDGED_ROWS || is_last) {
            return Err(JobError::new(format!("{rejected} failures in {rows} rows are more than a share of {}", limits.error_share))
                .with_hint(format!("limits.error_share; `sensorium job failures {}` lists them", self.record.run)));
        }
        Ok(())
    }

    async fn stage_with_retries(&self, number: usize, digest: String) -> Result<ChunkRecord> {
        let attempts = AtomicU64::new(0);
        let work = || async {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            self.stage_one(number, &digest, attempt).await
        };
        let tell = |error: &JobError, delay: Duration| {
            // The error itself ends the run if it stays.
            let _ = self.ledger.log(&self.record.run, &format!("chunk {number}: {error}; again in {:.1} s", delay.as_secs_f64()));
        };
        work.retry(delays(self.job)).notify(tell).await
    }

    async fn stage_one(&self, number: usize, digest: &str, attempts: u64) -> Result<ChunkRecord> {
        let start = Instant::now();
        // What an attempt that was given up has left.
        drop(self.ready.session.take_failures());
        let cached_before = cached(&self.ready.session);
        let file = Sink::staged(&self.record.run, number as u64);
        let plan = self.ready.chunk(number)?;
        let staged = stage(self.ready.session.context(), &plan, &self.sink, &file).await?;
        let (failed, more) = self.ready.session.take_failures();
        let chunk = ChunkRecord {
            number: number as u64,
            digest: digest.to_string(),
            file: file.to_string(),
            bytes: staged.written.bytes,
            sha256: staged.written.sha256,
            inputs: self.ready.chunks.inputs(number),
            rows_in: self.ready.chunks.rows(number),
            rows_out: staged.rows,
            rejected: failed.len() as u64 + more,
            attempts,
            seconds: start.elapsed().as_secs_f64(),
            cached: cached(&self.ready.session).saturating_sub(cached_before),
            finished_at: None,
        };
        let failures: Vec<FailureRecord> = failed.into_iter().map(|row| FailureRecord::of(row, number as u64, attempts)).collect();
        self.ledger.commit_chunk(&self.record.run, &chunk, &failures)?;
        Ok(chunk)
    }

    async fn check(&self, chunks: &[ChunkRecord]) -> Result<()> {
        let outcomes = check(self.ledger, self.job, self.record, &self.sink, &self.ready.session, chunks).await?;
        self.ledger.checked(&self.record.run, &outcomes)?;
        match outcomes.iter().find(|check| check.outcome == "fail") {
            Some(failed) => {
                let value = failed.value.map_or_else(|| "nothing".to_string(), |value| format!("{value:.6}"));
                Err(JobError::new(format!("check failed: {} is {value}", failed.what))
                    .with_hint("no output was written; otherwise = \"warn\" would let it pass"))
            }
            None => Ok(()),
        }
    }
}
