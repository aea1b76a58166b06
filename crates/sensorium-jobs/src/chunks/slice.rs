//! A table of files with some of its rows only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Statistics, internal_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::listing::file_scan;
use super::{Chunk, Piece};

/// The rows of some parts, each a partition, in their order.
#[derive(Debug)]
pub(super) struct Slice {
    table: Arc<dyn TableProvider>,
    parts: Vec<Chunk>,
}

impl Slice {
    pub(super) fn of(table: Arc<dyn TableProvider>, parts: Vec<Chunk>) -> Arc<dyn TableProvider> {
        Arc::new(Self { table, parts })
    }
}

#[async_trait]
impl TableProvider for Slice {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // A limit of the whole table is none of its parts.
        let _ = limit;
        let whole = self.table.scan(state, projection, filters, None).await?;
        let Some(config) = file_scan(whole.as_ref()) else {
            // No file is left by the filters.
            return if whole.name() == "EmptyExec" { Ok(whole) } else { internal_err!("a table of files is scanned by {}", whole.name()) };
        };
        let files: HashMap<&object_store::path::Path, &PartitionedFile> =
            config.file_groups.iter().flat_map(|group| group.iter()).map(|file| (&file.object_meta.location, file)).collect();
        // Files that are not there were left out by the filters.
        let piece = |piece: &Piece| files.get(&piece.file).map(|file| rows_of(file, piece));
        let groups = self.parts.iter().map(|part| FileGroup::new(part.pieces.iter().filter_map(piece).collect())).collect();
        let statistics = Statistics::new_unknown(self.table.schema().as_ref());
        let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).with_statistics(statistics).build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// A file of which only the rows of `piece` are read.
fn rows_of(file: &PartitionedFile, piece: &Piece) -> PartitionedFile {
    let number = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let behind = piece.of - piece.first - piece.rows;
    let selection = [RowSelector::skip(number(piece.first)), RowSelector::select(number(piece.rows)), RowSelector::skip(number(behind))];
    let part = PartitionedFile { statistics: None, range: None, ..file.clone() };
    part.with_extension(ParquetRowSelection::new(RowSelection::from(selection.to_vec())))
}
