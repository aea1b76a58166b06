//! Reading the bytes of one medium, bounded in size and time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use url::Url;

use super::remote::store_for;
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

fn too_large(bytes: u64, limit: usize) -> Error {
    Error::new(Kind::Limit, format!("{bytes} bytes are over the limit of {limit}")).with_hint("SET mm.max_media_bytes")
}

/// Reads a regular file of at most `mm.max_media_bytes`.
pub(crate) fn fetch_local(path: &Path, limits: &Limits) -> Result<Bytes> {
    let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Fetch, format!("cannot read {}: {error}", path.display()));
    // Looked at before it is opened: opening a pipe waits for its writer.
    let facts = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(&"no such file"),
        _ => failed(&error),
    })?;
    if !facts.is_file() {
        return Err(failed(&"not a regular file"));
    }
    if facts.len() > limits.max_media_bytes as u64 {
        return Err(too_large(facts.len(), limits.max_media_bytes));
    }
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::with_capacity(facts.len() as usize);
    // The file may grow while it is read.
    let bound = limits.max_media_bytes as u64 + 1;
    Read::by_ref(&mut file).take(bound).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() > limits.max_media_bytes {
        return Err(too_large(bytes.len() as u64, limits.max_media_bytes));
    }
    Ok(bytes.into())
}

/// Reads an object of at most `mm.max_media_bytes` within `mm.fetch_timeout_ms`, retries included.
pub(crate) async fn fetch_remote(url: &Url, limits: &Limits) -> Result<Bytes> {
    let timeout = Duration::from_millis(limits.fetch_timeout_ms as u64);
    tokio::time::timeout(timeout, read(url, limits)).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Fetch, format!("no answer from {url} within {} ms", limits.fetch_timeout_ms))
            .with_hint("SET mm.fetch_timeout_ms")
            .retryable())
    })
}

async fn read(url: &Url, limits: &Limits) -> Result<Bytes> {
    let failed = |error: object_store::Error| {
        let missing = matches!(error, object_store::Error::NotFound { .. });
        let why = if missing { "no such object".to_string() } else { error.to_string() };
        let failure = Error::new(Kind::Fetch, format!("cannot read {url}: {why}"));
        if missing { failure } else { failure.retryable() }
    };
    let (store, path) = store_for(url, limits)?;
    let found = store.get(&path).await.map_err(failed)?;
    if found.meta.size > limits.max_media_bytes as u64 {
        return Err(too_large(found.meta.size, limits.max_media_bytes));
    }
    let mut parts = found.into_stream();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part.map_err(failed)?);
        if bytes.len() > limits.max_media_bytes {
            return Err(too_large(bytes.len() as u64, limits.max_media_bytes));
        }
    }
    Ok(bytes.into())
}
