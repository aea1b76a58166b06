//! Where the rows of a run go: a folder or URL, with a folder for each run date below it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use datafusion::datasource::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, prefix::PrefixStore};
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use sensorium_inference::environment_options;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use url::Url;

use crate::error::{JobError, Result};
use crate::job_file::{self, Format};

/// The largest file that object stores copy by themselves.
const COPIED_BYTES: u64 = 5 << 30;
/// Ending of staged files: readers of the folder look for `.parquet`.
const STAGED: &str = "staged";

/// An opened sink.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    store: Arc<dyn ObjectStore>,
    /// The folder, if it is one of this machine.
    folder: Option<PathBuf>,
    /// What it is called in messages and in the ledger.
    place: String,
    format: Format,
    /// All that lies where the folder does, and the folder's URL there.
    root: Arc<dyn ObjectStore>,
    url: Url,
}

/// A file that was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Sink {
    /// Opens a folder or URL; a folder is made.
    pub(crate) fn open(sink: &job_file::Sink) -> Result<Self> {
        let (place, format) = (sink.path.as_str(), sink.format);
        let failed = |error: &dyn std::fmt::Display| {
            JobError::new(format!("sink {place}: {error}"))
                .with_hint("sink.path is a folder that may be written, or a URL such as s3://bucket/scores")
        };
        if place.contains("://") && !place.starts_with("file://") {
            let url = Url::parse(place).map_err(|error| failed(&error))?;
            let (store, prefix) = object_store::parse_url_opts(&url, environment_options()).map_err(|error| failed(&error))?;
            let root: Arc<dyn ObjectStore> = store.into();
            let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
            let mut url = url;
            url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
            return Ok(Self { store, folder: None, place: place.to_string(), format, root, url });
        }
        let folder = PathBuf::from(place.strip_prefix("file://").unwrap_or(place));
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(&error))?;
        let real = folder.canonicalize().map_err(|error| failed(&error))?;
        let url = Url::from_directory_path(&real).map_err(|()| failed(&"not a path that has a URL"))?;
        let root = Arc::new(LocalFileSystem::new());
        Ok(Self { store: Arc::new(store), folder: Some(folder), place: place.to_string(), format, root, url })
    }

    /// What `path` below it is called.
    pub(crate) fn name(&self, path: &Path) -> String {
        format!("{}/{path}", self.place.trim_end_matches('/'))
    }

    /// The file of a run date. Of a table that knows earlier ones, each output has its own, told by a token.
    pub(crate) fn output(&self, date: NaiveDate, job: &str, token: &str) -> Path {
        Path::from(match self.format {
            Format::Parquet => format!("run_date={date}/{job}.parquet"),
            Format::Delta => format!("run_date={date}/{job}-{token}.parquet"),
        })
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The file that is called so, as by [`Sink::name`].
    pub(crate) fn path_of(&self, name: &str) -> Result<Path> {
        let path = name.strip_prefix(self.place.trim_end_matches('/')).map(|path| Path::from(path.trim_start_matches('/')));
        path.ok_or_else(|| {
            JobError::new(format!("{name} does not lie in the sink {}", self.place)).with_hint("sink.path was another one then")
        })
    }

    /// The folder, all that lies where the folder does, and the folder's URL there.
    pub(crate) fn stores(&self) -> (Arc<dyn ObjectStore>, Arc<dyn ObjectStore>, Url) {
        (Arc::clone(&self.store), Arc::clone(&self.root), self.url.clone())
    }

    /// Size and SHA-256 of a file.
    pub(crate) async fn written(&self, path: &Path) -> Result<Written> {
        let bytes = self.store.head(path).await?.size;
        Ok(Written { bytes, sha256: self.sha256(path).await? })
    }

    /// The file of a chunk until all are there.
    pub(crate) fn staged(run: &str, number: u64) -> Path {
        Path::from(format!("_staging/{run}/{number:06}.{STAGED}"))
    }

    /// Begins a file, which appears when it is complete.
    pub(crate) fn upload(&self, path: &Path) -> Upload {
        Upload { writer: BufWriter::new(Arc::clone(&self.store), path.clone()), digest: None, bytes: 0 }
    }

    /// Whether a file is there, with these bytes.
    pub(crate) async fn holds(&self, path: &Path, sha256: &str) -> bool {
        self.sha256(path).await.is_ok_and(|found| found == sha256)
    }

    /// The bytes of a file.
    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes> {
        Ok(self.store.get(path).await?.bytes().await?)
    }

    /// The SHA-256 of a file.
    pub(crate) async fn sha256(&self, path: &Path) -> Result<String> {
        let mut digest = Sha256::new();
        let mut parts = self.store.get(path).await?.into_stream();
        while let Some(part) = parts.try_next().await? {
            digest.update(&part);
        }
        Ok(sensorium_inference::hex(&digest.finalize()))
    }

    /// Whether a file can be copied where it lies: object stores do so up to 5 GB (Amazon S3, CopyObject).
    pub(crate) fn can_copy(&self, bytes: u64) -> bool {
        self.folder.is_some() || bytes < COPIED_BYTES
    }

    /// Makes a file of another one, which appears as a whole.
    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.store.copy(from, to).await.map_err(|error| JobError::from(error).during(self.name(to)))?;
        self.sync(to)
    }

    /// Sees to it that a file outlives a loss of power.
    pub(crate) fn sync(&self, path: &Path) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join(path.to_string());
        let sync = |path: &std::path::Path| std::fs::File::open(path).and_then(|file| file.sync_all());
        let parents = file.ancestors().skip(1).take_while(|parent| parent.starts_with(folder));
        let synced = std::iter::once(file.as_path()).chain(parents).try_for_each(sync);
        synced.map_err(|error| JobError::new(format!("sink {}: {error}", self.name(path))))
    }

    /// Removes the staged files of a run, and what attempts that were killed have left where its output is.
    pub(crate) async fn clean(&self, run: &str, date: NaiveDate, job: &str) -> Result<()> {
        let prefix = Path::from(format!("_staging/{run}"));
        if let Some(folder) = &self.folder {
            remove_unfinished(&folder.join(format!("run_date={date}")), job);
            let failed = |error: std::io::Error| JobError::new(format!("sink {}: {error}", self.name(&prefix)));
            let staged = folder.join(prefix.to_string());
            if staged.exists() {
                std::fs::remove_dir_all(staged).map_err(failed)?;
            }
            // Where it is empty; others belong to other runs.
            let _ = std::fs::remove_dir(folder.join("_staging"));
            return Ok(());
        }
        let files: Vec<_> = self.store.list(Some(&prefix)).map_ok(|file| file.location).try_collect().await?;
        for file in files {
            self.store.delete(&file).await?;
        }
        Ok(())
    }

    /// The store and a URL by which a session can read it.
    pub(crate) fn readable(&self) -> Result<(ObjectStoreUrl, Arc<dyn ObjectStore>)> {
        Ok((ObjectStoreUrl::parse("sink://staged")?, Arc::clone(&self.store)))
    }
}

