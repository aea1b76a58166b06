//! One run of a job at a time: a lock that the system, or the server, gives back when the process that holds it ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::database::Database;
use crate::error::{JobError, Result};

/// A job that is taken until this is dropped.
pub(crate) enum JobLock {
    /// By a file beside the ledger.
    #[expect(dead_code, reason = "held until it is dropped")]
    File(File),
    /// By the ledger's session with the server.
    Session { database: Arc<Mutex<Box<dyn Database>>>, name: String },
}

impl Drop for JobLock {
    fn drop(&mut self) {
        if let Self::Session { database, name } = self {
            database.lock().unwrap_or_else(PoisonError::into_inner).unlock(name);
        }
    }
}

fn is_running(job: &str) -> JobError {
    JobError::busy(format!("job {job} is running")).with_hint("`sensorium job status` says how far it is")
}

impl JobLock {
    /// Takes a job of the ledger in a database.
    pub(super) fn of_session(database: &Arc<Mutex<Box<dyn Database>>>, job: &str) -> Result<Self> {
        let name = format!("sensorium/{job}");
        if !database.lock().unwrap_or_else(PoisonError::into_inner).try_lock(&name)? {
            return Err(is_running(job));
        }
        Ok(Self::Session { database: Arc::clone(database), name })
    }

    /// Takes a job of the ledger in the file `ledger`.
    pub(super) fn of_file(ledger: &str, job: &str) -> Result<Self> {
        let folder = format!("{ledger}.locks");
        let path = Path::new(&folder).join(job);
        let failed = |error: &std::io::Error| JobError::new(format!("lock {}: {error}", path.display()));
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self::File(file)),
            Err(TryLockError::WouldBlock) => Err(is_running(job)),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }
}
