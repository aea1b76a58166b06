//! Files as tables.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionContext};
use sensorium_inference::environment_options;
use url::Url;

/// Registers the file, folder or glob `path` as the table `name`; its ending says how it is read.
pub(crate) async fn register_files(context: &SessionContext, name: &str, path: &str) -> Result<()> {
    register_store(context, path)?;
    let ending = path.trim_end_matches(['/', '*']).rsplit_once('.').map_or("", |(_, ending)| ending).to_lowercase();
    match ending.as_str() {
        "csv" => context.register_csv(name, path, CsvReadOptions::new()).await,
        "json" | "jsonl" | "ndjson" => {
            context.register_json(name, path, JsonReadOptions::default().file_extension(&format!(".{ending}"))).await
        }
        "parquet" => context.register_parquet(name, path, ParquetReadOptions::default()).await,
        // A folder: Parquet, as everything that writes folders writes it.
        _ if path.ends_with('/') || std::path::Path::new(path).is_dir() => {
            context.register_parquet(name, path, ParquetReadOptions::default()).await
        }
        _ => plan_err!("cannot tell how to read {path}\n\nhint: .parquet, .csv, .json, .jsonl and folders of Parquet files are tables"),
    }
}

/// Makes the store of a remote path known to the session, with credentials from the environment.
fn register_store(context: &SessionContext, path: &str) -> Result<()> {
    if !path.contains("://") {
        return Ok(());
    }
    let table = ListingTableUrl::parse(path)?;
    let url: &Url = table.as_ref();
    if url.scheme() == "file" {
        return Ok(());
    }
    let (store, _) =
        object_store::parse_url_opts(url, environment_options()).map_err(|error| DataFusionError::ObjectStore(Box::new(error)))?;
    context.register_object_store(table.object_store().as_ref(), Arc::from(store));
    Ok(())
}
