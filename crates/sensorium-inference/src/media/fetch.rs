//! Reading the bytes of one medium, bounded in size and time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};
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

/// Reads an object of at most `mm.max_media_bytes` within `mm.fetch_timeout_ms`, retries included. One that has another entity tag than
/// `expected` is an error: it was changed since the row's key was made.
pub(crate) async fn fetch_remote(url: &Url, expected: Option<&str>, limits: &Limits) -> Result<Bytes> {
    let mut bytes = Vec::new();
    in_time(url, limits, read(url, expected, limits, |part| bytes.extend_from_slice(part))).await?;
    Ok(bytes.into())
}

/// The SHA-256 of an object, within the bounds of [`fetch_remote`]; it is not held in memory.
pub(crate) async fn digest_remote(url: &Url, expected: Option<&str>, limits: &Limits) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    in_time(url, limits, read(url, expected, limits, |part| digest.update(part))).await?;
    Ok(digest.finalize().into())
}

/// The strong entity tag of an object; none where there is none, or the object cannot be reached.
pub(crate) async fn version_of(url: &Url, limits: &Limits) -> Option<String> {
    let head = async {
        let (store, path) = store_for(url, limits)?;
        store.head(&path).await.map_err(|error| Error::new(Kind::Fetch, error.to_string()))
    };
    in_time(url, limits, head).await.ok().and_then(|facts| strong(facts.e_tag))
}

/// Weak tags (RFC 9110, section 8.8.1) do not promise equal bytes.
fn strong(tag: Option<String>) -> Option<String> {
    tag.filter(|tag| !tag.starts_with("W/"))
}

async fn in_time<T>(url: &Url, limits: &Limits, work: impl Future<Output = Result<T>>) -> Result<T> {
    let timeout = Duration::from_millis(limits.fetch_timeout_ms as u64);
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Fetch, format!("no answer from {url} within {} ms", limits.fetch_timeout_ms))
            .with_hint("SET mm.fetch_timeout_ms")
            .retryable())
    })
}

async fn read(url: &Url, expected: Option<&str>, limits: &Limits, mut take: impl FnMut(&[u8])) -> Result<()> {
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
    if expected.is_some_and(|expected| found.meta.e_tag.as_deref() != Some(expected)) {
        return Err(Error::new(Kind::Fetch, format!("{url} was changed while the query was running")).retryable());
    }
    let mut parts = found.into_stream();
    let mut bytes = 0;
    while let Some(part) = parts.next().await {
        let part = part.map_err(failed)?;
        bytes += part.len();
        if bytes > limits.max_media_bytes {
            return Err(too_large(bytes as u64, limits.max_media_bytes));
        }
        take(&part);
    }
    Ok(())
}
