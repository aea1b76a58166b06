//! What is known of runs: one database, in which each step of a run is written down before the next begins.

mod database;
mod migrations;
mod records;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{NaiveDate, SecondsFormat, Utc};

use self::database::{Columns, Database, Statement, Value};
use self::migrations::migrate;
use self::records::{CHUNK_COLUMNS, FAILURE_COLUMNS};
use self::sqlite::Sqlite;
use crate::error::Result;

pub use self::records::{CheckOutcome, ChunkRecord, FailureRecord, ModelRecord, Outcome, RunRecord, RunState};

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    database: Mutex<Box<dyn Database>>,
    path: PathBuf,
}

/// Now, as the ledger writes it.
pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

const RUN_COLUMNS: &str = "run, job, run_date, generation, state, started_at, finished_at, seconds, fingerprint, query, parameters, models, environment, output, output_sha256, output_bytes, chunks, rows_in, rows_out, rejected, error";

impl Ledger {
    /// Opens or makes the ledger in the file `path`, and brings its tables to the newest version.
    ///
    /// # Errors
    /// For a file that cannot be written, is no ledger or is of a newer release.
    pub fn open(path: &Path) -> Result<Self> {
        let mut database: Box<dyn Database> = Box::new(Sqlite::open(path)?);
        migrate(database.as_mut())?;
        Ok(Self { database: Mutex::new(database), path: path.to_path_buf() })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn database(&self) -> MutexGuard<'_, Box<dyn Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows<T>(&self, sql: &str, values: Vec<Value>, read: impl Fn(Columns) -> Result<T>) -> Result<Vec<T>> {
        self.database().rows(&(sql, values))?.into_iter().map(|row| read(Columns::of(row))).collect()
    }

    fn write(&self, statements: &[Statement<'_>]) -> Result<()> {
        self.database().write(statements)
    }

    /// The last runs, the newest first; those of one job, if it is named.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn runs(&self, job: Option<&str>, most: u64) -> Result<Vec<RunRecord>> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE job = $1 OR $1 IS NULL ORDER BY started_at DESC, generation DESC LIMIT $2");
        self.rows(&sql, vec![job.into(), most.into()], RunRecord::read)
    }

