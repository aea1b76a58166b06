//! What a job says while it runs: a bar and lines in a terminal, a JSON object for each event otherwise.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::arguments::Log;

/// Whether events are for machines; they are written to standard error from here on.
pub(super) fn start(log: Option<Log>, quiet: bool) -> bool {
    let is_json = match log {
        Some(log) => log == Log::Json,
        None => !io::stderr().is_terminal(),
    };
    if is_json && !quiet {
        // Crates that this one stands on have their own events, which are about other things.
        let is_ours = filter_fn(|event: &Metadata<'_>| event.target().starts_with("sensorium"));
        let json = fmt::layer().json().flatten_event(true).with_writer(io::stderr).with_filter(is_ours);
        // A second start in a process changes nothing.
        let _ = tracing_subscriber::registry().with(json).try_init();
    }
    is_json
}
