//! The session.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use datafusion::error::Result;
use pyo3::prelude::*;
use sensorium_engine::{FrameQuery, Watch};

use crate::errors::{raise, to_python};
use crate::frames::{Described, frame};
use crate::plan::Plan;
use crate::waiting::{self, wait};

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// A session over a folder of models; what it knows is shared by all threads that use it.
#[pyclass(frozen)]
pub(crate) struct Session {
    inner: sensorium_engine::Session,
    bar: Option<Py<PyAny>>,
}

#[pymethods]
impl Session {
    /// `bar` makes an object with `show(lines)` and `close()`.
    #[new]
    fn new(py: Python<'_>, models: &str, settings: Vec<(String, String)>, bar: Option<Py<PyAny>>) -> PyResult<Self> {
        let models = models.to_string();
        let mut watched = Watched::default();
        let inner = wait(py, &mut watched, async move {
            let session = sensorium_engine::Session::open(&models)?;
            session.keep_row_order();
            for (key, value) in settings {
                session.set(&key, &value).await?;
            }
            Ok(session)
        })?;
        Ok(Self { inner, bar })
    }

    #[getter]
    fn models(&self) -> &str {
        self.inner.models()
    }

    /// `SET key = value`.
    fn set(&self, py: Python<'_>, key: String, value: String) -> PyResult<()> {
        let session = self.inner.clone();
        wait(py, &mut Watched::default(), async move { session.set(&key, &value).await })
    }

    /// Registers a file, folder or glob as a table.
    fn register(&self, py: Python<'_>, name: String, path: String) -> PyResult<()> {
        let session = self.inner.clone();
        wait(py, &mut Watched::default(), async move { session.register(&name, &path).await })
    }

    /// Plans one statement over frames; model statements and SET are carried out at once.
    fn statement(&self, py: Python<'_>, sql: String, frames: Vec<(String, Described)>) -> PyResult<Plan> {
        let first = sql.split_whitespace().next().unwrap_or_default();
        if !frames.is_empty() && ["SET", "RESET"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
            return Err(raise(py, "argument", "a setting beside frames would be lost with them", "leave the frames out"));
        }
        let session = self.with_frames(py, frames, false)?;
        self.plan(py, async move { session.frame_statement(&sql).await })
    }

    /// Plans a query over frames; anything but a query is an error. `is_ours` is for SQL that the package has written itself, which is
    /// not in the session's dialect.
    #[pyo3(signature = (sql, frames, is_ours=false))]
    fn query(&self, py: Python<'_>, sql: String, frames: Vec<(String, Described)>, is_ours: bool) -> PyResult<Plan> {
        let session = self.with_frames(py, frames, is_ours)?;
        if is_ours {
            let state = session.context().state_ref();
            state.write().config_mut().options_mut().sql_parser.dialect = Default::default();
        }
        self.plan(py, async move { session.frame_query(&sql).await })
    }

    /// Rows that each loaded model has seen.
    fn model_rows(&self) -> Vec<(String, u64)> {
        self.inner.progress().into_iter().map(|model| (model.model, model.rows)).collect()
    }

    /// The settings, as (name, value, description).
    fn settings(&self) -> Vec<(String, Option<String>, String)> {
        let config = self.inner.context().copied_config();
        let entries = config.options().entries().into_iter().filter(|entry| entry.key.starts_with("mm."));
        entries.map(|entry| (entry.key, entry.value, entry.description.to_string())).collect()
    }
}

impl Session {
    /// The session for a statement over frames; one without any shares the session's settings unless it `is_apart`.
    fn with_frames(&self, py: Python<'_>, frames: Vec<(String, Described)>, is_apart: bool) -> PyResult<sensorium_engine::Session> {
        if frames.is_empty() && !is_apart {
            return Ok(self.inner.clone());
        }
        let named = |(name, described): (String, Described)| {
            let frame = frame(py, &name, described)?;
            Ok((name, frame))
        };
        let frames = frames.into_iter().map(named).collect::<PyResult<Vec<_>>>()?;
        self.inner.with_frames(frames).map_err(|error| to_python(py, &error))
    }

    fn plan(&self, py: Python<'_>, work: impl Future<Output = Result<FrameQuery>> + Send + 'static) -> PyResult<Plan> {
        let progress = self.progress(py);
        let query = wait(py, &mut progress.watch(), work)?;
        Ok(Plan { query, progress })
    }

    fn progress(&self, py: Python<'_>) -> Progress {
        Progress(self.bar.as_ref().map(|bar| (self.inner.clone(), bar.clone_ref(py))))
    }
}

/// What shows how far the queries of a session are, if anything does.
pub(crate) struct Progress(Option<(sensorium_engine::Session, Py<PyAny>)>);

impl Progress {
    /// One query begins.
    pub(crate) fn watch(&self) -> Watched {
        let bar = Python::attach(|py| {
            self.0.as_ref().map(|(session, bar)| Shown {
                watch: Watch::start(session),
                make: bar.clone_ref(py),
                bar: None,
                last: Instant::now(),
            })
        });
        Watched(bar)
    }
}

/// One query, and the bar that shows it once it has taken long enough.
#[derive(Default)]
pub(crate) struct Watched(Option<Shown>);

struct Shown {
    watch: Watch,
    make: Py<PyAny>,
    bar: Option<Py<PyAny>>,
    last: Instant,
}

impl Watched {
    /// Shows what has changed, if the time has come.
    pub(crate) fn tick(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(shown) = &mut self.0 else { return Ok(()) };
        if shown.last.elapsed() < SHOWN_EVERY {
            return Ok(());
        }
        shown.last = Instant::now();
        let Some(lines) = shown.watch.lines() else { return Ok(()) };
        if shown.bar.is_none() {
            shown.bar = Some(shown.make.call0(py)?);
        }
        match &shown.bar {
            Some(bar) => bar.call_method1(py, "show", (lines,)).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(bar) = self.0.as_mut().and_then(|shown| shown.bar.take()) else { return };
        // A bar that cannot be taken away does not undo a query.
        Python::try_attach(|py| drop(bar.call_method0(py, "close")));
    }
}

/// Ends what still runs, before the interpreter does.
#[pyfunction]
pub(crate) fn shut_down(py: Python<'_>) {
    waiting::shut_down(py);
}

/// Where ONNX Runtime's library is looked for first.
#[pyfunction]
pub(crate) fn prefer_library(path: PathBuf) {
    sensorium_inference::prefer_library(path);
}