    /// The run of that name.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn run(&self, run: &str) -> Result<Option<RunRecord>> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE run = $1");
        Ok(self.rows(&sql, vec![run.into()], RunRecord::read)?.into_iter().next())
    }

    /// The newest run of a date.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn run_of(&self, job: &str, date: NaiveDate) -> Result<Option<RunRecord>> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE job = $1 AND run_date = $2 ORDER BY generation DESC LIMIT 1");
        Ok(self.rows(&sql, vec![job.into(), date.to_string().into()], RunRecord::read)?.into_iter().next())
    }

    /// The newest run of a job whose output is there and whose date is before `date`.
    pub(crate) fn done_before(&self, job: &str, date: NaiveDate) -> Result<Option<RunRecord>> {
        let sql =
            format!("SELECT {RUN_COLUMNS} FROM runs WHERE job = $1 AND run_date < $2 AND state = 'done' ORDER BY run_date DESC LIMIT 1");
        Ok(self.rows(&sql, vec![job.into(), date.to_string().into()], RunRecord::read)?.into_iter().next())
    }

    /// Begins a run, or goes on with it.
    pub(crate) fn begin(&self, run: &RunRecord) -> Result<()> {
        self.write(&[run.insert()?])
    }

    /// The chunks of a run that are staged.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn chunks(&self, run: &str) -> Result<Vec<ChunkRecord>> {
        let sql = format!("SELECT {CHUNK_COLUMNS} FROM chunks WHERE run = $1 ORDER BY number");
        self.rows(&sql, vec![run.into()], ChunkRecord::read)
    }

    /// Writes down that a chunk is staged, in place of what was known of it.
    pub(crate) fn commit_chunk(&self, run: &str, chunk: &ChunkRecord, failures: &[FailureRecord]) -> Result<()> {
        let mut statements = forget(run, chunk.number);
        statements.push(chunk.insert(run, now()));
        statements.extend(failures.iter().map(|failure| failure.insert(run)));
        self.write(&statements)
    }

    /// A chunk whose file is gone.
    pub(crate) fn forget_chunk(&self, run: &str, number: u64) -> Result<()> {
        self.write(&forget(run, number))
    }

    /// The rows of a run that failed.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn failures(&self, run: &str, most: u64) -> Result<Vec<FailureRecord>> {
        let sql = format!("SELECT {FAILURE_COLUMNS} FROM failures WHERE run = $1 ORDER BY chunk, row_key LIMIT $2");
        self.rows(&sql, vec![run.into(), most.into()], FailureRecord::read)
    }

    /// Writes down what checks have found, in place of what was known.
    pub(crate) fn checked(&self, run: &str, checks: &[CheckOutcome]) -> Result<()> {
        let mut statements = vec![("DELETE FROM checks WHERE run = $1", vec![run.into()])];
        statements.extend(checks.iter().enumerate().map(|(number, check)| check.insert(run, number)));
        self.write(&statements)
    }

    /// What checks have found.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn checks(&self, run: &str) -> Result<Vec<CheckOutcome>> {
        self.rows("SELECT what, value, outcome FROM checks WHERE run = $1 ORDER BY number", vec![run.into()], CheckOutcome::read)
    }

    /// The output of a run is there, and takes the place of earlier ones of its date.
    pub(crate) fn finish(&self, run: &RunRecord, outcome: &Outcome) -> Result<()> {
        let values = vec![
            outcome.finished_at.as_str().into(),
            outcome.seconds.into(),
            outcome.output.as_str().into(),
            outcome.output_sha256.as_str().into(),
            outcome.output_bytes.into(),
            outcome.chunks.into(),
            outcome.rows_in.into(),
            outcome.rows_out.into(),
            outcome.rejected.into(),
            run.run.as_str().into(),
        ];
        let replaced = "UPDATE runs SET state = 'replaced' WHERE job = $1 AND run_date = $2 AND generation < $3";
        let done = "UPDATE runs SET state = 'done', error = NULL, finished_at = $1, seconds = $2, output = $3, output_sha256 = $4, output_bytes = $5,
                    chunks = $6, rows_in = $7, rows_out = $8, rejected = $9 WHERE run = $10";
        let beyond = || vec![run.run.as_str().into(), outcome.chunks.into()];
        self.write(&[
            (replaced, vec![run.job.as_str().into(), run.run_date.to_string().into(), run.generation.into()]),
            (done, values),
            // Of an attempt that had other inputs, and so more chunks.
            ("DELETE FROM failures WHERE run = $1 AND chunk >= $2", beyond()),
            ("DELETE FROM chunks WHERE run = $1 AND number >= $2", beyond()),
        ])
    }

    /// Rows of a finished run were tried again; these failures are left.
    pub(crate) fn retried(&self, run: &RunRecord, outcome: &Outcome, left: &[FailureRecord]) -> Result<()> {
        let name = run.run.as_str();
        let figures = vec![outcome.output_sha256.as_str().into(), outcome.output_bytes.into(), outcome.rejected.into(), name.into()];
        let mut statements = vec![
            ("DELETE FROM failures WHERE run = $1", vec![name.into()]),
            ("UPDATE runs SET output_sha256 = $1, output_bytes = $2, rejected = $3 WHERE run = $4", figures),
        ];
        statements.extend(left.iter().map(|failure| failure.insert(name)));
        self.write(&statements)
    }

    /// A run has stopped.
    pub(crate) fn fail(&self, run: &str, error: &str) -> Result<()> {
        self.write(&[("UPDATE runs SET state = 'failed', error = $1 WHERE run = $2 AND state = 'running'", vec![error.into(), run.into()])])
    }

    /// Adds a line to the log of a run.
    pub(crate) fn log(&self, run: &str, line: &str) -> Result<()> {
        self.write(&[("INSERT INTO log (run, at, line) VALUES ($1, $2, $3)", vec![run.into(), now().into(), line.into()])])
    }

    /// Time and text of the log of a run.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn lines(&self, run: &str) -> Result<Vec<(String, String)>> {
        self.rows("SELECT at, line FROM log WHERE run = $1 ORDER BY at", vec![run.into()], |mut columns| {
            Ok((columns.text()?, columns.text()?))
        })
    }
}

fn forget(run: &str, chunk: u64) -> Vec<Statement<'static>> {
    ["DELETE FROM failures WHERE run = $1 AND chunk = $2", "DELETE FROM chunks WHERE run = $1 AND number = $2"]
        .map(|sql| (sql, vec![run.into(), chunk.into()]))
        .to_vec()
}
