//! A query that is planned, and can be run again and again, as a whole or in part.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{DataFrame, ident};
use pyo3::prelude::*;

use crate::errors::to_python;
use crate::frames::Batches;
use crate::reader::Reader;
use crate::session::Progress;
use crate::waiting::wait;

/// A plan over the frames of its statement, whose models are fixed.
#[pyclass(frozen)]
pub(crate) struct Plan {
    pub(crate) frame: DataFrame,
    pub(crate) progress: Progress,
}

#[pymethods]
impl Plan {
    /// The columns, as batches without rows.
    fn empty(&self) -> Batches {
        Batches { schema: Arc::clone(self.frame.schema().inner()), batches: Vec::new() }
    }

    /// All rows.
    fn collect(&self, py: Python<'_>) -> PyResult<Batches> {
        let (frame, mut watched) = (self.frame.clone(), self.progress.watch());
        wait(py, &mut watched, async move {
            let plan = frame.clone().create_physical_plan().await?;
            // Partitions one after another, so that rows of one source are in its order.
            let schema = plan.schema();
            let parts = datafusion::physical_plan::collect_partitioned(plan, Arc::new(frame.task_ctx())).await?;
            Ok(Batches { schema, batches: parts.into_iter().flatten().filter(|batch| batch.num_rows() > 0).collect() })
        })
    }

    /// Rows as they come: those of which `predicate` holds, a SQL expression over the columns; of these `columns`, all without them;
    /// of these the first `limit`.
    #[pyo3(signature = (columns=None, predicate=None, limit=None))]
    fn read(&self, py: Python<'_>, columns: Option<Vec<String>>, predicate: Option<&str>, limit: Option<usize>) -> PyResult<Reader> {
        let frame = self.part(columns, predicate, limit).map_err(|error| to_python(py, &error))?;
        let mut watched = self.progress.watch();
        let stream = wait(py, &mut watched, async move { frame.execute_stream().await })?;
        Reader::start(py, stream, watched)
    }
}

impl Plan {
    fn part(&self, columns: Option<Vec<String>>, predicate: Option<&str>, limit: Option<usize>) -> Result<DataFrame> {
        let mut frame = self.frame.clone();
        if let Some(predicate) = predicate {
            let predicate = frame.parse_sql_expr(predicate)?;
            frame = frame.filter(predicate)?;
        }
        if let Some(columns) = columns {
            let columns: Vec<Expr> = columns.iter().map(ident).collect();
            frame = frame.select(columns)?;
        }
        match limit {
            Some(limit) => frame.limit(0, Some(limit)),
            None => Ok(frame),
        }
    }
}
