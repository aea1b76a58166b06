//! Queries that run again and again: a job file beside a SQL file, chunks that are committed one by one, output that appears at once, and a
//! ledger of what was done.

mod calendar;
mod checks;
mod chunks;
mod commit;
mod delta;
mod due;
mod error;
mod export;
mod job_file;
mod ledger;
mod metrics;
mod pages;
mod parameters;
mod report;
mod retry;
mod run;
mod schedule;
mod serve;
mod setting_up;
mod sharing;
mod sink;
mod splice;
mod sql;
mod stage;
mod verify;
mod watch;
mod web;
mod webhook;

pub use chunks::{Chunk, ChunkPlan};
pub use due::due;
pub use error::{JobError, Result};
pub use export::{Start, Target, export};
pub use job_file::{Check, Format, Job, JobFile, Limits, Notice, OnError, Otherwise, Retries, Sink, Webhook};
pub use ledger::{CheckOutcome, ChunkRecord, FailureRecord, Ledger, ModelRecord, Outcome, RunRecord, RunState};
pub use parameters::Parameters;
pub use report::report;
pub use retry::{Retried, retry};
pub use run::{Finished, RunRequest, Step, run};
pub use schedule::{CatchUp, Schedule};
pub use serve::{Event, job_files, serve};
pub use setting_up::{Ready, set_up};
pub use sql::{MM_RUNS, SqlJobs};
pub use verify::{Verified, verify};
pub use watch::Watched;
pub use web::listen;
