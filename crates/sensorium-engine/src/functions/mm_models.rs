//! `mm_models()`: the catalog as a table; `SHOW MODELS` prints the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampSecondArray, UInt64Array};
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::Result;
use sensorium_inference::{Catalog, ModelSummary};

use super::TableFunctionEntry;
use crate::engine::Engine;
use crate::errors::to_datafusion;

#[derive(Debug)]
struct ModelTable(Arc<Engine>);

pub(super) fn entry(engine: &Arc<Engine>) -> TableFunctionEntry {
    TableFunctionEntry {
        name: "mm_models",
        syntax: "mm_models()",
        description: "The models of the catalog: name, newest version, number of versions, aliases, task, inputs, sha256, source, created_at (UTC).",
        example: "SELECT name, version, task FROM mm_models()",
        implementation: Some(Arc::new(ModelTable(Arc::clone(engine)))),
    }
}

impl TableFunctionImpl for ModelTable {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        if !args.exprs().is_empty() {
            return plan_err!("mm_models takes no arguments");
        }
        let batch = models_batch(&self.0.catalog)?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}

/// One row per model, by name.
pub(crate) fn models_batch(catalog: &Catalog) -> Result<RecordBatch> {
    let models = catalog.list().map_err(to_datafusion)?;
    let texts = |get: &dyn Fn(&ModelSummary) -> String| -> ArrayRef {
        Arc::new(models.iter().map(|model| Some(get(model))).collect::<StringArray>())
    };
    let numbers =
        |get: &dyn Fn(&ModelSummary) -> u64| -> ArrayRef { Arc::new(models.iter().map(|model| Some(get(model))).collect::<UInt64Array>()) };
    let aliases =
        |model: &ModelSummary| model.aliases.iter().map(|(alias, version)| format!("{alias}={version}")).collect::<Vec<_>>().join(", ");
    let inputs = |model: &ModelSummary| {
        let manifest = &model.newest.manifest;
        manifest.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let created: TimestampSecondArray = models.iter().map(|model| i64::try_from(model.newest.created_unix_s).ok()).collect();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("name", texts(&|model| model.newest.name.clone()), false),
        ("version", numbers(&|model| model.newest.version), false),
        ("versions", numbers(&|model| model.versions as u64), false),
        ("aliases", texts(&aliases), false),
        ("task", texts(&|model| model.newest.manifest.prediction.task().to_string()), false),
        ("inputs", texts(&inputs), false),
        ("sha256", texts(&|model| model.newest.sha256.clone()), false),
        ("source", texts(&|model| model.newest.source.clone()), false),
        ("created_at", Arc::new(created), true),
    ])?)
}
