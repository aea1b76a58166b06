//! `EVALUATE MODEL .. AS SELECT`: how good a model is on the rows of a query, as rows and as a page to read.
//!
//! The questions are SQL (`questions`), so that predictions run through the operator and figures within the limits of the metrics; the
//! answers become a page of `sensorium-report` (`page`).

mod answers;
mod page;
mod questions;
mod request;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SQLOptions;
use sensorium_inference::{Error, Kind, Training};
use sensorium_report::{html, markdown};

use answers::Answers;
use request::{Request, Target};

use crate::ddl::Evaluation;
use crate::errors::to_datafusion;
use crate::session::Session;

/// Judges the model, writes the report, and returns its figures.
pub(crate) async fn evaluate(session: &Session, evaluation: Evaluation) -> Result<RecordBatch> {
    let engine = session.engine();
    let version = engine.resolve(&evaluation.reference)?;
    let training = match &version.manifest.explanation {
        None => None,
        Some(explanation) => {
            let folder = engine.catalog.materialise(&version).map_err(to_datafusion)?;
            Some(Training::read(&folder.join(&explanation.training)).map_err(to_datafusion)?)
        }
    };
    let mut request = Request::read(version, training, evaluation).map_err(to_datafusion)?;
    request.columns = columns(session, &request).await?;
    let failed = |error: &dyn std::fmt::Display| DataFusionError::Execution(format!("cannot write the report: {error}"));
    // Before the work and not only after it.
    fs::create_dir_all(&request.folder).map_err(|error| failed(&format!("{}: {error}", request.folder.display())))?;
    let judged = judge(session, &request).await;
    if judged.is_err() {
        // Goes only if nothing lies in it.
        let _ = fs::remove_dir(&request.folder);
    }
    judged
}

/// The figures, once the report is written.
async fn judge(session: &Session, request: &Request) -> Result<RecordBatch> {
    let engine = session.engine();
    let failed = |error: &dyn std::fmt::Display| DataFusionError::Execution(format!("cannot write the report: {error}"));
    let shown = engine.activity.start(&format!("evaluating {}", request.version.pinned()));
    if request.target != Target::Number {
        shown.tell("labels", None);
        check_labels(request, &Answers(row(session, &questions::unknown_labels(request)).await?))?;
    }
    shown.tell("all rows", None);
    let figures = Answers(row(session, &questions::figures(request)).await?);
    if figures.count("judged") == 0 {
        let error = Error::new(Kind::Argument, "no row has both a label and a prediction");
        return Err(to_datafusion(error.with_hint("look at the query's own rows, and at mm_errors()")));
    }
    let explanations = if request.training.is_some() && request.sample > 0 {
        shown.tell("explaining a sample", None);
        Some(Answers(row(session, &questions::explanations(request, figures.count("rows"))).await?))
    } else {
        None
    };
    let findings = page::Findings { request, figures: &figures, explanations: explanations.as_ref() };
    let report = findings.report();
    let pages = [("report.html", html(&report)), ("report.md", markdown(&report))];
    let pages = pages.into_iter().map(|(name, page)| Ok((request.folder.join(name), page.map_err(|error| failed(&error))?)));
    write(&pages.collect::<Result<Vec<_>>>()?).map_err(|error| failed(&error))?;
    findings.table()
}

/// Writes all pages or none: those of an earlier report stay until all are complete.
fn write(pages: &[(PathBuf, String)]) -> std::io::Result<()> {
    let draft = |path: &Path| path.with_added_extension("draft");
    pages.iter().try_for_each(|(path, page)| fs::write(draft(path), page))?;
    pages.iter().try_for_each(|(path, _)| fs::rename(draft(path), path))
}

/// A label that is none of the model's classes would count as another one.
fn check_labels(request: &Request, unknown: &Answers) -> Result<()> {
    if unknown.count("rows") == 0 {
        return Ok(());
    }
    let classes: Vec<&str> = request.target.classes().into_iter().map(String::as_str).collect();
    let label = unknown.text("label").unwrap_or_default();
    let message = format!("{} rows have a label that is no class of the model, such as '{label}'", unknown.count("rows"));
    let hint = format!("its classes: {}", classes.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", "));
    Err(to_datafusion(Error::new(Kind::Argument, message).with_hint(hint)))
}

/// Classes that a message names.
const MOST_NAMED: usize = 20;

/// The columns of the query, which must only read; those that were named must be there.
async fn columns(session: &Session, request: &Request) -> Result<Vec<String>> {
    let plan = session.logical_plan(&request.query).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    for (what, column) in std::iter::once(("label", &request.label)).chain(request.weight.iter().map(|weight| ("weight", weight))) {
        if let Some(own) = names.iter().find(|name| name.starts_with("__mm_")) {
            return Err(to_datafusion(
                Error::new(Kind::Argument, format!("column '{own}': such names are kept free")).with_hint("AS another_name"),
            ));
        }
        if !names.contains(column) {
            let error = Error::new(Kind::Setting, format!("{what}: no such column: '{column}'"));
            return Err(to_datafusion(error.with_nearest(column, names.iter().map(String::as_str), "columns")));
        }
    }
    Ok(names)
}

/// The one row of a query.
async fn row(session: &Session, sql: &str) -> Result<RecordBatch> {
    let plan = session.logical_plan(sql).await?;
    let frame = session.context().execute_logical_plan(plan).await?;
    let schema = Arc::clone(frame.schema().inner());
    Ok(concat_batches(&schema, &frame.collect().await?)?)
}
