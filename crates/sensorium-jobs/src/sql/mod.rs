//! Jobs in SQL: statements about them, and the table function `mm_runs()`.

mod create_job;
mod drop_job;
mod mm_runs;
mod parse;
mod run_job;
mod show_jobs;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use sensorium_engine::Session;

use self::parse::{Statement, parse};
use crate::error::{JobError, Result};
use crate::ledger::Ledger;

pub use self::mm_runs::ENTRY as MM_RUNS;

/// Where the jobs of a session are: a folder of job files, and the ledger of their runs.
#[derive(Debug, Clone)]
pub struct SqlJobs {
    /// The folder; it is made when the first job is.
    pub folder: PathBuf,
    /// File or URL of the ledger.
    pub ledger: String,
}

impl SqlJobs {
    /// Gives a session the table function `mm_runs()`.
    pub fn register(&self, session: &Session) {
        session.context().register_udtf(MM_RUNS.name, Arc::new(mm_runs::Runs(self.clone())));
    }

    /// Carries out a statement about jobs; `None` for any other, which is the session's.
    ///
    /// # Errors
    /// For a statement that is not well formed, a job that makes no sense, and as the ledger and the run of a job do.
    pub async fn execute(&self, session: &Session, sql: &str) -> Result<Option<RecordBatch>> {
        let Some(statement) = parse(sql).map_err(JobError::from)? else { return Ok(None) };
        match statement {
            Statement::Create(job) => create_job::create(self, session, job).await,
            Statement::Drop { name, if_exists } => drop_job::drop_job(self, &name, if_exists),
            Statement::Run { name, date, force } => run_job::run_job(self, session, &name, date.as_deref(), force).await,
            Statement::Show => self.show(),
        }
        .map(Some)
    }

    /// The jobs of the folder, their next time and their last run, as SHOW JOBS lists them.
    ///
    /// # Errors
    /// Where folder or ledger cannot be read.
    pub fn show(&self) -> Result<RecordBatch> {
        show_jobs::show(self)
    }

    fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    /// The ledger, if there is one.
    fn known_ledger(&self) -> Result<Option<Ledger>> {
        Ledger::open_known(&self.ledger)
    }
}

fn no_such_job(name: &str) -> JobError {
    JobError::new(format!("no such job: '{name}'")).with_hint("SHOW JOBS lists them")
}

/// One line that says what was done.
fn status(line: String) -> Result<RecordBatch> {
    table([("status", texts(vec![Some(line)]))])
}

fn texts(values: Vec<Option<String>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn table<'n>(columns: impl IntoIterator<Item = (&'n str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns.into_iter().map(|(name, values)| (name, values, true));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| JobError::new(error.to_string()))
}
