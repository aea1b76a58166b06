//! `sensorium job`: queries that run again and again.

mod arguments;
mod exporting;
mod history;
mod logging;
mod serving;
mod validate;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use chrono::{Days, NaiveDate, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use sensorium_jobs::{Finished, Job, Ledger, RunRequest, Step, due, retry, run, verify};

use arguments::{Backfill, Common, Run};
pub(crate) use arguments::{JobCommand, LedgerFile};

use crate::output::print_text;
use crate::run::{Failure, Result};

/// How far `--if-due` looks back: schedulers may be late. A date that is done is not due again.
const LOOKED_BACK: TimeDelta = TimeDelta::hours(1);
/// Done, with rows that failed.
const REJECTED: u8 = 3;

pub(crate) async fn execute(command: JobCommand) -> Result<ExitCode> {
    match command {
        JobCommand::Validate { job, date, models } => validate::validate(&job, date, models.as_deref()).await,
        JobCommand::Run(options) => run_one(&options).await,
        JobCommand::Backfill(options) => backfill(&options).await,
        JobCommand::Retry { job, run, common } => again(&job, &run, &common).await,
        JobCommand::Verify { job, run, sample, common } => verified(&job, &run, sample, &common).await,
        JobCommand::Export(options) => exporting::exporting(&options),
        JobCommand::Serve(options) => serving::serving(&options).await,
        JobCommand::List { folder, ledger } => history::list(&folder, &ledger.place),
        JobCommand::Status { job, last, ledger } => history::status(job.as_deref(), last, &ledger.place),
        JobCommand::Logs { run, ledger } => history::logs(&run, &ledger.place),
        JobCommand::Report { run, to, ledger } => history::report_of(&run, to.as_deref(), &ledger.place),
        JobCommand::Failures { run, last, ledger } => history::failures(&run, last, &ledger.place),
    }
}

async fn run_one(options: &Run) -> Result<ExitCode> {
    let show = Show::of(&options.common);
    let job = Job::read(&options.job)?;
    let ledger = Ledger::open(&options.common.ledger.place)?;
    let dates = match options.date {
        Some(date) => vec![date],
        None if options.if_due => due(&job, &ledger, Utc::now() - LOOKED_BACK, Utc::now())?,
        None => vec![job.today(Utc::now())?],
    };
    let (mut rejected, mut failed) = (0, None);
    for date in dates {
        let request = RunRequest { job: &job, date, force: options.force, models: options.common.models.as_deref(), stop: None };
        match run_watched(&ledger, &request, show).await {
            Ok(done) => rejected += done.rejected,
            // It is looked at again in a minute.
            Err(error) if error.is_busy() && options.if_due => {}
            // The other dates do not wait for this one.
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or_else(|| Ok(exit_code(rejected)), |error| Err(error.into()))
}

async fn backfill(options: &Backfill) -> Result<ExitCode> {
    let show = Show::of(&options.common);
    let job = Job::read(&options.job)?;
    let ledger = Ledger::open(&options.common.ledger.place)?;
    if options.from > options.to {
        return Err(Failure(format!("--from {} is after --to {}", options.from, options.to)));
    }
    let (mut date, mut rejected) = (options.from, 0);
    loop {
        let request = RunRequest { job: &job, date, force: options.force, models: options.common.models.as_deref(), stop: None };
        rejected += run_watched(&ledger, &request, show).await?.rejected;
        match date.checked_add_days(Days::new(1)) {
            Some(next) if next <= options.to => date = next,
            _ => return Ok(exit_code(rejected)),
        }
    }
}

async fn again(job: &Path, run: &str, common: &Common) -> Result<ExitCode> {
    let done = retry(&known_ledger(&common.ledger.place)?, &Job::read(job)?, run, common.models.as_deref()).await?;
    if !common.quiet {
        eprintln!("{run}: {} rows tried again, {} failures left{}", done.rows, done.rejected, unplaced(done.unplaced));
    }
    Ok(exit_code(done.rejected))
}

fn unplaced(rows: u64) -> String {
    if rows == 0 {
        return String::new();
    }
    format!(
        "\n{rows} rows are not in the output or not in what was made again, as by a filter on what a model says: `sensorium job run --force` makes all anew"
    )
}

async fn verified(job: &Path, run: &str, sample: u64, common: &Common) -> Result<ExitCode> {
    let found = verify(&known_ledger(&common.ledger.place)?, &Job::read(job)?, run, sample, common.models.as_deref()).await?;
    let mut lines = found.changed.clone();
    lines.extend(found.inputs.iter().cloned());
    lines.push(format!("{run}: {} rows made again, {} differ, by {} at most", found.rows, found.different, found.largest));
    lines.extend(found.examples.iter().map(|key| format!("differs: {key}")));
    print_text(&lines.join("\n"))?;
    Ok(if found.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn exit_code(rejected: u64) -> ExitCode {
    if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(REJECTED) }
}

/// How runs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Nothing,
    Lines,
    Events,
}

impl Show {
    fn of(common: &Common) -> Self {
        match (common.quiet, logging::start(common.log, common.quiet)) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Events,
            (false, false) => Self::Lines,
        }
    }
}

/// A run with a bar in a terminal, and a line at its end, or an event for each of its chunks.
async fn run_watched(ledger: &Ledger, request: &RunRequest<'_>, show: Show) -> sensorium_jobs::Result<Finished> {
    let bar = if show == Show::Lines && io::stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} chunks, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("{} {}", request.job.name, request.date));
    let observe = |step: Step| {
        bar.set_length(step.of);
        bar.set_position(step.chunks);
        if show == Show::Events {
            tell_step(&request.job.name, request.date, step);
        }
    };
    let done = run(ledger, request, &observe).await;
    bar.finish_and_clear();
    let done = done?;
    match show {
        Show::Nothing => {}
        Show::Lines => eprintln!("{}", told(&done)),
        Show::Events => tell_done(&done),
    }
    Ok(done)
}

fn tell_step(job: &str, date: NaiveDate, step: Step) {
    tracing::info!(job, %date, chunks = step.chunks, of = step.of, rows = step.rows, "{} of {} chunks", step.chunks, step.of);
}

fn tell_done(done: &Finished) {
    let Finished { run, output, rows, rejected, chunks, kept_chunks, was_done } = done;
    tracing::info!(run, output, rows, rejected, chunks, kept_chunks, was_done, "{}", told(done));
}

pub(super) fn told(done: &Finished) -> String {
    let Finished { run, output, rows, rejected, chunks, kept_chunks, was_done } = done;
    if *was_done {
        return format!("{run} was done already: {rows} rows in {output}\nhint: --force does it again");
    }
    let kept = if *kept_chunks > 0 { format!(", {kept_chunks} of them by an earlier attempt") } else { String::new() };
    let failed = if *rejected > 0 { format!("\n{rejected} failures: sensorium job failures {run}") } else { String::new() };
    format!("{run} done: {rows} rows in {output}, {chunks} chunks{kept}{failed}")
}

/// The ledger, which must be there to be read.
fn known_ledger(place: &str) -> Result<Ledger> {
    Ledger::open_known(place)?
        .ok_or_else(|| Failure(format!("no ledger at {place}\n\nhint: `sensorium job run` makes one; --ledger says where it is")))
}
