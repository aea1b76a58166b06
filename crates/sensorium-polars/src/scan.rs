//! A query of the engine as a source of a lazy query of Polars.

use std::any::Any;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use datafusion::error::{DataFusionError, Result};
use polars::error::{PolarsError, PolarsResult, polars_err};
use polars::prelude::{AnonymousScan, AnonymousScanArgs, DataFrame, Expr as PolarsExpr, IntoLazy, LazyFrame, ScanArgsAnonymous};
use sensorium_engine::{FrameQuery, root_message};
use tokio::runtime::Runtime;

use crate::columns::{from_batches, from_polars};
use crate::predicate::to_datafusion;

/// Threads for queries that Polars starts, on whatever thread it does so.
static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().thread_name("sensorium-scan").enable_all().build());

/// How long a thread of Polars waits before it looks for other work.
const PAUSE: Duration = Duration::from_millis(1);

/// The plan as a lazy frame.
pub(crate) fn scan(query: FrameQuery) -> Result<LazyFrame> {
    let empty = from_batches(&query.schema(), &[])?;
    let arguments = ScanArgsAnonymous { schema: Some(Arc::clone(empty.schema())), name: "SENSORIUM SCAN", ..Default::default() };
    LazyFrame::anonymous_scan(Arc::new(Scan { query }), arguments).map_err(from_polars)
}

struct Scan {
    query: FrameQuery,
}

impl Scan {
    /// What the engine does of what Polars wants; the predicate as far as it is understood.
    fn pushed_down(&self, wanted: &AnonymousScanArgs, columns: Option<&[String]>) -> Result<FrameQuery> {
        // Polars counts the first rows before it filters.
        let predicate = wanted.predicate.as_ref().filter(|_| wanted.n_rows.is_none());
        let predicate = predicate.and_then(|predicate| to_datafusion(predicate, &wanted.schema));
        self.query.part(columns, predicate, wanted.n_rows)
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
            names.extend(wanted.predicate.iter().flat_map(column_names));
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
            Some(names) => frame.select(names),
            None => Ok(frame),
        }
    }
}

/// Names of the columns in an expression.
fn column_names(expr: &PolarsExpr) -> Vec<String> {
    let name = |node: &PolarsExpr| match node {
        PolarsExpr::Column(name) => Some(name.to_string()),
        _ => None,
    };
    expr.into_iter().filter_map(name).collect()
}

fn to_polars(error: &DataFusionError) -> PolarsError {
    polars_err!(ComputeError: "{}", root_message(error))
}

/// Runs the query on threads of its own. The frames that it reads may need the thread that waits, which works for them meanwhile.
fn run(query: FrameQuery) -> PolarsResult<DataFrame> {
    let runtime = RUNTIME.as_ref().map_err(|error| polars_err!(ComputeError: "threads cannot be started: {error}"))?;
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        let collect = async {
            let (schema, batches) = query.collect().await?;
            from_batches(&schema, &batches)
        };
        // Nobody waits any more where this fails.
        let _ = sender.send(collect.await);
    });
    loop {
        match receiver.recv_timeout(PAUSE) {
            Ok(done) => return done.map_err(|error| to_polars(&error)),
            Err(RecvTimeoutError::Disconnected) => return Err(polars_err!(ComputeError: "a thread of the engine has panicked")),
            Err(RecvTimeoutError::Timeout) => drop(rayon::yield_now()),
        }
    }
}
