//! The progress bar of long queries: rows of each model and rows a second, on stderr, in a terminal only.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sensorium_engine::Session;
use tokio::task::JoinHandle;

/// Queries shorter than this show nothing.
const QUIET_PERIOD: Duration = Duration::from_millis(700);
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
        let task = tokio::spawn(watch(session.clone(), bar.clone()));
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

async fn watch(session: Session, bar: ProgressBar) {
    let start = Instant::now();
    let before = session.progress();
    tokio::time::sleep(QUIET_PERIOD).await;
    loop {
        let seconds = start.elapsed().as_secs_f64();
        let line = |model: &sensorium_inference::ModelProgress| {
            let earlier = before.iter().find(|other| other.model == model.model).map_or(0, |other| other.rows);
            let rows = model.rows - earlier;
            (rows > 0).then(|| format!("{}: {rows} rows, {:.0}/s", model.model, rows as f64 / seconds))
        };
        bar.set_message(session.progress().iter().filter_map(line).collect::<Vec<_>>().join("  "));
        bar.tick();
        tokio::time::sleep(TICK).await;
    }
}
