//! Frames of Python: batches in memory, streams that are read once, and sources that can be read again by Python's own code.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchReader, StructArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ffi_stream::FFI_ArrowArrayStream;
use datafusion::error::Result;
use futures::stream::BoxStream;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyIterator};
use pyo3_arrow::PyRecordBatch;
use pyo3_arrow::ffi::to_schema_pycapsule;
use pyo3_arrow::input::AnyRecordBatch;
use sensorium_engine::{Frame, ImportedStream, columns_by_name, read_elsewhere};

use crate::errors::{from_python, raise};
use crate::reader::{arrow_error, stream_capsule};

type Rows = Box<dyn RecordBatchReader + Send>;

/// Batches in memory: what a query gave.
#[pyclass(frozen)]
pub(crate) struct Batches {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

#[pymethods]
impl Batches {
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.schema.as_ref())?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(&self, py: Python<'py>, requested_schema: Option<Bound<'py, PyCapsule>>) -> PyResult<Bound<'py, PyCapsule>> {
        let arrays = self.batches.clone().into_iter().map(|batch| Ok(Arc::new(StructArray::from(batch)) as ArrayRef));
        stream_capsule(py, &self.schema, arrays, requested_schema)
    }

    /// Refuses what frames of Polars do not hold.
    fn check_for_polars(&self, py: Python<'_>) -> PyResult<()> {
        let fields = self.schema.fields();
        for (place, field) in fields.iter().enumerate() {
            let name = field.name();
            if fields.iter().take(place).any(|other| other.name() == name) {
                return Err(raise(py, "argument", &format!("two columns are called '{name}'"), "give one another name: AS other_name"));
            }
            if lacks(field.data_type()) {
                let message = format!("column '{name}' is {}, which Polars does not have", field.data_type());
                return Err(raise(py, "argument", &message, "CAST it in the query, or read session.stream(..) with pyarrow"));
            }
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Whether Polars has no such type.
fn lacks(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal256(..) | DataType::Interval(_) | DataType::RunEndEncoded(..) | DataType::Union(..) => true,
        DataType::Timestamp(_, Some(zone)) => zone.starts_with(['+', '-']) && zone.as_ref() != "+00:00",
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
            lacks(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| lacks(field.data_type())),
        _ => false,
    }
}

/// How the package has described a frame.
#[derive(FromPyObject)]
pub(crate) enum Described {
    /// `("memory", object)`: all batches are there.
    #[pyo3(transparent)]
    Pair((String, Py<PyAny>)),
}

/// A frame as the engine reads it.
pub(crate) fn frame(py: Python<'_>, name: &str, described: Described) -> PyResult<Arc<dyn Frame>> {
    let Described::Pair((kind, object)) = described;
    match kind.as_str() {
        "memory" => {
            let rows = reader(name, object.bind(py))?;
            let schema = rows.schema();
            let batches = rows.collect::<Result<Vec<_>, _>>().map_err(|error| crate::errors::to_python(py, &arrow_error(error)))?;
            let batches = sensorium_engine::Batches::try_new(schema, batches);
            Ok(Arc::new(batches.map_err(|error| crate::errors::to_python(py, &error))?))
        }
        "source" => {
            let schema = reader(name, &object.bind(py).call_method0(intern!(py, "empty"))?)?.schema();
            Ok(Arc::new(PythonSource { name: name.to_string(), schema, object: Arc::new(object) }))
        }
        _ => {
            let rows = reader(name, object.bind(py))?;
            Ok(Arc::new(Once { schema: rows.schema(), rows: Mutex::new(Some(rows)) }))
        }
    }
}

/// The rows of an object with `__arrow_c_stream__`, or with `__arrow_c_array__` for a single batch.
#[expect(unsafe_code, reason = "the capsule's content is as its name says, by the PyCapsule interface")]
fn reader(frame: &str, object: &Bound<'_, PyAny>) -> PyResult<Rows> {
    let py = object.py();
    let name = intern!(py, "__arrow_c_stream__");
    if !object.hasattr(name)? {
        let batch = object.extract::<PyRecordBatch>().and_then(|batch| AnyRecordBatch::RecordBatch(batch).into_reader());
        return batch.map_err(|error| raise(py, "argument", &format!("{frame}: {error}"), "a table, not a single column"));
    }
    let capsule = object.call_method0(name)?.cast_into::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a stream, which is moved out of it.
    let stream = unsafe { ImportedStream::try_new(FFI_ArrowArrayStream::from_raw(pointer.as_ptr())) };
    let hint = "it takes a table, which .to_frame() makes of a single column, of types that Arrow has, such as Int64, Decimal or String";
    Ok(Box::new(stream.map_err(|error| raise(py, "argument", &format!("{frame}: {error}"), hint))?))
}

/// A stream, which can be read once: what an object gives the second time may be nothing at all.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<Rows>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Frame for Once {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<usize> {
        None
    }

    fn read(&self, columns: &[usize], _: Option<usize>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let Some(rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            let hint = "make a frame of it first, as pyarrow's .read_all() does";
            let twice = |py: Python<'_>| raise(py, "argument", "a stream can be read once, and the query reads it twice", hint);
            return Err(from_python(Python::attach(twice)));
        };
        let columns = columns.to_vec();
        let schema = Arc::new(self.schema.project(&columns).map_err(arrow_error)?);
        Ok(read_elsewhere(schema, move |sender| {
            for batch in rows {
                let batch = batch.map_err(arrow_error)?.project(&columns).map_err(arrow_error);
                if sender.blocking_send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        }))
    }
}

/// An object of the package's with `empty()`, which gives a frame without rows, and `read(columns, limit)`, an iterator of frames.
struct PythonSource {
    name: String,
    schema: SchemaRef,
    object: Arc<Py<PyAny>>,
}

impl fmt::Debug for PythonSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PythonSource").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Frame for PythonSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<usize> {
        None
    }

    fn read(&self, columns: &[usize], limit: Option<usize>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema = Arc::new(self.schema.project(columns).map_err(arrow_error)?);
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let (object, name) = (Arc::clone(&self.object), self.name.clone());
        Ok(read_elsewhere(Arc::clone(&schema), move |sender| {
            let frames: Py<PyIterator> = Python::attach(|py| {
                let frames = object.bind(py).call_method1(intern!(py, "read"), (names, limit))?;
                PyResult::Ok(frames.try_iter()?.unbind())
            })
            .map_err(from_python)?;
            let next = || {
                Python::attach(|py| {
                    let frame = frames.bind(py).clone().next();
                    frame.map(|frame| reader(&name, &frame?)).transpose()
                })
            };
            while let Some(rows) = next().map_err(from_python)? {
                for batch in rows {
                    let batch = columns_by_name(&batch.map_err(arrow_error)?, &schema);
                    if sender.blocking_send(batch).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }))
    }
}
