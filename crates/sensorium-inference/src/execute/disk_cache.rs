//! Results that outlive the process: one SQLite file that many processes may use at once.
//!
//! Only results whose key says everything about a row's content are kept here; see [`super::keys`].

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::keys::RowKey;
use crate::error::{Error, Kind, Result};
use crate::sqlite::open_shared;

const FILE: &str = "results.sqlite";
/// Layout of the tables; another one is refused.
const VERSION: i64 = 2;
/// Results that were used so lately need no new date.
const SAME_TIME_S: u64 = 3_600;

pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS chunk (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, used INTEGER NOT NULL, data BLOB NOT NULL, is_taken INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS entry (key BLOB PRIMARY KEY, chunk INTEGER NOT NULL, row INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS entry_chunk ON entry (chunk);
    CREATE INDEX IF NOT EXISTS chunk_used ON chunk (used);
    CREATE TABLE IF NOT EXISTS medium (id INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL UNIQUE, version TEXT NOT NULL, digest BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS shared (name TEXT PRIMARY KEY, chunk INTEGER NOT NULL);";
/// What a medium takes in the file, its place being a path or URL.
const MEDIUM_BYTES: usize = 512;

/// The cache in one folder.
#[derive(Debug)]
pub(super) struct DiskCache {
    connection: Mutex<Connection>,
    place: PathBuf,
}

/// The rows that were found: for each key its source and the row there.
pub(super) struct OnDisk {
    pub(super) sources: Vec<ArrayRef>,
    pub(super) places: Vec<Option<(usize, usize)>>,
}

impl DiskCache {
    /// Opens or makes the cache in `folder`.
    ///
    /// # Errors
    /// [`Kind::Setting`] where the folder cannot be used, or holds the cache of another release.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let place = folder.join(FILE);
        let failed = |error: &dyn std::fmt::Display| {
            Error::new(Kind::Setting, format!("mm.cache_path: {} cannot be used: {error}", place.display()))
                .with_hint("SET mm.cache_path to a folder that may be written, or to '' for none")
        };
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let mut connection = open_shared(&place)?;
            // A result that is lost with the power is computed again.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(TABLES)?;
            let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                connection.pragma_update(None, "user_version", VERSION)?;
            }
            let version = if version == 1 { widen(&mut connection)? } else { version };
            Ok((connection, if version == 0 { VERSION } else { version }))
        };
        match open() {
            Ok((connection, VERSION)) => Ok(Self { connection: Mutex::new(connection), place }),
            Ok((_, version)) => Err(failed(&format!("its layout is {version}, expected {VERSION}"))),
            Err(error) => Err(failed(&error)),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the file.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&mut self.connection()).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(Kind::Runtime, format!("cannot use {}: {error}", self.place.display()))
            .with_hint("delete the file, or SET mm.cache_path = ''")
    }

    /// Looks all keys up.
    pub(super) fn get(&self, keys: &[RowKey]) -> Result<OnDisk> {
        let mut connection = self.connection();
        let (entries, chunks) = look_up(&mut connection, keys).map_err(|error| self.failed(&error))?;
        touch(&connection, chunks.keys()).or_else(|error| if may_pass(&error) { Ok(()) } else { Err(self.failed(&error)) })?;
        drop(connection);
        let (mut sources, mut numbers) = (Vec::new(), HashMap::new());
        for (chunk, data) in chunks {
            numbers.insert(chunk, sources.len());
            sources.push(read(data).map_err(|error| self.failed(&error))?);
        }
        let place = |entry: Option<Place>| {
            let Place { chunk, row } = entry?;
            let source = *numbers.get(&chunk)?;
            (row < sources[source].len()).then_some((source, row))
        };
        let places = entries.into_iter().map(place).collect();
        Ok(OnDisk { sources, places })
    }

    /// Digests of media, by place and version, as far as they are known.
    pub(super) fn media(&self, media: &[(String, String)]) -> Result<Vec<Option<[u8; 32]>>> {
        if media.is_empty() {
            return Ok(Vec::new());
        }
        look_up_media(&mut self.connection(), media).map_err(|error| self.failed(&error))
    }

    /// Keeps the digests of media in place of those of their earlier versions, and drops the oldest beyond `max_bytes`. A disk that is
    /// full keeps nothing new.
    pub(super) fn keep_media(&self, media: &[Medium], max_bytes: usize) -> Result<()> {
        if media.is_empty() {
            return Ok(());
        }
        match insert_media(&mut self.connection(), media, max_bytes / MEDIUM_BYTES) {
            Err(error) if may_pass(&error) => Ok(()),
            result => result.map_err(|error| self.failed(&error)),
        }
    }

    /// Keeps row `i` of `values` under `keys[i]`, and drops what was not used for longest until `max_bytes` hold. A disk
    /// that is full keeps nothing new.
    pub(super) fn put(&self, keys: &[RowKey], values: &ArrayRef, max_bytes: usize) -> Result<()> {
        let data = write(values).map_err(|error| self.failed(&error))?;
        if keys.is_empty() || data.len() > max_bytes {
            return Ok(());
        }
        match insert(&mut self.connection(), keys, &data, max_bytes) {
            Err(error) if may_pass(&error) => Ok(()),
            result => result.map_err(|error| self.failed(&error)),
        }
    }
}

