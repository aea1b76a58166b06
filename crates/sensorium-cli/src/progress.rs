//! The progress bar of long queries: rows of each model, rows a second and where the time goes, on stderr, in a terminal only.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sensorium_engine::{Session, Watch};
use tokio::task::JoinHandle;

const TICK: Duration = Duration::from_millis(200);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    task: Option<JoinHandle<()>>,
    bar: ProgressBar,
}

impl Progress {
    /// Starts to watch `session`, if somebody looks.
    pub(crate) fn start(session: &Session, quiet: bool) -> Self {
        let bar = ProgressBar::hidden();
        if quiet || !io::stderr().is_terminal() {
            return Self { task: None, bar };
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let task = tokio::spawn(show(Watch::start(session), bar.clone()));
        Self { task: Some(task), bar }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}

async fn show(watch: Watch, bar: ProgressBar) {
    loop {
        if let Some(lines) = watch.lines() {
            bar.set_message(lines.join("  "));
            bar.tick();
        }
        tokio::time::sleep(TICK).await;
    }
}
