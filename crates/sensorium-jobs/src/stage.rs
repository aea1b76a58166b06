//! A chunk's rows become a staged file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream, execute_stream, execute_stream_partitioned,
};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use object_store::path::Path;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter, AsyncArrowWriter};
use parquet::basic::{Compression, LogicalType, Type, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescriptor, ColumnPath};
use sensorium_engine::RECEIPT;
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

/// Runs a plan and writes its rows, partition after partition, to a file. What a loss of power takes of it is missed by its digest, and
/// made again.
pub(crate) async fn stage(context: &SessionContext, plan: &LogicalPlan, sink: &Sink, path: &Path) -> Result<Staged> {
    let physical = context.state().create_physical_plan(plan).await?;
    if physical.output_partitioning().partition_count() == 1 {
        return pass_on(physical, context, sink, path).await;
    }
    let parts = encode_all(physical, context).await?;
    let rows = parts.iter().map(|part| part.rows).sum();
    let mut files = parts.into_iter().map(|part| part.file);
    let written = splice(sink, path, async || Ok(files.next())).await?;
    Ok(Staged { written, rows })
}

/// Writes the rows of the only partition as they come: those of a query that runs as a whole may be many.
async fn pass_on(plan: Arc<dyn ExecutionPlan>, context: &SessionContext, sink: &Sink, path: &Path) -> Result<Staged> {
    let schema = plan.schema();
    let mut batches = execute_stream(plan, context.task_ctx())?;
    let mut writer = AsyncArrowWriter::try_new(sink.upload(path), Arc::clone(&schema), Some(properties(&schema)?))?;
    let mut rows = 0;
    let done = async {
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            writer.write(&batch).await.map_err(|error| JobError::from(error).during(sink.name(path)))?;
        }
        Ok::<(), JobError>(())
    };
    if let Err(error) = done.await {
        writer.into_inner().abort().await;
        return Err(error);
    }
    // What fails here cannot be aborted any more.
    writer.finish().await.map_err(|error| JobError::from(error).during(sink.name(path)))?;
    Ok(Staged { written: writer.into_inner().written().await?, rows })
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

/// How files with these columns are written. Digests and the numbers of vectors are all different, and hardly get smaller: looking for
/// equal ones and for their extremes would cost more than all else.
pub(crate) fn properties(schema: &Schema) -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?));
    for field in schema.fields().iter().filter(|field| is_receipt(field)) {
        let digest = ColumnPath::new(vec![field.name().clone(), DIGEST.to_string()]);
        properties = properties
            .set_column_dictionary_enabled(digest.clone(), false)
            .set_column_statistics_enabled(digest.clone(), EnabledStatistics::None)
            .set_column_compression(digest, Compression::UNCOMPRESSED);
    }
    for column in ArrowSchemaConverter::new().convert(schema)?.columns().iter().filter(|column| is_of_vectors(column)) {
        properties = properties
            .set_column_dictionary_enabled(column.path().clone(), false)
            .set_column_statistics_enabled(column.path().clone(), EnabledStatistics::None)
            .set_column_compression(column.path().clone(), Compression::SNAPPY);
    }
    Ok(properties.build())
}

/// Whether a column has the real numbers of lists.
fn is_of_vectors(column: &ColumnDescriptor) -> bool {
    let is_real =
        matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE) || matches!(column.logical_type_ref(), Some(LogicalType::Float16));
    is_real && column.max_rep_level() > 0
}

/// Field of a receipt that tells its row's inputs.
pub(crate) const DIGEST: &str = "input_digest";

/// Whether a column of the output has receipts.
pub(crate) fn is_receipt(field: &Field) -> bool {
    let has_digest = matches!(field.data_type(), DataType::Struct(fields) if fields.find(DIGEST).is_some());
    field.name().starts_with(RECEIPT) && has_digest
}

async fn encode(mut batches: SendableRecordBatchStream, schema: SchemaRef) -> Result<Part> {
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties(&schema)?))?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    Ok(Part { file: writer.into_inner()?.into(), rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_vectors_are_written_as_they_are_and_others_are_not() {
        let item = || Arc::new(Field::new_list_field(DataType::Float32, true));
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("score", DataType::Float32, true),
            Field::new("vector", DataType::FixedSizeList(item(), 3), true),
            Field::new("of", DataType::Struct(vec![Field::new("parts", DataType::List(item()), true)].into()), true),
        ]);
        let properties = properties(&schema).expect("properties");
        let columns = ArrowSchemaConverter::new().convert(&schema).expect("columns");
        let plain: Vec<String> = columns
            .columns()
            .iter()
            .map(|column| column.path())
            .filter(|path| !properties.dictionary_enabled(path) && properties.compression(path) == Compression::SNAPPY)
            .map(ColumnPath::string)
            .collect();
        assert_eq!(plain, ["vector.list.item", "of.parts.list.item"]);
    }
}