/// Brings tables of the first layout to this one; returns the layout.
fn widen(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Another process may have been first.
    if version == 1 {
        transaction.execute_batch("ALTER TABLE chunk ADD COLUMN is_taken INTEGER NOT NULL DEFAULT 0")?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(VERSION)
}

/// A medium's place, what tells its content from an earlier one, and the SHA-256 of its bytes.
pub(super) type Medium = (String, String, [u8; 32]);

/// Where a result lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: i64,
    row: usize,
}

/// The place of each key, and the chunks by their numbers.
type LookedUp = (Vec<Option<Place>>, HashMap<i64, Vec<u8>>);

fn look_up(connection: &mut Connection, keys: &[RowKey]) -> rusqlite::Result<LookedUp> {
    // One view of the file, so that no chunk is evicted between its entry and its data.
    let transaction = connection.transaction()?;
    let mut entry = transaction.prepare_cached("SELECT chunk, row FROM entry WHERE key = ?1")?;
    let mut data = transaction.prepare_cached("SELECT data FROM chunk WHERE id = ?1")?;
    let mut chunks = HashMap::new();
    let mut places = Vec::with_capacity(keys.len());
    for key in keys {
        let place = entry.query_row([key.as_slice()], |row| Ok(Place { chunk: row.get(0)?, row: row.get(1)? })).optional()?;
        if let Some(Place { chunk, .. }) = place
            && !chunks.contains_key(&chunk)
        {
            chunks.insert(chunk, data.query_row([chunk], |row| row.get(0))?);
        }
        places.push(place);
    }
    Ok((places, chunks))
}

fn look_up_media(connection: &mut Connection, media: &[(String, String)]) -> rusqlite::Result<Vec<Option<[u8; 32]>>> {
    let transaction = connection.transaction()?;
    let mut digest = transaction.prepare_cached("SELECT digest FROM medium WHERE place = ?1 AND version = ?2")?;
    media.iter().map(|(place, version)| digest.query_row([place, version], |row| row.get(0)).optional()).collect()
}

fn insert_media(connection: &mut Connection, media: &[Medium], most: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO medium (place, version, digest) VALUES (?1, ?2, ?3)")?;
    for (place, version, digest) in media {
        insert.execute(params![place, version, digest.as_slice()])?;
    }
    drop(insert);
    // Numbers grow, so that those far below the last one are the oldest.
    transaction.execute("DELETE FROM medium WHERE id <= (SELECT max(id) FROM medium) - ?1", params![most])?;
    transaction.commit()
}

/// Dates chunks as used now, which decides the order of eviction.
fn touch<'a>(connection: &Connection, chunks: impl Iterator<Item = &'a i64>) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached("UPDATE chunk SET used = ?1 WHERE id = ?2 AND used < ?3")?;
    let now = now();
    for chunk in chunks {
        update.execute(params![now, chunk, now.saturating_sub(SAME_TIME_S)])?;
    }
    Ok(())
}

