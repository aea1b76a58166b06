//! `sensorium job serve`: the scheduler, a line for each thing that happens.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{SecondsFormat, Utc};
use sensorium_jobs::{Event, Ledger, serve};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::Serve;
use super::told;
use crate::run::{Result, failed};

pub(super) async fn serving(options: &Serve) -> Result<ExitCode> {
    let ledger = Ledger::open(&options.common.ledger.place)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut terminate, flag) = (signal(SignalKind::terminate()).map_err(|error| failed("signals")(&error))?, Arc::clone(&stop));
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        flag.store(true, Ordering::Relaxed);
        say("stops behind the chunk that is worked on");
    });
    say(&format!("jobs of {}", options.folder.display()));
    serve(&options.folder, &ledger, options.common.models.as_deref(), &stop, &|event| tell(&event)).await?;
    Ok(ExitCode::SUCCESS)
}

fn tell(event: &Event<'_>) {
    match event {
        Event::Step { job, date, step } => say(&format!("{job} for {date}: {} of {} chunks", step.chunks, step.of)),
        Event::Refused { file, error } => say(&format!("{} is left out: {error}", file.display())),
        Event::Done(done) => say(&told(done)),
        Event::Failed { job, error } => say(&format!("{job} failed: {error}")),
    }
}

fn say(line: &str) {
    eprintln!("{} {line}", Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true));
}
