//! Append-only numbered entries below a prefix: the one kind of write that every object store makes atomic.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::store_error;
use crate::error::{Error, Kind, Result};

/// How often a number that another process took is tried again.
const MAX_ATTEMPTS: usize = 10_000;

/// Path of entry `number`; padded, so that listings are sorted.
pub(super) fn entry_path(prefix: &Path, number: u64) -> Path {
    prefix.clone().join(format!("{number:09}.json"))
}

/// The entries that exist below `prefix`, at any depth and in no order.
pub(super) async fn entries(store: &dyn ObjectStore, prefix: &Path) -> Result<Vec<ObjectMeta>> {
    store.list(Some(prefix)).try_collect().await.map_err(|error| store_error("list", prefix, &error))
}

/// The number of the entry at `path`.
pub(super) fn number(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

/// The numbers that exist below `prefix`, ascending.
pub(super) async fn numbers(store: &dyn ObjectStore, prefix: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = entries(store, prefix).await?.iter().filter_map(|entry| number(&entry.location)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Appends `value` under the next free number and returns it. Two writers at once get two numbers, without a gap.
pub(super) async fn append(store: &dyn ObjectStore, prefix: &Path, value: &impl Serialize) -> Result<u64> {
    let payload = payload(prefix, value)?;
    let mut number = numbers(store, prefix).await?.last().copied().unwrap_or(0) + 1;
    for _ in 0..MAX_ATTEMPTS {
        if put(store, prefix, number, payload.clone()).await? {
            return Ok(number);
        }
        number += 1;
    }
    Err(Error::new(Kind::Catalog, format!("no free number below {prefix} in {MAX_ATTEMPTS} attempts")).retryable())
}

/// Writes entry `number`. Returns `false` where another writer was faster, whose entry then stays.
pub(super) async fn append_as(store: &dyn ObjectStore, prefix: &Path, number: u64, value: &impl Serialize) -> Result<bool> {
    put(store, prefix, number, payload(prefix, value)?).await
}

fn payload(prefix: &Path, value: &impl Serialize) -> Result<PutPayload> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| Error::new(Kind::Catalog, format!("cannot write {prefix}: {error}")))?;
    Ok(PutPayload::from(text))
}

async fn put(store: &dyn ObjectStore, prefix: &Path, number: u64, payload: PutPayload) -> Result<bool> {
    let path = entry_path(prefix, number);
    let options = PutOptions { mode: PutMode::Create, ..Default::default() };
    match store.put_opts(&path, payload, options).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(store_error("write", &path, &error)),
    }
}

/// Reads the entry at `path`.
pub(super) async fn read<T: DeserializeOwned>(store: &dyn ObjectStore, path: &Path) -> Result<T> {
    let failed = |error: &object_store::Error| store_error("read", path, error);
    let bytes = store.get(path).await.map_err(|error| failed(&error))?.bytes().await.map_err(|error| failed(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(Kind::Catalog, format!("cannot read {path}: {error}"))
            .with_hint("the entry is damaged, or was written by a newer release")
    })
}
