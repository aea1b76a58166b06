//! What a session is busy with besides queries, for a progress bar.

use std::sync::{Arc, Mutex, PoisonError};

/// Lines of what goes on, one for each thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<Mutex<Vec<(u64, String)>>>);

/// One thing that goes on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    activity: Activity,
    number: u64,
    title: String,
}

impl Activity {
    /// Something begins.
    pub(crate) fn start(&self, title: &str) -> Shown {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = lines.last().map_or(0, |(number, _)| number + 1);
        lines.push((number, title.to_string()));
        Shown { activity: self.clone(), number, title: title.to_string() }
    }

    /// What goes on now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, line)| line.clone()).collect()
    }
}

impl Shown {
    /// Says how far it is.
    pub(crate) fn tell(&self, what: &str, loss: Option<f64>) {
        let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
        let mut lines = self.activity.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = lines.iter_mut().find(|(number, _)| *number == self.number) {
            *line = format!("{}: {what}{loss}", self.title);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.activity.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, _)| *number != self.number);
    }
}
