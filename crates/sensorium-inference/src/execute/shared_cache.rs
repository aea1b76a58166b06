//! Results that machines share through an object store: each process adds what it has made as one file, and takes what others have added.
//!
//! A file is a cache of its own with the same tables, so that taking it is a statement of SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{DynObjectStore, ObjectMeta, ObjectStoreExt};
use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use url::Url;

use super::disk_cache::{DiskCache, TABLES, evict};
use crate::catalog::environment_options;
use crate::error::{Error, Kind, Result};
use crate::io;
use crate::package::hex;

/// Folder of the files, named after the layout of their tables.
const FOLDER: &str = "results-2";
/// Results that are put into one file, in bytes, and the largest file that is taken.
const FILE_BYTES: u64 = 64 << 20;
const MOST_FILE_BYTES: u64 = 1 << 30;
/// Files that nobody has added to for so long are removed: what is still used was made again or is kept by those who use it.
const MOST_AGE: Duration = Duration::from_secs(90 * 24 * 3_600);

/// What has come of a visit to the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shared {
    /// Files that were taken or added.
    pub files: usize,
    /// Results in them.
    pub results: usize,
}

/// Takes what others have added to `url` since the last time into the cache in `folder`, the newest first, up to `most_bytes`.
///
/// # Errors
/// Where the store cannot be read, or the cache not be written.
pub fn take_shared_results(folder: &Path, url: &str, most_bytes: usize) -> Result<Shared> {
    let cache = DiskCache::open(folder)?;
    let (store, prefix) = open(url)?;
    let mut files = list(&store, &prefix)?;
    files.sort_by_key(|file| std::cmp::Reverse(file.last_modified));
    let (mut shared, mut bytes) = (Shared::default(), 0);
    for file in files {
        let name = format!("{url} {}", file.location);
        if file.size > MOST_FILE_BYTES || bytes + file.size > most_bytes as u64 || cache.knows_shared(&name)? {
            continue;
        }
        bytes += file.size;
        let (store, location) = (Arc::clone(&store), file.location.clone());
        let content = io::wait(async move {
            let found = store.get(&location).await.map_err(|error| failed(&error))?;
            found.bytes().await.map_err(|error| failed(&error))
        })?;
        let scratch = tempfile::NamedTempFile::new().map_err(|error| failed(&error))?;
        std::fs::write(scratch.path(), &content).map_err(|error| failed(&error))?;
        // What is no cache does not keep the others from being taken.
        if let Ok(results) = cache.take(&name, scratch.path(), most_bytes) {
            shared.results += results;
            shared.files += 1;
        }
    }
    Ok(shared)
}

/// Adds what the cache in `folder` has made since the last time to `url`, and removes what is too old there.
///
/// # Errors
/// Where the store cannot be written, or the cache not be read.
pub fn give_shared_results(folder: &Path, url: &str) -> Result<Shared> {
    let cache = DiskCache::open(folder)?;
    let (store, prefix) = open(url)?;
    let scratch = tempfile::tempdir().map_err(|error| failed(&error))?;
    let mut shared = Shared::default();
    loop {
        let path = scratch.path().join(format!("{}.sqlite", shared.files));
        let (results, last) = cache.give(url, &path)?;
        if results == 0 {
            break;
        }
        let content = std::fs::read(&path).map_err(|error| failed(&error))?;
        std::fs::remove_file(&path).map_err(|error| failed(&error))?;
        let name = prefix.clone().join(FOLDER).join(format!("{}.sqlite", hex(&Sha256::digest(&content))));
        let (store, own) = (Arc::clone(&store), name.clone());
        io::wait(async move { store.put(&own, content.into()).await.map_err(|error| failed(&error)) })?;
        cache.gave(url, last, &format!("{url} {name}"))?;
        shared.files += 1;
        shared.results += results;
    }
    let oldest =
        SystemTime::now().checked_sub(MOST_AGE).and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_secs();
    for file in list(&store, &prefix)? {
        if u64::try_from(file.last_modified.timestamp()).is_ok_and(|time| time < oldest) {
            let store = Arc::clone(&store);
            io::wait(async move { store.delete(&file.location).await.map_err(|error| failed(&error)) })?;
        }
    }
    Ok(shared)
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Fetch, format!("shared results: {error}")).with_hint("a folder, or a URL such as s3://bucket/results")
}

