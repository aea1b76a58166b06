//! One run of a job at a time: a lock that the system gives back when the process that holds it ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::{JobError, Result};

/// A job that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct JobLock {
    _file: File,
}

/// Takes a job of the ledger `ledger`.
pub(crate) fn lock(ledger: &Path, job: &str) -> Result<JobLock> {
    let mut folder = ledger.as_os_str().to_owned();
    folder.push(".locks");
    let path = Path::new(&folder).join(job);
    let failed = |error: &std::io::Error| JobError::new(format!("lock {}: {error}", path.display()));
    std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(JobLock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            Err(JobError::busy(format!("job {job} is running")).with_hint("`sensorium job status` says how far it is"))
        }
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}
