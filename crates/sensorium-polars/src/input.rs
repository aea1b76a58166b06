//! Frames that a statement reads.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use futures::stream::BoxStream;
use polars::prelude::{DataFrame, DslPlan, Engine, FileScanDsl, IdxSize, LazyFrame, PlanCallback, by_name};
use sensorium_engine::{Batches, Frame, columns_by_name, read_elsewhere};
use tokio::sync::mpsc::Sender;

use crate::columns::{from_polars, schema_of, to_batches};

/// Rows that a lazy frame is asked for at once.
const BATCH_ROWS: NonZeroUsize = NonZeroUsize::new(65_536).expect("more than none");

/// A frame: rows that are there, or a query of Polars that gives them batch by batch.
#[derive(Clone)]
pub enum Input {
    /// In memory.
    Frame(DataFrame),
    /// Read when the engine needs it, and only the columns and first rows that it needs.
    Lazy(Box<LazyFrame>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame) => write!(f, "Frame({} rows)", frame.height()),
            Self::Lazy(_) => f.write_str("Lazy"),
        }
    }
}

impl From<DataFrame> for Input {
    fn from(frame: DataFrame) -> Self {
        Self::Frame(frame)
    }
}

impl From<&DataFrame> for Input {
    fn from(frame: &DataFrame) -> Self {
        // Columns are shared.
        Self::Frame(frame.clone())
    }
}

impl From<LazyFrame> for Input {
    fn from(frame: LazyFrame) -> Self {
        Self::Lazy(Box::new(frame))
    }
}

impl Input {
    /// As the engine reads it.
    pub(crate) fn into_frame(self) -> Result<Arc<dyn Frame>> {
        match self {
            Self::Frame(frame) => {
                let (schema, batches) = to_batches(&frame)?;
                Ok(Arc::new(Batches::try_new(schema, batches)?))
            }
            Self::Lazy(mut frame) => {
                let empty = DataFrame::empty_with_schema(frame.collect_schema().map_err(from_polars)?.as_ref());
                Ok(Arc::new(LazyRows { schema: schema_of(&empty)?, frame: *frame }))
            }
        }
    }
}

/// A lazy frame.
struct LazyRows {
    schema: SchemaRef,
    frame: LazyFrame,
}

impl fmt::Debug for LazyRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyRows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Frame for LazyRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<usize> {
        None
    }

    fn read(&self, columns: &[usize], limit: Option<usize>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let schema: SchemaRef = Arc::new(self.schema.project(columns)?);
        let mut frame = self.frame.clone();
        // Without columns the rows still count.
        let names = if columns.is_empty() { self.schema.fields() } else { schema.fields() };
        let names: Vec<String> = names.iter().map(|field| field.name().clone()).take(columns.len().max(1)).collect();
        if !names.is_empty() {
            frame = frame.select([by_name(names, true, false).as_expr()]);
        }
        if let Some(limit) = limit {
            frame = frame.limit(IdxSize::try_from(limit).unwrap_or(IdxSize::MAX));
        }
        Ok(read_elsewhere(Arc::clone(&schema), move |sender| collect(frame, schema, sender)))
    }
}

/// Runs the query until nobody reads any more.
fn collect(frame: LazyFrame, schema: SchemaRef, sender: Sender<Result<RecordBatch>>) -> Result<()> {
    // The streaming engine does not know them, and panics.
    let is_anonymous =
        |node: &DslPlan| matches!(node, DslPlan::Scan { scan_type, .. } if matches!(**scan_type, FileScanDsl::Anonymous { .. }));
    let engine = if frame.logical_plan.into_iter().any(is_anonymous) { Engine::InMemory } else { Engine::Streaming };
    let give = move |frame: DataFrame| {
        let batches = to_batches(&frame).and_then(|(_, batches)| batches.iter().map(|batch| columns_by_name(batch, &schema)).collect());
        let batches: Vec<Result<RecordBatch>> = match batches {
            Ok(batches) => Vec::into_iter(batches).map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        // Polars stops at `true`.
        Ok(batches.into_iter().any(|batch| sender.blocking_send(batch).is_err()))
    };
    let sink = frame.sink_batches(PlanCallback::new(give), true, Some(BATCH_ROWS)).map_err(from_polars)?;
    sink.collect_with_engine(engine).map(drop).map_err(from_polars)
}