fn open(url: &str) -> Result<(Arc<DynObjectStore>, ObjectPath)> {
    let url = if url.contains("://") {
        Url::parse(url).map_err(|error| failed(&error))?
    } else {
        std::fs::create_dir_all(url).map_err(|error| failed(&error))?;
        let path = std::path::absolute(url).map_err(|error| failed(&error))?;
        Url::from_directory_path(path).map_err(|()| failed(&"not a path that has a URL"))?
    };
    let (store, prefix) = object_store::parse_url_opts(&url, environment_options()).map_err(|error| failed(&error))?;
    Ok((Arc::from(store), prefix))
}

fn list(store: &Arc<DynObjectStore>, prefix: &ObjectPath) -> Result<Vec<ObjectMeta>> {
    let (store, folder) = (Arc::clone(store), prefix.clone().join(FOLDER));
    io::wait(async move { store.list(Some(&folder)).try_collect().await.map_err(|error| failed(&error)) })
}

impl DiskCache {
    fn knows_shared(&self, name: &str) -> Result<bool> {
        let count = |connection: &mut Connection| {
            connection.query_row("SELECT count(*) FROM shared WHERE name = ?1", [name], |row| row.get::<_, i64>(0))
        };
        Ok(self.with(count)? > 0)
    }

    /// Takes the results of the cache in the file `path` that this one does not have.
    fn take(&self, name: &str, path: &Path, max_bytes: usize) -> Result<usize> {
        self.with(|connection| {
            connection.execute("ATTACH DATABASE ?1 AS other", [path.to_string_lossy()])?;
            let taken = take(connection, name, max_bytes);
            connection.execute_batch("DETACH DATABASE other")?;
            taken
        })
    }

    /// Writes the results since the last time into a cache of its own; returns how many they are, and the last chunk of them.
    fn give(&self, url: &str, path: &Path) -> Result<(usize, i64)> {
        self.with(|connection| {
            connection.execute("ATTACH DATABASE ?1 AS other", [path.to_string_lossy()])?;
            let given = give(connection, url);
            connection.execute_batch("DETACH DATABASE other")?;
            given
        })
    }

    fn gave(&self, url: &str, last: i64, name: &str) -> Result<()> {
        self.with(|connection| {
            connection.execute("INSERT OR REPLACE INTO shared (name, chunk) VALUES (?1, ?2)", params![url, last])?;
            connection.execute("INSERT OR REPLACE INTO shared (name, chunk) VALUES (?1, 0)", params![name]).map(|_| ())
        })
    }
}

/// Numbers of chunks, as they were and as they are written.
const NUMBERS: &str = "CREATE TEMP TABLE IF NOT EXISTS numbers (old INTEGER PRIMARY KEY, new INTEGER NOT NULL); DELETE FROM numbers;";

fn take(connection: &mut Connection, name: &str, max_bytes: usize) -> rusqlite::Result<usize> {
    connection.execute_batch(NUMBERS)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Chunks get new numbers, behind all that are there. They are not given away again.
    let first: i64 = transaction.query_row("SELECT coalesce(max(id), 0) FROM main.chunk", [], |row| row.get(0))?;
    transaction.execute("INSERT INTO numbers SELECT id, ?1 + row_number() OVER (ORDER BY id) FROM other.chunk", [first])?;
    transaction.execute(
        "INSERT INTO main.chunk (id, bytes, used, data, is_taken) SELECT new, bytes, used, data, 1 FROM other.chunk JOIN numbers ON old = id",
        [],
    )?;
    let taken = transaction.execute(
        "INSERT OR IGNORE INTO main.entry (key, chunk, row) SELECT key, new, row FROM other.entry JOIN numbers ON old = chunk",
        [],
    )?;
    transaction.execute(
        "DELETE FROM main.chunk WHERE id > ?1 AND NOT EXISTS (SELECT 1 FROM main.entry WHERE entry.chunk = main.chunk.id)",
        [first],
    )?;
    transaction.execute("INSERT OR REPLACE INTO shared (name, chunk) VALUES (?1, 0)", [name])?;
    evict(&transaction, max_bytes)?;
    transaction.commit()?;
    Ok(taken)
}

