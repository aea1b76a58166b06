//! What is known of runs: one database, in which each step of a run is written down before the next begins.

mod database;
mod lock;
mod migrations;
mod postgres;
mod records;
mod sqlite;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{NaiveDate, SecondsFormat, Utc};

use self::database::{Columns, Database, Statement, Value};
use self::lock::JobLock;
use self::migrations::migrate;
use self::postgres::Postgres;
use self::records::{CHUNK_COLUMNS, FAILURE_COLUMNS};
use self::sqlite::Sqlite;
use crate::error::Result;

pub use self::records::{CheckOutcome, ChunkRecord, FailureRecord, ModelRecord, Outcome, RunRecord, RunState};

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    database: Arc<Mutex<Box<dyn Database>>>,
    place: String,
}

/// Whether a ledger lies on a server.
fn is_url(place: &str) -> bool {
    place.starts_with("postgres://") || place.starts_with("postgresql://")
}

/// Now, as the ledger writes it.
pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

const RUN_COLUMNS: &str = "run, job, run_date, generation, state, started_at, finished_at, seconds, fingerprint, query, parameters, models, environment, output, output_sha256, output_bytes, chunks, rows_in, rows_out, rejected, error, cached, figures";

impl Ledger {
    /// Opens or makes the ledger in a file or, by a URL such as `postgres://user@host/database`, on a server, and brings its tables to the
    /// newest version.
    ///
    /// # Errors
    /// For a file that cannot be written, is no ledger or is of a newer release; for a server that cannot be reached.
    pub fn open(place: &str) -> Result<Self> {
        let mut database: Box<dyn Database> =
            if is_url(place) { Box::new(Postgres::open(place)?) } else { Box::new(Sqlite::open(Path::new(place))?) };
        migrate(database.as_mut())?;
        Ok(Self { database: Arc::new(Mutex::new(database)), place: place.to_string() })
    }

    /// The same, if there is one.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_known(place: &str) -> Result<Option<Self>> {
        if is_url(place) || Path::new(place).exists() { Self::open(place).map(Some) } else { Ok(None) }
    }

    /// Takes a job until what is returned is dropped, or the process ends.
    pub(crate) fn lock(&self, job: &str) -> Result<JobLock> {
        if !is_url(&self.place) {
            return JobLock::of_file(&self.place, job);
        }
        // Of the session that writes the ledger: without the one there is not the other.
        JobLock::of_session(&self.database, job)
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
            outcome.cached.into(),
            outcome.figures.clone().into(),
            run.run.as_str().into(),
        ];
        let replaced = "UPDATE runs SET state = 'replaced' WHERE job = $1 AND run_date = $2 AND generation < $3";
        let done = "UPDATE runs SET state = 'done', error = NULL, finished_at = $1, seconds = $2, output = $3, output_sha256 = $4, output_bytes = $5,
                    chunks = $6, rows_in = $7, rows_out = $8, rejected = $9, cached = $10, figures = $11 WHERE run = $12";
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
        let figures = vec![
            outcome.output.as_str().into(),
            outcome.output_sha256.as_str().into(),
            outcome.output_bytes.into(),
            outcome.rejected.into(),
            name.into(),
        ];
        let mut statements = vec![
            ("DELETE FROM failures WHERE run = $1", vec![name.into()]),
            ("UPDATE runs SET output = $1, output_sha256 = $2, output_bytes = $3, rejected = $4 WHERE run = $5", figures),
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
        tracing::info!(run, "{line}");
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

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_ledger_of_the_first_version_is_brought_up_to_date() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.sqlite");
        let old = Connection::open(&path).expect("a file");
        old.execute_batch(&format!(
            "CREATE TABLE ledger_version (version BIGINT PRIMARY KEY); {}; INSERT INTO ledger_version VALUES (1);
             INSERT INTO runs VALUES ('j-1', 'j', '2026-11-25', 1, 'done', 'then', 'later', 1.5, 'f', 'SELECT 1', '[]', '[]', '{{}}',
                                      'out', 'sha', 9, 1, 7, 7, 0, NULL);
             INSERT INTO chunks VALUES ('j-1', 0, 'd', 'f', 9, 'sha', NULL, 7, 7, 0, 1, 1.5, 'later')",
            migrations::FIRST
        ))
        .expect("tables of the first version");
        drop(old);
        let ledger = Ledger::open(&path.to_string_lossy()).expect("a ledger");
        let run = ledger.run("j-1").expect("rows").expect("the run");
        let outcome = run.outcome.expect("an outcome");
        assert_eq!((outcome.rows_out, outcome.cached, outcome.figures), (7, 0, None));
        assert_eq!(ledger.chunks("j-1").expect("rows")[0].cached, 0);
        // Once more, as each command does.
        drop(ledger);
        Ledger::open(&path.to_string_lossy()).expect("a ledger");
    }

    #[test]
    fn a_ledger_of_a_newer_release_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.sqlite").to_string_lossy().into_owned();
        drop(Ledger::open(&path).expect("a ledger"));
        Connection::open(&path).expect("a file").execute("INSERT INTO ledger_version VALUES (99)", []).expect("a row");
        assert!(Ledger::open(&path).expect_err("refused").to_string().contains("its version is 99"));
    }
}
