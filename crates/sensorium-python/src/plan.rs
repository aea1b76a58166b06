//! A query that is planned, and can be run again and again, as a whole or in part.

use pyo3::prelude::*;
use sensorium_engine::FrameQuery;

use crate::errors::to_python;
use crate::frames::Batches;
use crate::reader::Reader;
use crate::session::Progress;
use crate::waiting::wait;

/// A plan over the frames of its statement, whose models are fixed.
#[pyclass(frozen)]
pub(crate) struct Plan {
    pub(crate) query: FrameQuery,
    pub(crate) progress: Progress,
}

#[pymethods]
impl Plan {
    /// The columns, as batches without rows.
    fn empty(&self) -> Batches {
        Batches { schema: self.query.schema(), batches: Vec::new() }
    }

    /// Whether it has the same rows each time.
    fn is_repeatable(&self, py: Python<'_>) -> PyResult<bool> {
        self.query.is_repeatable().map_err(|error| to_python(py, &error))
    }

    /// All rows.
    fn collect(&self, py: Python<'_>) -> PyResult<Batches> {
        let (query, mut watched) = (self.query.clone(), self.progress.watch());
        let (schema, batches) = wait(py, &mut watched, query.collect())?;
        Ok(Batches { schema, batches })
    }

    /// Rows as they come: those of which `predicate` holds, a SQL expression over the columns; of these `columns`, all without them;
    /// of these the first `limit`.
    #[pyo3(signature = (columns=None, predicate=None, limit=None))]
    #[expect(clippy::needless_pass_by_value, reason = "arguments of Python are converted")]
    fn read(&self, py: Python<'_>, columns: Option<Vec<String>>, predicate: Option<&str>, limit: Option<usize>) -> PyResult<Reader> {
        let part = || self.query.part(columns.as_deref(), predicate.map(|sql| self.query.expression(sql)).transpose()?, limit);
        let query = part().map_err(|error| to_python(py, &error))?;
        let mut watched = self.progress.watch();
        let stream = wait(py, &mut watched, query.stream())?;
        Reader::start(py, stream, watched)
    }
}
