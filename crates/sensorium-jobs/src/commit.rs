//! All staged files become one file, which appears at once.

use object_store::path::Path;
use sha2::{Digest, Sha256};

use crate::error::{JobError, Result};
use crate::ledger::ChunkRecord;
use crate::sink::{Sink, Written};
use crate::splice::splice;

/// A staged file that is not what the ledger says.
#[derive(Debug)]
pub(crate) struct Damaged(pub(crate) u64);

/// Makes the file `path` of the staged files.
///
/// A staged file that is gone or has changed is told, and nothing appears.
pub(crate) async fn commit(sink: &Sink, chunks: &[ChunkRecord], path: &Path) -> Result<Result<Written, Damaged>> {
    let mut damaged = None;
    let mut rest = chunks.iter();
    let written = splice(sink, path, async || {
        let Some(chunk) = rest.next() else { return Ok(None) };
        let staged = sink.read(&Path::from(chunk.file.as_str())).await;
        match staged.ok().filter(|file| sensorium_inference::hex(&Sha256::digest(file)) == chunk.sha256) {
            Some(file) => Ok(Some(file)),
            None => {
                damaged = Some(Damaged(chunk.number));
                Err(JobError::new("a staged file is gone or has changed"))
            }
        }
    })
    .await;
    match (written, damaged) {
        (_, Some(damaged)) => Ok(Err(damaged)),
        (written, None) => written.map(Ok),
    }
}
