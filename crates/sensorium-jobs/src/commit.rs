//! All staged files become one file, which appears at once.

use object_store::path::Path;
use sha2::{Digest, Sha256};

use crate::delta::{Publication, TOKEN, is_published, publish};
use crate::error::{JobError, Result};
use crate::job_file::Format;
use crate::ledger::ChunkRecord;
use crate::sink::{Sink, Written};
use crate::splice::splice;

/// A staged file that is not what the ledger says.
#[derive(Debug)]
pub(crate) struct Damaged(pub(crate) u64);

/// What tells the output of a run from others of its date: its name, and what is in its chunks.
pub(crate) fn token(run: &str, chunks: &[ChunkRecord]) -> String {
    let mut digest = Sha256::new();
    digest.update(run);
    chunks.iter().for_each(|chunk| digest.update(&chunk.sha256));
    sensorium_inference::hex(&digest.finalize())[..TOKEN].to_string()
}

/// Makes one file of the staged files, which then is the output of its date.
///
/// A staged file that is gone or has changed is told, and nothing appears. What an earlier attempt has made appear is left as it is.
pub(crate) async fn commit(sink: &Sink, chunks: &[ChunkRecord], publication: &Publication<'_>) -> Result<Result<Written, Damaged>> {
    if sink.format() == Format::Delta && is_published(sink, publication.path).await? {
        return sink.written(publication.path).await.map(Ok);
    }
    let written = assemble(sink, chunks, publication.path).await?;
    if let (Format::Delta, Ok(written)) = (sink.format(), &written) {
        publish(sink, publication, written).await?;
    }
    Ok(written)
}

async fn assemble(sink: &Sink, chunks: &[ChunkRecord], path: &Path) -> Result<Result<Written, Damaged>> {
    if let [only] = chunks
        && sink.can_copy(only.bytes)
    {
        let staged = Path::from(only.file.as_str());
        let is_whole = sink.sha256(&staged).await.is_ok_and(|found| found == only.sha256);
        if !is_whole {
            return Ok(Err(Damaged(only.number)));
        }
        sink.copy(&staged, path).await?;
        return Ok(Ok(Written { bytes: only.bytes, sha256: only.sha256.clone() }));
    }
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
