//! `EXPORT MODEL ... TO`: a version as a folder that any ONNX Runtime can read the graphs of, and `CREATE MODEL` the whole.

use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::error::Result;
use sensorium_inference::{Error, Kind, write_package};

use super::statement::status;
use crate::engine::Engine;
use crate::errors::to_datafusion;

pub(super) fn export(engine: &Engine, reference: &str, folder: &str) -> Result<RecordBatch> {
    let version = engine.catalog.resolve(reference).map_err(to_datafusion)?;
    if version.manifest.endpoint.is_some() {
        let error = Error::new(Kind::Argument, format!("model {} has no files: it runs at an endpoint", version.pinned()));
        return Err(to_datafusion(error.with_hint("repeat its CREATE MODEL instead")));
    }
    let target = Path::new(folder);
    if target.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let error = Error::new(Kind::Package, format!("the folder is not empty: {folder}"));
        return Err(to_datafusion(error.with_hint("name a new one")));
    }
    let files = engine.catalog.materialise(&version).map_err(to_datafusion)?;
    write_package(&version.manifest, &files, target).map_err(to_datafusion)?;
    status(format!("model {} written to {folder}, sha256 {}", version.pinned(), version.sha256))
}
