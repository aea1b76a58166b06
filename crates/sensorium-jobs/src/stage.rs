//! A chunk's rows become a staged file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::file::properties::WriterProperties;
use tokio::task::JoinSet;

use crate::error::{JobError, Result};
use crate::sink::{Sink, Written};

/// What was staged.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) written: Written,
    pub(crate) rows: u64,
}

/// Runs a plan and writes its rows, partition after partition, to a file.
pub(crate) async fn stage(context: &SessionContext, plan: &LogicalPlan, sink: &Sink, path: &Path) -> Result<Staged> {
    let state = context.state();
    let physical = state.create_physical_plan(plan).await?;
    let schema = physical.schema();
    let batches = ordered(physical, context.task_ctx())?;
    write(batches, schema, sink, path).await
}

/// The batches of all partitions, those of the first one first. All run at once; the rows of later ones wait in memory.
fn ordered(plan: Arc<dyn ExecutionPlan>, task: Arc<TaskContext>) -> Result<stream::BoxStream<'static, Result<RecordBatch>>> {
    let partitions = execute_stream_partitioned(plan, task)?;
    let mut waiting = Vec::new();
    // Aborts what still runs when the stream is dropped.
    let mut tasks = JoinSet::new();
    for mut partition in partitions {
        let (send, receive) = tokio::sync::mpsc::unbounded_channel();
        waiting.push(receive);
        tasks.spawn(async move {
            while let Some(batch) = partition.next().await {
                if send.send(batch).is_err() {
                    break;
                }
            }
        });
    }
    let of_one = |receive| {
        stream::unfold(receive, |mut receive: tokio::sync::mpsc::UnboundedReceiver<_>| async move {
            receive.recv().await.map(|batch| (batch, receive))
        })
    };
    let all = stream::iter(waiting).flat_map(of_one).map_err(JobError::from);
    Ok(all.chain(stream::once(async move { drop(tasks) }).filter_map(|()| async { None })).boxed())
}

async fn write(
    mut batches: stream::BoxStream<'static, Result<RecordBatch>>,
    schema: SchemaRef,
    sink: &Sink,
    path: &Path,
) -> Result<Staged> {
    let failed = |error: &dyn std::fmt::Display| JobError::new(format!("{}: {error}", sink.name(path)));
    // One row group, whatever came in how many batches: the files of a run are the same each time.
    let properties = WriterProperties::builder().set_max_row_group_row_count(None).build();
    let mut writer = AsyncArrowWriter::try_new(sink.upload(path), schema, Some(properties))?;
    let mut rows = 0;
    let mut fill = async || -> Result<()> {
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows() as u64;
            writer.write(&batch).await.map_err(|error| failed(&error))?;
        }
        writer.finish().await.map(|_| ()).map_err(|error| failed(&error))
    };
    match fill().await {
        Ok(()) => {
            let written = writer.into_inner().written();
            sink.sync(path)?;
            Ok(Staged { written, rows })
        }
        Err(error) => {
            writer.into_inner().abort().await;
            Err(error)
        }
    }
}
