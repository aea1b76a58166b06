//! Rows as they come.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};
use tokio::sync::mpsc::{Receiver, channel};

use crate::errors::{broken, to_python};
use crate::frames::Batches;
use crate::session::Watched;
use crate::waiting::{AbortWhenDropped, TICK, runtime};

/// Batches that wait for the reader; the engine stops when there are more.
const WAITING: usize = 2;

/// A stream of batches from the engine, which works ahead by a few batches and ends when this is dropped.
#[pyclass(frozen)]
pub(crate) struct Reader {
    schema: SchemaRef,
    source: Mutex<Option<Source>>,
}

/// The engine's end, and what watches over it.
struct Source {
    batches: Receiver<Result<RecordBatch>>,
    watched: Watched,
    task: Option<AbortWhenDropped>,
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
        let source = Source { batches, watched, task: Some(AbortWhenDropped(task)) };
        Ok(Self { schema, source: Mutex::new(Some(source)) })
    }

    fn take(&self) -> PyResult<Source> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.take().ok_or_else(|| pyo3::exceptions::PyValueError::new_err("this stream has been read, or is being read elsewhere"))
    }
}

impl Source {
    /// The next batch. Other threads of Python run meanwhile, whatever the caller holds: a frame may need them.
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<RecordBatch>> {
        let handle = runtime(py)?.handle();
        loop {
            let batches = &mut self.batches;
            let next = py.detach(|| handle.block_on(async { tokio::time::timeout(TICK, batches.recv()).await }));
            match next {
                Ok(Some(batch)) => return batch.map(Some).map_err(|error| to_python(py, &error)),
                Ok(None) => {
                    let is_whole = self.task.take().is_none_or(|mut task| handle.block_on(&mut task.0).is_ok());
                    return if is_whole { Ok(None) } else { Err(broken("a thread of the engine has panicked")) };
                }
                Err(_) => {
                    py.check_signals()?;
                    self.watched.tick(py)?;
                }
            }
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
        let mut source = self.take()?;
        let arrays = std::iter::from_fn(move || {
            // At the interpreter's end there is nobody to read any more.
            let next = Python::try_attach(|py| source.next(py)).unwrap_or(Ok(None));
            let array = |batch: RecordBatch| Arc::new(StructArray::from(batch)) as ArrayRef;
            next.map(|batch| batch.map(array)).map_err(|error| ArrowError::ExternalError(Box::new(error))).transpose()
        });
        stream_capsule(py, &self.schema, arrays, requested_schema)
    }

    /// The next batch, as something with `__arrow_c_stream__`.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batches>> {
        // Taken out while it waits, so that a second thread gets an error and does not wait for ever.
        let mut source = self.take()?;
        let batch = source.next(py)?;
        *self.source.lock().map_err(|_| broken("a stream is poisoned"))? = Some(source);
        Ok(batch.map(|batch| Batches { schema: Arc::clone(&self.schema), batches: vec![batch] }))
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    /// Ends the query; the stream has no more rows.
    fn close(&self) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
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