fn insert(connection: &mut Connection, keys: &[RowKey], data: &[u8], max_bytes: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("INSERT INTO chunk (bytes, used, data) VALUES (?1, ?2, ?3)", params![data.len(), now(), data])?;
    let chunk = transaction.last_insert_rowid();
    let mut entry = transaction.prepare_cached("INSERT OR REPLACE INTO entry (key, chunk, row) VALUES (?1, ?2, ?3)")?;
    for (row, key) in keys.iter().enumerate() {
        entry.execute(params![key.as_slice(), chunk, row])?;
    }
    drop(entry);
    evict(&transaction, max_bytes)?;
    transaction.commit()
}

/// Drops what was not used for longest until `max_bytes` hold.
pub(super) fn evict(connection: &Connection, max_bytes: usize) -> rusqlite::Result<()> {
    let mut total: usize = connection.query_row("SELECT coalesce(sum(bytes), 0) FROM main.chunk", [], |row| row.get(0))?;
    while total > max_bytes {
        let oldest = "SELECT id, bytes FROM main.chunk ORDER BY used, id LIMIT 1";
        let (id, bytes): (i64, usize) = connection.query_row(oldest, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        connection.execute("DELETE FROM main.entry WHERE chunk = ?1", [id])?;
        connection.execute("DELETE FROM main.chunk WHERE id = ?1", [id])?;
        total -= bytes;
    }
    Ok(())
}

/// Of what may pass: a disk that is full, or another process that writes for long. Nothing new is kept then.
fn may_pass(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn write(values: &ArrayRef) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let batch = RecordBatch::try_from_iter_with_nullable([("value", Arc::clone(values), true)])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    writer.into_inner()
}

fn read(data: Vec<u8>) -> Result<ArrayRef, arrow::error::ArrowError> {
    let mut reader = StreamReader::try_new(Cursor::new(data), None)?;
    let batch = reader.next().ok_or_else(|| arrow::error::ArrowError::IpcError("an empty chunk".into()))??;
    Ok(Arc::clone(batch.column(0)))
}

/// The cache that a session uses, opened when `mm.cache_path` names one.
#[derive(Debug, Default)]
pub(super) struct OpenedDiskCache(Mutex<Option<(PathBuf, Arc<DiskCache>)>>);

impl OpenedDiskCache {
    /// The cache in `folder`; that of the last call is kept open.
    pub(super) fn of(&self, folder: &Path) -> Result<Arc<DiskCache>> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, cache)) = opened.as_ref()
            && path == folder
        {
            return Ok(Arc::clone(cache));
        }
        let cache = Arc::new(DiskCache::open(folder)?);
        *opened = Some((folder.to_path_buf(), Arc::clone(&cache)));
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;

    use super::*;

    fn keys(numbers: std::ops::Range<u8>) -> Vec<RowKey> {
        numbers.map(|number| [number; 32]).collect()
    }

    fn values(numbers: std::ops::Range<i64>) -> ArrayRef {
        Arc::new(numbers.collect::<Int64Array>())
    }

    #[test]
    fn two_handles_see_each_others_results() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (DiskCache::open(folder.path()).expect("a cache"), DiskCache::open(folder.path()).expect("a cache"));
        one.put(&keys(0..5), &values(0..5), 1 << 20).expect("room");
        other.put(&keys(5..9), &values(50..54), 1 << 20).expect("room");
        let found = one.get(&keys(3..10)).expect("an answer");
        let value = |place: &Option<(usize, usize)>| {
            place.map(|(source, row)| arrow::array::AsArray::as_primitive::<Int64Type>(&found.sources[source]).value(row))
        };
        let all: Vec<Option<i64>> = found.places.iter().map(value).collect();
        assert_eq!(all, [Some(3), Some(4), Some(50), Some(51), Some(52), Some(53), None]);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = DiskCache::open(folder.path()).expect("a cache");
        let size = write(&values(0..1)).expect("bytes").len();
        for number in 0..20 {
            cache.put(&keys(number..number + 1), &values(0..1), 5 * size).expect("room");
        }
        let found = cache.get(&keys(0..20)).expect("an answer");
        assert!(found.places[..15].iter().all(Option::is_none) && found.places[15..].iter().all(Option::is_some));
    }

    #[test]
    fn a_file_that_is_no_cache_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), "not a database, but long enough to look like one").expect("a file");
        assert_eq!(DiskCache::open(folder.path()).expect_err("refused").kind(), Kind::Setting);
    }
}
