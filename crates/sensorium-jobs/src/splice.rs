//! Parquet files become one, their row groups copied as they are.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::path::Path;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use crate::error::{JobError, Result};
use crate::sink::{Sink, Upload, Written};

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

/// Writes the files that `next` gives, one behind the other, as the file `path`, which appears when it is complete, or not at all.
pub(crate) async fn splice(sink: &Sink, path: &Path, next: impl AsyncFnMut() -> Result<Option<Bytes>>) -> Result<Written> {
    let mut upload = sink.upload(path);
    if let Err(error) = copy(&mut upload, next).await {
        upload.abort().await;
        return Err(error.during(sink.name(path)));
    }
    // What fails here cannot be aborted any more.
    upload.complete().await.map_err(|error| JobError::from(error).during(sink.name(path)))?;
    upload.written().await
}

async fn copy(upload: &mut Upload, mut next: impl AsyncFnMut() -> Result<Option<Bytes>>) -> Result<()> {
    let pending = Pending::default();
    let mut writer: Option<SerializedFileWriter<Pending>> = None;
    while let Some(file) = next().await? {
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
    Ok(())
}
