//! `DROP JOB`: its files go; what the ledger knows of its runs stays.

use arrow::array::RecordBatch;

use super::create_job::query_file;
use super::{SqlJobs, no_such_job, status};
use crate::error::{JobError, Result};

pub(super) fn drop_job(jobs: &SqlJobs, name: &str, if_exists: bool) -> Result<RecordBatch> {
    let path = jobs.file(name, "toml");
    if !path.exists() {
        return if if_exists { status(format!("there is no job {name}")) } else { Err(no_such_job(name)) };
    }
    let query = query_file(&path).unwrap_or_else(|| format!("{name}.sql"));
    let removed = std::fs::remove_file(&path).and_then(|()| match std::fs::remove_file(jobs.folder.join(query)) {
        // A job of which only the file was made by hand may have its query elsewhere.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    });
    removed.map_err(|error| JobError::new(format!("cannot remove {}: {error}", path.display())))?;
    status(format!("job {name} dropped"))
}
