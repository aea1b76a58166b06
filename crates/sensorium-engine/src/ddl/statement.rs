//! The statements and what each does.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use datafusion::common::internal_err;
use datafusion::error::Result;
use sensorium_inference::{CreateMode, Error, Kind, Limits};

use super::create::create;
use super::describe::describe;
use super::export::export;
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::functions::models_batch;
use crate::grammar::Options;

/// A model that is to be fitted to the rows of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Training {
    pub(crate) name: String,
    pub(crate) mode: CreateMode,
    pub(crate) options: Options,
    pub(crate) query: String,
}

/// A model that is to be judged by the rows of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evaluation {
    pub(crate) reference: String,
    /// Where the report is written.
    pub(crate) folder: Option<String>,
    pub(crate) options: Options,
    pub(crate) query: String,
}

/// A statement about models.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement {
    /// With the text of the query behind `AS`, and its rows once it was run.
    Create {
        name: String,
        mode: CreateMode,
        source: String,
        options: Options,
        query: Option<String>,
        rows: Option<RecordBatch>,
    },
    /// A model that is fitted to the rows of a query.
    Train(Training),
    /// A model that is judged by the rows of a query.
    Evaluate(Evaluation),
    Drop {
        name: String,
        if_exists: bool,
    },
    Show,
    Describe {
        reference: String,
    },
    Export {
        reference: String,
        folder: String,
    },
    SetAlias {
        name: String,
        alias: String,
        version: u64,
    },
}

/// Carries the statement out; blocks while the catalog's store answers.
pub(crate) fn execute(engine: &Engine, limits: &Limits, statement: Statement) -> Result<RecordBatch> {
    match statement {
        Statement::Create { name, mode, source, options, rows, .. } => create(engine, limits, &name, mode, &source, options, rows),
        Statement::Train(_) | Statement::Evaluate(_) => internal_err!("what runs queries is carried out by the session"),
        Statement::Show => models_batch(&engine.catalog),
        Statement::Describe { reference } => describe(engine, &reference),
        Statement::Export { reference, folder } => export(engine, &reference, &folder),
        Statement::Drop { name, if_exists } => {
            let dropped = engine.catalog.drop_model(&name).map_err(to_datafusion)?;
            if !dropped && !if_exists {
                let models = engine.catalog.list().map_err(to_datafusion)?;
                let names = models.iter().map(|model| model.newest.name.as_str());
                return Err(to_datafusion(
                    Error::new(Kind::Catalog, format!("no such model: '{name}'")).with_nearest(&name, names, "models"),
                ));
            }
            status(if dropped { format!("dropped {name}") } else { format!("no model {name}, nothing dropped") })
        }
        Statement::SetAlias { name, alias, version } => {
            engine.catalog.set_alias(&name, &alias, version).map_err(to_datafusion)?;
            status(format!("{name}@{alias} is version {version}"))
        }
    }
}

/// One line of text, as every statement that returns no rows answers.
pub(super) fn status(line: String) -> Result<RecordBatch> {
    status_lines(vec![line])
}

/// Several of them.
pub(crate) fn status_lines(lines: Vec<String>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter([("status", Arc::new(StringArray::from(lines)) as _)])?)
}
