//! All staged files become one file, which appears at once.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use sha2::{Digest, Sha256};

use crate::error::{JobError, Result};
use crate::ledger::ChunkRecord;
use crate::sink::{Sink, Written};

/// What a writer has written, until it is taken.
#[derive(Debug, Clone, Default)]
struct Pending(Arc<Mutex<Vec<u8>>>);

impl Pending {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A staged file that is not what the ledger says.
#[derive(Debug)]
pub(crate) struct Damaged(pub(crate) u64);

/// Copies the row groups of the staged files, as they are, into the file `path`.
///
/// A staged file that is gone or has changed is told and nothing appears.
pub(crate) async fn commit(sink: &Sink, chunks: &[ChunkRecord], path: &Path) -> Result<Result<Written, Damaged>> {
    let mut upload = sink.upload(path);
    match copy(sink, chunks, &mut upload).await {
        Ok(Ok(())) => {}
        Ok(Err(damaged)) => {
            upload.abort().await;
            return Ok(Err(damaged));
        }
        Err(error) => {
            upload.abort().await;
            return Err(error.during(sink.name(path)));
        }
    }
    upload.complete().await.map_err(|error| JobError::from(error).during(sink.name(path)))?;
    sink.sync(path)?;
    Ok(Ok(upload.written()))
}

async fn copy(sink: &Sink, chunks: &[ChunkRecord], upload: &mut super::sink::Upload) -> Result<Result<(), Damaged>> {
    let pending = Pending::default();
    let mut writer: Option<SerializedFileWriter<Pending>> = None;
    for chunk in chunks {
        let staged = sink.read(&Path::from(chunk.file.as_str())).await;
        let Some(file) = staged.ok().filter(|file| crate::hex(&Sha256::digest(file)) == chunk.sha256) else {
            return Ok(Err(Damaged(chunk.number)));
        };
        let metadata = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional).parse_and_finish(&file)?;
        let facts = metadata.file_metadata();
        if writer.is_none() {
            let properties = WriterProperties::builder().set_key_value_metadata(facts.key_value_metadata().cloned()).build();
            let schema = facts.schema_descr().root_schema_ptr();
            writer = Some(SerializedFileWriter::new(pending.clone(), schema, Arc::new(properties))?);
        }
        let Some(writer) = writer.as_mut() else { continue };
        for (place, group) in metadata.row_groups().iter().enumerate().filter(|(_, group)| group.num_rows() > 0) {
            let mut copied = writer.next_row_group()?;
            for (column, facts) in group.columns().iter().enumerate() {
                let closed = ColumnCloseResult {
                    bytes_written: u64::try_from(facts.compressed_size()).unwrap_or_default(),
                    rows_written: u64::try_from(group.num_rows()).unwrap_or_default(),
                    metadata: facts.clone(),
                    bloom_filter: None,
                    column_index: metadata.column_index().and_then(|groups| groups.get(place)?.get(column)).cloned(),
                    offset_index: metadata.offset_index().and_then(|groups| groups.get(place)?.get(column)).cloned(),
                };
                copied.append_column(&file, closed)?;
            }
            copied.close()?;
        }
        upload.write(pending.take()).await?;
    }
    if let Some(writer) = writer {
        writer.close()?;
        upload.write(pending.take()).await?;
    }
    Ok(Ok(()))
}
