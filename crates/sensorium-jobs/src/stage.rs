//! A chunk's rows become a staged file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream_partitioned};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::task::JoinSet;

use crate::error::{JobError, Result};
use crate::sink::{Sink, Written};
use crate::splice::splice;

/// What was staged.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) written: Written,
    pub(crate) rows: u64,
}

/// Runs a plan and writes its rows, partition after partition, to a file.
pub(crate) async fn stage(context: &SessionContext, plan: &LogicalPlan, sink: &Sink, path: &Path) -> Result<Staged> {
    let physical = context.state().create_physical_plan(plan).await?;
    let parts = encode_all(physical, context).await?;
    let rows = parts.iter().map(|part| part.rows).sum();
    let mut files = parts.into_iter().map(|part| part.file);
    let written = splice(sink, path, async || Ok(files.next())).await?;
    Ok(Staged { written, rows })
}

/// A partition's rows as a Parquet file.
struct Part {
    file: Bytes,
    rows: u64,
}

/// All partitions at once, each by a task of its own that ends with this future.
async fn encode_all(plan: Arc<dyn ExecutionPlan>, context: &SessionContext) -> Result<Vec<Part>> {
    let schema = plan.schema();
    let partitions = execute_stream_partitioned(plan, context.task_ctx())?;
    let mut tasks = JoinSet::new();
    for (number, partition) in partitions.into_iter().enumerate() {
        let schema = Arc::clone(&schema);
        tasks.spawn(async move { encode(partition, schema).await.map(|part| (number, part)) });
    }
    let mut parts = Vec::new();
    while let Some(done) = tasks.join_next().await {
        parts.push(done.map_err(|error| JobError::new(format!("a partition ended early: {error}")))??);
    }
    parts.sort_by_key(|(number, _)| *number);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// As DataFusion writes files.
const ZSTD_LEVEL: i32 = 3;

/// How files are written.
pub(crate) fn properties() -> Result<WriterProperties> {
    Ok(WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?)).build())
}

async fn encode(mut batches: SendableRecordBatchStream, schema: SchemaRef) -> Result<Part> {
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties()?))?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    Ok(Part { file: writer.into_inner()?.into(), rows })
}
