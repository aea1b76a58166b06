//! What a frame is to the engine: a schema, and rows that can be read in order as often as a plan asks.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc::Sender;

/// Rows of a batch that memory is cut into: enough that a result, which is cut likewise, has few pieces, and few enough that an
/// operator does not hold much more than it needs.
const BATCH_ROWS: usize = 65_536;

/// A table that belongs to the program around the engine.
pub trait Frame: Debug + Send + Sync {
    /// Its columns.
    fn schema(&self) -> SchemaRef;

    /// How many rows it has, where that is known without reading them.
    fn rows(&self) -> Option<usize>;

    /// Reads its rows from the first on: the columns with the indices `columns` in their order, at least the first `limit` rows.
    ///
    /// # Errors
    /// Where it cannot be read, or not once more.
    fn read(&self, columns: &[usize], limit: Option<usize>) -> Result<BoxStream<'static, Result<RecordBatch>>>;
}

/// Batches of a frame that wait for the engine.
const WAITING: usize = 2;

/// Rows that `work` sends from a thread where nothing else waits; it ends when sending fails. A panic there is an error of the stream.
pub fn read_elsewhere(
    schema: SchemaRef,
    work: impl FnOnce(Sender<Result<RecordBatch>>) -> Result<()> + Send + 'static,
) -> BoxStream<'static, Result<RecordBatch>> {
    let mut rows = RecordBatchReceiverStreamBuilder::new(schema, WAITING);
    let sender = rows.tx();
    rows.spawn_blocking(move || work(sender));
    rows.build().boxed()
}

/// Batches in memory, which are shared and not copied.
#[derive(Debug)]
pub struct Batches {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Batches {
    /// Takes `batches`, whose columns are those of `schema`.
    ///
    /// # Errors
    /// Where a batch has other columns.
    pub fn try_new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        let same = |schema: &Schema, other: &Schema| {
            let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
            types(schema) == types(other)
        };
        match batches.iter().position(|batch| !same(&schema, &batch.schema())) {
            Some(index) => plan_err!("chunk {index} of the frame has other types than the first"),
            None => Ok(Self { schema, batches }),
        }
    }
}

impl Frame for Batches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn rows(&self) -> Option<usize> {
        Some(self.batches.iter().map(RecordBatch::num_rows).sum())
    }

    fn read(&self, columns: &[usize], _: Option<usize>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        // Columns of one length with names of their own: a projection cannot fail where the batches fit the schema.
        let projected = self.batches.iter().map(|batch| batch.project(columns)).collect::<Result<Vec<_>, _>>()?;
        let slices = projected.into_iter().flat_map(|batch| {
            let starts = (0..batch.num_rows()).step_by(BATCH_ROWS);
            starts.map(move |start| Ok(batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start))))
        });
        Ok(stream::iter(slices).boxed())
    }
}
