//! `sensorium job serve`: the scheduler, with its pages, and a line or an event for each thing that happens.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{SecondsFormat, Utc};
use sensorium_jobs::{Event, Ledger, listen, serve};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::Serve;
use super::{Show, tell_done, tell_step, told};
use crate::run::{Result, failed};

/// Where pages are, unless something else is there or said.
const PORT: u16 = 8643;

pub(super) async fn serving(options: &Serve) -> Result<ExitCode> {
    let show = Show::of(&options.common);
    let ledger = Arc::new(Ledger::open(&options.common.ledger.place)?);
    let stop = Arc::new(AtomicBool::new(false));
    let (mut terminate, flag) = (signal(SignalKind::terminate()).map_err(|error| failed("signals")(&error))?, Arc::clone(&stop));
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        flag.store(true, Ordering::Relaxed);
        say(show, "stops behind the chunk that is worked on");
    });
    say(show, &format!("jobs of {}", options.folder.display()));
    let address = options.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    match listen(options.folder.clone(), Arc::clone(&ledger), address).await {
        Ok(address) => say(show, &format!("pages at http://{address}, figures at http://{address}/metrics")),
        Err(error) if options.listen.is_some() => return Err(error.into()),
        Err(error) => say(show, &format!("no pages: {error}")),
    }
    serve(&options.folder, &ledger, options.common.models.as_deref(), &stop, &|event| tell(show, &event)).await?;
    Ok(ExitCode::SUCCESS)
}

fn tell(show: Show, event: &Event<'_>) {
    match (event, show) {
        (Event::Step { job, date, step }, Show::Events) => tell_step(job, *date, *step),
        (Event::Done(done), Show::Events) => tell_done(done),
        (Event::Step { job, date, step }, _) => say(show, &format!("{job} for {date}: {} of {} chunks", step.chunks, step.of)),
        (Event::Refused { file, error }, _) => say(show, &format!("{} is left out: {error}", file.display())),
        (Event::Done(done), _) => say(show, &told(done)),
        (Event::Failed { job, error }, Show::Events) => tracing::error!(job, "{job} failed: {error}"),
        (Event::Failed { job, error }, _) => say(show, &format!("{job} failed: {error}")),
    }
}

fn say(show: Show, line: &str) {
    match show {
        Show::Nothing => {}
        Show::Events => tracing::info!("{line}"),
        Show::Lines => eprintln!("{} {line}", Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)),
    }
}
