//! The files of a table and their row groups, in the order of their names.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::DataFusionError;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::TableScan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::error::Result;

/// Footers that are read at once.
const AT_ONCE: usize = 16;

/// Bytes that are fetched from the end of a file at first: most footers fit in.
const FOOTER_BYTES: usize = 64 << 10;

/// Where a footer is read from.
struct Footer {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl MetadataFetch for Footer {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        Box::pin(async move { self.store.get_range(&self.path, range).await.map_err(|error| ParquetError::External(Box::new(error))) })
    }
}

/// A file and the rows of its row groups.
#[derive(Debug, Clone)]
pub(super) struct FileRows {
    pub(super) path: Path,
    /// What tells its content from an earlier one.
    pub(super) version: String,
    pub(super) groups: Vec<u64>,
}

/// The scan of files that a plan is, if it is one.
pub(super) fn file_scan(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// What tells a file's content from an earlier one.
fn version(file: &ObjectMeta) -> String {
    file.e_tag.clone().unwrap_or_else(|| format!("{} {}", file.size, file.last_modified.to_rfc3339()))
}

/// The files of a table and their versions; none of one that does not lie in files.
pub(super) async fn versions_of(context: &SessionContext, scan: &TableScan) -> Result<Vec<(String, String)>> {
    let plan = source_as_provider(&scan.source)?.scan(&context.state(), None, &[], None).await?;
    let Some(config) = file_scan(plan.as_ref()) else { return Ok(Vec::new()) };
    let files = config.file_groups.iter().flat_map(|group| group.iter());
    Ok(files.map(|file| (file.object_meta.location.to_string(), version(&file.object_meta))).collect())
}

/// The files of a table; why they cannot be parted where that is so.
pub(super) async fn files_of(context: &SessionContext, scan: &TableScan) -> Result<Result<Vec<FileRows>, String>> {
    let provider = source_as_provider(&scan.source)?;
    let state = context.state();
    let plan = provider.scan(&state, None, &[], None).await?;
    let Some(config) = file_scan(plan.as_ref()) else {
        let is_empty = plan.name() == "EmptyExec";
        return Ok(if is_empty { Ok(Vec::new()) } else { Err(format!("table '{}', which does not lie in files", scan.table_name)) });
    };
    if config.file_source().file_type() != "parquet" {
        return Ok(Err(format!("table '{}', whose files are not Parquet", scan.table_name)));
    }
    let store = state.runtime_env().object_store(&config.object_store_url)?;
    let mut files: Vec<_> = config.file_groups.iter().flat_map(|group| group.iter()).map(|file| file.object_meta.clone()).collect();
    files.sort_by(|a, b| a.location.cmp(&b.location));
    let rows = stream::iter(files).map(|file| {
        let store = Arc::clone(&store);
        async move {
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            let source = Footer { store, path: file.location.clone() };
            let footer = reader.load_and_finish(source, file.size).await;
            let footer = footer.map_err(|error| DataFusionError::Execution(format!("{}: {error}", file.location)))?;
            let groups = footer.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or_default()).collect();
            Ok::<_, DataFusionError>(FileRows { version: version(&file), path: file.location, groups })
        }
    });
    Ok(Ok(rows.buffered(AT_ONCE).try_collect().await?))
}
