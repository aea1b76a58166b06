//! All staged files become one file, which appears at once.

use bytes::Bytes;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};

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
        if !sink.holds(&staged, &only.sha256).await {
            return Ok(Err(Damaged(only.number)));
        }
        // On the disk before it is the output.
        sink.sync(&staged)?;
        sink.copy(&staged, path).await?;
        return Ok(Ok(Written { bytes: only.bytes, sha256: only.sha256.clone() }));
    }
    let (mut check, mut damaged) = (None, None);
    let mut rest = chunks.iter();
    let written = splice(sink, path, async || {
        if let Err(failed) = passed(&mut check).await {
            damaged = Some(failed);
            return Err(JobError::new("a staged file has changed"));
        }
        let Some(chunk) = rest.next() else { return Ok(None) };
        let Ok(staged) = sink.read(&Path::from(chunk.file.as_str())).await else {
            damaged = Some(Damaged(chunk.number));
            return Err(JobError::new("a staged file is gone"));
        };
        check = Some(Check::begin(chunk, staged.clone()));
        Ok(Some(staged))
    })
    .await;
    // What has changed may be no Parquet file any more, and have ended the copy.
    match (written, damaged.or(passed(&mut check).await.err())) {
        (_, Some(damaged)) => Ok(Err(damaged)),
        (written, None) => {
            let written = written?;
            sink.sync(path)?;
            Ok(Ok(written))
        }
    }
}

/// Whether a staged file is what the ledger says, found out while it is copied: nothing appears before all are.
struct Check {
    chunk: u64,
    is_whole: JoinHandle<bool>,
}

impl Check {
    fn begin(chunk: &ChunkRecord, staged: Bytes) -> Self {
        let expected = chunk.sha256.clone();
        let is_whole = spawn_blocking(move || sensorium_inference::hex(&Sha256::digest(&staged)) == expected);
        Self { chunk: chunk.number, is_whole }
    }
}

async fn passed(check: &mut Option<Check>) -> Result<(), Damaged> {
    let Some(Check { chunk, is_whole }) = check.take() else { return Ok(()) };
    if is_whole.await.unwrap_or_default() { Ok(()) } else { Err(Damaged(chunk)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::job_file;

    /// A chunk whose staged file has these rows; bytes of it are other ones than the ledger knows where `is_damaged`.
    fn staged(folder: &std::path::Path, number: u64, is_damaged: bool) -> ChunkRecord {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50));
        let batch = RecordBatch::try_from_iter([("id", values)]).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("rows");
        let mut file = writer.into_inner().expect("a file");
        let sha256 = sensorium_inference::hex(&Sha256::digest(&file));
        // It can still be read as Parquet.
        file[8] ^= u8::from(is_damaged);
        let name = format!("{number}.staged");
        std::fs::write(folder.join(&name), &file).expect("room");
        ChunkRecord {
            number,
            digest: String::new(),
            file: name,
            bytes: file.len() as u64,
            sha256,
            inputs: None,
            rows_in: None,
            rows_out: 50,
            rejected: 0,
            attempts: 1,
            seconds: 0.0,
            cached: 0,
            finished_at: None,
        }
    }

    #[tokio::test]
    async fn nothing_appears_of_a_staged_file_that_has_changed() {
        let path = Path::from("out.parquet");
        for (count, damaged) in [(1, Some(0)), (3, Some(0)), (3, Some(1)), (3, Some(2)), (3, None)] {
            let folder = tempfile::tempdir().expect("a folder");
            let file = serde_json::json!({ "path": folder.path(), "format": "parquet" });
            let sink = Sink::open(&serde_json::from_value::<job_file::Sink>(file).expect("a sink")).expect("a folder");
            let chunks: Vec<_> = (0..count).map(|number| staged(folder.path(), number, damaged == Some(number))).collect();
            let found = assemble(&sink, &chunks, &path).await.expect("no other error").err().map(|Damaged(number)| number);
            assert_eq!((found, folder.path().join("out.parquet").exists()), (damaged, damaged.is_none()));
        }
    }
}
