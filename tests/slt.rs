//! SQL scripts with their expected answers: `slt/*.slt`, one trial a file.
//!
//! `SLT_COMPLETE=1 cargo test --test sensorium slt` writes the answers instead of comparing them.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use libtest_mimic::Trial;
use sensorium_engine::root_message;
use sensorium_jobs::SqlJobs;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner, default_column_validator, default_normalizer, strict_column_validator};
use tempfile::TempDir;

use crate::Outcome;
use crate::support::{Fresh, cached, fresh, root, wait};

/// One trial per script.
pub(crate) fn trials() -> Vec<Trial> {
    let folder = PathBuf::from("tests/slt");
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let scripts = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "slt"));
    let mut trials: Vec<Trial> = scripts
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(format!("slt::{name}"), move || check(path))
        })
        .collect();
    trials.sort_by(|left, right| left.name().cmp(right.name()));
    trials
}

fn check(path: PathBuf) -> Outcome {
    let folder = TempDir::new()?;
    let mut runner = Runner::new(|| async {
        let fresh = fresh();
        let jobs = SqlJobs { folder: folder.path().join("jobs"), ledger: folder.path().join("jobs.sqlite").to_string_lossy().into_owned() };
        jobs.register(&fresh.session);
        Ok(Database { fresh, jobs })
    });
    runner.with_column_validator(strict_column_validator);
    // Where models lie differs from machine to machine.
    runner.set_var("MODELS".into(), cached("models"));
    runner.set_var("SCRATCH".into(), folder.path().to_string_lossy().into_owned());
    runner.set_var("ROOT".into(), root().to_string_lossy().into_owned());
    if std::env::var_os("SLT_COMPLETE").is_some() {
        let done = wait(runner.update_test_file(path, " ", sqllogictest::default_validator, default_normalizer, default_column_validator));
        return done.map_err(|error| error.to_string().into());
    }
    wait(runner.run_file_async(path)).map_err(|error| error.display(false).to_string().into())
}

struct Database {
    fresh: Fresh,
    jobs: SqlJobs,
}

/// The error as scripts see it.
#[derive(Debug)]
struct Shown(String);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Shown {}

impl From<DataFusionError> for Shown {
    fn from(error: DataFusionError) -> Self {
        Self(root_message(&error))
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Shown;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Shown> {
        let session = &self.fresh.session;
        let frame = match self.jobs.execute(session, sql).await.map_err(|error| Shown(error.to_string()))? {
            Some(batch) => session.context().read_batch(batch)?,
            None => session.sql(sql).await?,
        };
        let types: Vec<DefaultColumnType> = frame.schema().fields().iter().map(|field| column_type(field.data_type())).collect();
        let batches = frame.collect().await?;
        if types.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(texts(batch)?);
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        _ if data_type.is_integer() => DefaultColumnType::Integer,
        _ if data_type.is_floating() || data_type.is_decimal() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>, Shown> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>();
    let formatters = formatters.map_err(|error| Shown(error.to_string()))?;
    let text = |formatter: &ArrayFormatter<'_>, row: usize| match formatter.value(row).to_string() {
        empty if empty.is_empty() => "(empty)".to_string(),
        text => text,
    };
    let row = |row: usize| formatters.iter().map(|formatter| text(formatter, row)).collect::<Vec<_>>();
    Ok((0..batch.num_rows()).flat_map(|index| lines(row(index))).collect())
}

/// A row with a plan in it as a row for each line, as scripts hold them.
fn lines(row: Vec<String>) -> Vec<Vec<String>> {
    if row.iter().all(|value| !value.contains('\n')) {
        return vec![row];
    }
    row.join(" ").trim_end().lines().map(|line| vec![line.to_string()]).collect()
}
