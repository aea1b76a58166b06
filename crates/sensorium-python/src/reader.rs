//! Rows as they come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::AbortHandle;

use crate::errors::{broken, raise, to_python};
use crate::frames::Batches;
use crate::session::Watched;
use crate::waiting::{AbortWhenDropped, TICK, runtime};

/// Batches that wait for the reader; the engine stops when there are more.
const WAITING: usize = 2;

/// How often a poll waits before it gives up for the time being.
const TICKS_OF_A_POLL: usize = 3;

/// A stream of batches from the engine, which works ahead by a few batches and ends when this is dropped or closed.
#[pyclass(frozen)]
pub(crate) struct Reader {
    schema: SchemaRef,
    source: Mutex<Option<Source>>,
    /// Reaches the engine also while somebody else has the source.
    stop: AbortHandle,
    is_closed: AtomicBool,
}

/// The engine's end, and what watches over it.
struct Source {
    batches: Receiver<Result<RecordBatch>>,
    watched: Watched,
    task: Option<AbortWhenDropped>,
}

/// What has come of waiting.
enum Next {
    Is(Option<RecordBatch>),
    NotYet,
}

impl Reader {
    pub(crate) fn start(py: Python<'_>, mut stream: SendableRecordBatchStream, watched: Watched) -> PyResult<Self> {
        let schema = stream.schema();
        let (sender, batches) = channel(WAITING);
        let task = runtime(py)?.spawn(async move {
            while let Some(batch) = stream.next().await {
                let is_last = batch.is_err();
                // Nobody reads any more where sending fails.
                if sender.send(batch).await.is_err() || is_last {
                    return;
                }
            }
        });
        let stop = task.abort_handle();
        let source = Source { batches, watched, task: Some(AbortWhenDropped(task)) };
        Ok(Self { schema, source: Mutex::new(Some(source)), stop, is_closed: AtomicBool::new(false) })
    }

    fn take(&self, py: Python<'_>) -> PyResult<Source> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        source.ok_or_else(|| {
            let hint = "run the query again, or make a frame of the rows";
            raise(py, "argument", "this stream has been read, is closed, or is being read elsewhere", hint)
        })
    }
}

impl Source {
    /// The next batch. Other threads of Python run meanwhile, whatever the caller holds: a frame may need them.
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<RecordBatch>> {
        loop {
            if let Next::Is(batch) = self.wait(py)? {
                return Ok(batch);
            }
        }
    }

    /// The same, or nothing yet after a short time.
    fn wait(&mut self, py: Python<'_>) -> PyResult<Next> {
        let handle = runtime(py)?;
        let batches = &mut self.batches;
        match py.detach(|| handle.block_on(async { tokio::time::timeout(TICK, batches.recv()).await })) {
            Ok(Some(batch)) => batch.map(|batch| Next::Is(Some(batch))).map_err(|error| to_python(py, &error)),
            Ok(None) => self.end(py, &handle).map(|()| Next::Is(None)),
            Err(_) => {
                py.check_signals()?;
                self.watched.tick(py)?;
                Ok(Next::NotYet)
            }
        }
    }

    /// Nothing more comes: because that was all?
    fn end(&mut self, py: Python<'_>, handle: &Handle) -> PyResult<()> {
        let Some(mut task) = self.task.take() else { return Ok(()) };
        match handle.block_on(&mut task.0) {
            Ok(()) => Ok(()),
            Err(stopped) if stopped.is_cancelled() => {
                Err(raise(py, "cancelled", "the stream was closed before its end", "run the query again"))
            }
            Err(_) => Err(broken("a thread of the engine has panicked")),
        }
    }
}

#[pymethods]
impl Reader {
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.schema.as_ref())?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(&self, py: Python<'py>, requested_schema: Option<Bound<'py, PyCapsule>>) -> PyResult<Bound<'py, PyCapsule>> {
        let mut source = self.take(py)?;
        let arrays = std::iter::from_fn(move || {
            // At the interpreter's end there is nobody to read any more.
            let next = Python::try_attach(|py| source.next(py).map_err(|error| as_text(py, &error)));
            let array = |batch: RecordBatch| Arc::new(StructArray::from(batch)) as ArrayRef;
            next.unwrap_or(Ok(None)).map(|batch| batch.map(array)).transpose()
        });
        stream_capsule(py, &self.schema, arrays, requested_schema)
    }

    /// The next batch, as something with `__arrow_c_stream__`.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batches>> {
        // Taken out while it waits, so that a second thread gets an error and does not wait for ever.
        let mut source = self.take(py)?;
        let batch = source.next(py)?;
        if !self.is_closed.load(Ordering::Acquire) {
            *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        }
        Ok(batch.map(|batch| Batches { schema: Arc::clone(&self.schema), batches: vec![batch] }))
    }

    /// The next batch, one without rows if none has come for a while, or nothing at the end: for readers that look after signals
    /// by themselves in between.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Batches>> {
        let mut source = self.take(py)?;
        let mut next = source.wait(py)?;
        for _ in 1..TICKS_OF_A_POLL {
            if matches!(next, Next::Is(_)) {
                break;
            }
            next = source.wait(py)?;
        }
        if !self.is_closed.load(Ordering::Acquire) {
            *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        }
        let batches = match next {
            Next::Is(None) => return Ok(None),
            Next::Is(Some(batch)) => vec![batch],
            Next::NotYet => Vec::new(),
        };
        Ok(Some(Batches { schema: Arc::clone(&self.schema), batches }))
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    /// Ends the query, whoever reads from it.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.stop.abort();
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// An error as the C data interface has it. Whatever reads the stream makes an error of its own of that, so that Ctrl-C is told once
/// more.
#[expect(unsafe_code, reason = "pyo3 has no name for it")]
fn as_text(py: Python<'_>, error: &PyErr) -> ArrowError {
    // First, as making the text would hear of the signal.
    let text = error.to_string();
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        // SAFETY: the interpreter runs, and the function only notes that a signal came.
        unsafe { pyo3::ffi::PyErr_SetInterrupt() };
    }
    ArrowError::ComputeError(text)
}

/// A capsule over struct arrays with the columns of `schema`.
pub(crate) fn stream_capsule<'py>(
    py: Python<'py>,
    schema: &Schema,
    arrays: impl Iterator<Item = Result<ArrayRef, ArrowError>> + Send + 'static,
    requested_schema: Option<Bound<'py, PyCapsule>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let field = Field::new_struct("", schema.fields().clone(), false).with_metadata(schema.metadata().clone());
    let arrays = ArrayIterator::new(arrays, field.into());
    Ok(to_stream_pycapsule(py, Box::new(arrays), requested_schema)?)
}

/// A text for what Arrow says.
pub(crate) fn arrow_error(error: ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(error), None)
}