/// Files that were on their way when their process ended: object_store calls them `name#1`, `name#2`, ..
fn remove_unfinished(folder: &std::path::Path, job: &str) {
    let is_unfinished = |name: &std::ffi::OsStr| {
        let rest = name.to_str().and_then(|name| name.strip_prefix(job)).filter(|rest| rest.starts_with(['.', '-']));
        rest.and_then(|rest| rest.split_once(".parquet#"))
            .is_some_and(|(token, number)| !token.trim_start_matches('-').contains('-') && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| is_unfinished(&entry.file_name())) {
        // The next run of the date tries again.
        let _ = std::fs::remove_file(entry.path());
    }
}

/// A file on its way, with its digest, which is made while the bytes are written.
pub(crate) struct Upload {
    writer: BufWriter,
    digest: Option<JoinHandle<Sha256>>,
    bytes: u64,
}

impl Upload {
    /// What was written, once it is complete.
    pub(crate) async fn written(self) -> Result<Written> {
        let digest = digested(self.digest).await.map_err(|error| JobError::new(format!("a digest was not made: {error}")))?;
        Ok(Written { bytes: self.bytes, sha256: sensorium_inference::hex(&digest.finalize()) })
    }

    /// Leaves nothing of a file that is not complete.
    pub(crate) async fn abort(mut self) {
        let _ = self.writer.abort().await;
    }
}

/// The digest of all that came before.
async fn digested(before: Option<JoinHandle<Sha256>>) -> std::result::Result<Sha256, JoinError> {
    match before {
        Some(digest) => digest.await,
        None => Ok(Sha256::new()),
    }
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, parquet::errors::Result<()>> {
        Box::pin(async move {
            let digest = digested(self.digest.take()).await.map_err(|error| ParquetError::External(Box::new(error)))?;
            let more = bytes.clone();
            self.digest = Some(spawn_blocking(move || digest.chain_update(more)));
            self.bytes += bytes.len() as u64;
            self.writer.put(bytes).await.map_err(|error| ParquetError::External(Box::new(error)))
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, parquet::errors::Result<()>> {
        Box::pin(async move { self.writer.shutdown().await.map_err(|error| ParquetError::External(Box::new(error))) })
    }
}
