//! A query of the engine as a source of a lazy query of Polars.

use std::any::Any;
use std::sync::{Arc, LazyLock, mpsc};

use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{DataFrame as Query, Expr, ident};
use polars::error::{PolarsError, PolarsResult, polars_err};
use polars::prelude::{AnonymousScan, AnonymousScanArgs, DataFrame, Expr as PolarsExpr, IntoLazy, LazyFrame, ScanArgsAnonymous, col};
use sensorium_engine::root_message;
use tokio::runtime::Runtime;

use crate::columns::{from_batches, from_polars};
use crate::predicate::to_datafusion;

/// Threads for queries that Polars starts, on whatever thread it does so.
static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().thread_name("sensorium-scan").enable_all().build());

/// The plan as a lazy frame.
pub(crate) fn scan(query: Query) -> Result<LazyFrame> {
    let empty = from_batches(query.schema().inner(), &[])?;
    let arguments = ScanArgsAnonymous { schema: Some(Arc::clone(empty.schema())), name: "SENSORIUM SCAN", ..Default::default() };
    LazyFrame::anonymous_scan(Arc::new(Scan { query }), arguments).map_err(from_polars)
}

struct Scan {
    query: Query,
}

impl Scan {
    /// What the engine does of what Polars wants; the predicate as far as it is understood.
    fn pushed_down(&self, wanted: &AnonymousScanArgs, columns: Option<&[String]>) -> Result<Query> {
        let mut query = self.query.clone();
        // Polars counts the first rows before it filters.
        if let (Some(predicate), None) = (&wanted.predicate, wanted.n_rows)
            && let Some(predicate) = to_datafusion(predicate, &wanted.schema)
        {
            query = query.filter(predicate)?;
        }
        if let Some(columns) = columns {
            query = query.select(columns.iter().map(ident).collect::<Vec<Expr>>())?;
        }
        match wanted.n_rows {
            Some(rows) => query.limit(0, Some(rows)),
            None => Ok(query),
        }
    }
}

impl AnonymousScan for Scan {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn allows_predicate_pushdown(&self) -> bool {
        true
    }

    fn allows_projection_pushdown(&self) -> bool {
        true
    }

    fn scan(&self, wanted: AnonymousScanArgs) -> PolarsResult<DataFrame> {
        let output: Option<Vec<String>> = wanted.with_columns.as_ref().map(|names| names.iter().map(ToString::to_string).collect());
        let needed = output.clone().map(|mut names| {
            let others = wanted.predicate.iter().flat_map(column_names).filter(|name| !names.contains(name)).collect::<Vec<_>>();
            names.extend(others);
            names.sort_by_key(|name| wanted.schema.index_of(name));
            names.dedup();
            names
        });
        let query = self.pushed_down(&wanted, needed.as_deref()).map_err(|error| to_polars(&error))?;
        let frame = run(query)?;
        let frame = match wanted.predicate {
            Some(predicate) => frame.lazy().filter(predicate).collect()?,
            None => frame,
        };
        match output {
            Some(names) => frame.lazy().select(names.iter().map(|name| col(name.as_str())).collect::<Vec<_>>()).collect(),
            None => Ok(frame),
        }
    }
}

/// Names of the columns in an expression.
fn column_names(expr: &PolarsExpr) -> Vec<String> {
    expr.into_iter()
        .filter_map(|node| match node {
            PolarsExpr::Column(name) => Some(name.to_string()),
            _ => None,
        })
        .collect()
}

fn to_polars(error: &DataFusionError) -> PolarsError {
    polars_err!(ComputeError: "{}", root_message(error))
}

/// Runs the query on threads of its own, while this one waits.
fn run(query: Query) -> PolarsResult<DataFrame> {
    let runtime = RUNTIME.as_ref().map_err(|error| polars_err!(ComputeError: "threads cannot be started: {error}"))?;
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        let collect = async {
            let schema = Arc::clone(query.schema().inner());
            from_batches(&schema, &query.collect().await?)
        };
        // Nobody waits any more where this fails.
        let _ = sender.send(collect.await);
    });
    let done = receiver.recv().map_err(|_| polars_err!(ComputeError: "a thread of the engine has panicked"))?;
    done.map_err(|error| to_polars(&error))
}