fn give(connection: &mut Connection, url: &str) -> rusqlite::Result<(usize, i64)> {
    connection.execute_batch(NUMBERS)?;
    connection.execute_batch(&TABLES.replace("EXISTS ", "EXISTS other."))?;
    let transaction = connection.transaction()?;
    let before: i64 = transaction.query_row("SELECT coalesce(max(chunk), 0) FROM shared WHERE name = ?1", [url], |row| row.get(0))?;
    transaction.execute(
        "INSERT INTO numbers SELECT id, number FROM (
             SELECT id, bytes, row_number() OVER (ORDER BY id) AS number, sum(bytes) OVER (ORDER BY id) AS total
             FROM main.chunk WHERE id > ?1 AND NOT is_taken) WHERE total - bytes < ?2",
        params![before, FILE_BYTES],
    )?;
    let last: i64 = transaction.query_row("SELECT coalesce(max(old), ?1) FROM numbers", [before], |row| row.get(0))?;
    transaction.execute(
        "INSERT INTO other.chunk (id, bytes, used, data, is_taken) SELECT new, bytes, used, data, 0 FROM main.chunk JOIN numbers ON old = id",
        [],
    )?;
    let given = transaction
        .execute("INSERT INTO other.entry (key, chunk, row) SELECT key, new, row FROM main.entry JOIN numbers ON old = chunk", [])?;
    transaction.commit()?;
    Ok((given, last))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn keys(numbers: std::ops::Range<u8>) -> Vec<[u8; 32]> {
        numbers.map(|number| [number; 32]).collect()
    }

    fn put(folder: &Path, numbers: std::ops::Range<u8>) {
        let values: ArrayRef = Arc::new(numbers.clone().map(i64::from).collect::<Int64Array>());
        DiskCache::open(folder).expect("a cache").put(&keys(numbers), &values, 1 << 20).expect("room");
    }

    fn found(folder: &Path, numbers: std::ops::Range<u8>) -> Vec<Option<i64>> {
        let found = DiskCache::open(folder).expect("a cache").get(&keys(numbers)).expect("an answer");
        let value =
            |place: &Option<(usize, usize)>| place.map(|(source, row)| found.sources[source].as_primitive::<Int64Type>().value(row));
        found.places.iter().map(value).collect()
    }

    #[test]
    fn two_machines_have_what_either_has_made() {
        let (one, other, store) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let url = store.path().to_string_lossy().into_owned();
        put(one.path(), 0..5);
        put(other.path(), 3..8);
        assert_eq!(give_shared_results(one.path(), &url).expect("given"), Shared { files: 1, results: 5 });
        assert_eq!(give_shared_results(one.path(), &url).expect("given"), Shared::default());
        assert_eq!(take_shared_results(other.path(), &url, 1 << 20).expect("taken"), Shared { files: 1, results: 3 });
        assert_eq!(take_shared_results(other.path(), &url, 1 << 20).expect("taken"), Shared::default());
        assert_eq!(found(other.path(), 0..9), [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7), None]);
        // What was taken is not given again, and one's own is not taken.
        assert_eq!(give_shared_results(other.path(), &url).expect("given"), Shared { files: 1, results: 5 });
        assert_eq!(take_shared_results(one.path(), &url, 1 << 20).expect("taken"), Shared { files: 1, results: 3 });
        assert_eq!(found(one.path(), 5..8), [Some(5), Some(6), Some(7)]);
        put(one.path(), 8..9);
        assert_eq!(give_shared_results(one.path(), &url).expect("given"), Shared { files: 1, results: 1 });
        // No more than there is room for.
        let third = tempfile::tempdir().expect("a folder");
        assert_eq!(take_shared_results(third.path(), &url, 1).expect("taken"), Shared::default());
    }
}
