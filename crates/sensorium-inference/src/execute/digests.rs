//! SHA-256 of the bytes behind URIs, found again without reading them where nothing says that they have changed.
//!
//! A file is told by its size, its times and its number on the disk, as git's index does; an object by its strong entity tag
//! (RFC 9110, section 8.8.3). Other objects are taken to stay the same for one statement only.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, stream};
use hashlink::LruCache;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::cancel::Cancel;
use super::disk_cache::DiskCache;
use super::limits::Limits;
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::io;
use crate::media::{digest_remote, fetch_local, version_of};

/// The SHA-256 of a medium.
pub(crate) type Digest = [u8; 32];

/// Memory of one entry: a URI, a version and what the table itself takes.
const ENTRY_BYTES: usize = 512;
/// What is under way in a window is known, whatever `mm.cache_bytes` says.
const LEAST_ENTRIES: usize = 1 << 16;
/// A file that was changed so lately may change again without another time.
const SETTLED: Duration = Duration::from_secs(2);

/// What a session knows of media.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<Option<Known>>,
    /// Whether somebody will ask, so that what is read for a model is hashed on the way.
    are_wanted: AtomicBool,
}

#[derive(Debug)]
struct Known {
    /// By place: the version, and its bytes' digest.
    digests: LruCache<String, (String, Digest)>,
    /// Entity tags of objects, as of a statement.
    versions: LruCache<String, (u64, Option<String>)>,
    /// What a statement has made of files: keys, results or receipts, which must all be about the same bytes.
    files: LruCache<PathBuf, (u64, Digest)>,
}

impl Digests {
    /// Says that digests will be asked for.
    pub(super) fn expect(&self) {
        self.are_wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_wanted(&self) -> bool {
        self.are_wanted.load(Ordering::Relaxed)
    }

    /// As many entries as `mm.cache_bytes` has room for.
    fn known(&self, limits: &Limits) -> (MutexGuard<'_, Option<Known>>, usize) {
        let most = (limits.cache_bytes / ENTRY_BYTES).max(LEAST_ENTRIES);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own =
            known.get_or_insert_with(|| Known { digests: LruCache::new(most), versions: LruCache::new(most), files: LruCache::new(most) });
        if own.digests.capacity() != most {
            own.digests.set_capacity(most);
            own.versions.set_capacity(most);
            own.files.set_capacity(most);
        }
        (known, most)
    }

    fn look_up(&self, place: &str, version: &str, limits: &Limits) -> Option<Digest> {
        let (mut known, _) = self.known(limits);
        known.as_mut()?.digests.get(place).filter(|(other, _)| other == version).map(|(_, digest)| *digest)
    }

    fn keep(&self, place: &str, version: &str, digest: Digest, limits: &Limits) {
        let (mut known, most) = self.known(limits);
        if let Some(known) = known.as_mut().filter(|_| most > 0) {
            known.digests.insert(place.to_string(), (version.to_string(), digest));
        }
    }

    /// Notes the bytes of an object that was read for a model.
    pub(super) fn saw(&self, url: &Url, statement: u64, bytes: &[u8], limits: &Limits) {
        if self.are_wanted() {
            let version = self.expected(url, statement, limits).unwrap_or_else(|| in_statement(statement));
            self.keep(url.as_str(), &version, Sha256::digest(bytes).into(), limits);
        }
    }

    /// Notes the bytes of a file that were read for a model.
    ///
    /// # Errors
    /// [`Kind::Fetch`] where the statement has made a key of others: the file was changed in between.
    pub(super) fn saw_file(&self, path: &Path, statement: u64, bytes: &[u8], limits: &Limits) -> Result<()> {
        let expected = self.file(path, statement, limits);
        if expected.is_none() && !self.are_wanted() {
            return Ok(());
        }
        let digest: Digest = Sha256::digest(bytes).into();
        if expected.is_some_and(|expected| expected != digest) {
            self.forget_file(path, limits);
            return Err(Error::new(Kind::Fetch, format!("{} was changed while the query was running", path.display())).retryable());
        }
        self.note_file(path, statement, digest, limits);
        Ok(())
    }

    /// The digest that the statement goes by for a file.
    fn file(&self, path: &Path, statement: u64, limits: &Limits) -> Option<Digest> {
        let (mut known, _) = self.known(limits);
        known.as_mut()?.files.get(path).filter(|(other, _)| *other == statement).map(|(_, digest)| *digest)
    }

    fn note_file(&self, path: &Path, statement: u64, digest: Digest, limits: &Limits) {
        let (mut known, _) = self.known(limits);
        if let Some(known) = known.as_mut() {
            known.files.insert(path.to_path_buf(), (statement, digest));
        }
    }

    fn forget_file(&self, path: &Path, limits: &Limits) {
        let (mut known, _) = self.known(limits);
        if let Some(known) = known.as_mut() {
            known.files.remove(path);
        }
    }

    /// Has the next look at an object ask for its version again: it is another one than it was.
    pub(super) fn forget_version(&self, url: &Url, limits: &Limits) {
        let (mut known, _) = self.known(limits);
        if let Some(known) = known.as_mut() {
            known.versions.remove(url.as_str());
        }
    }

    /// The version that an object has had when the statement first looked at it.
    pub(super) fn expected(&self, url: &Url, statement: u64, limits: &Limits) -> Option<String> {
        let (mut known, _) = self.known(limits);
        known.as_mut()?.versions.get(url.as_str()).filter(|(other, _)| *other == statement).and_then(|(_, version)| version.clone())
    }

    /// Digests of files; none of such as cannot be read.
    pub(super) fn of_files(
        &self,
        paths: &[PathBuf],
        statement: u64,
        limits: &Limits,
        disk: Option<&DiskCache>,
    ) -> Result<HashMap<PathBuf, Digest>> {
        let (mut seen, mut different) = (HashMap::new(), Vec::new());
        for path in paths.iter().collect::<HashSet<_>>() {
            match self.file(path, statement, limits) {
                Some(digest) => drop(seen.insert(path.clone(), digest)),
                None => different.push(path),
            }
        }
        let found = self.of_unseen_files(different, limits, disk)?;
        found.iter().for_each(|(path, digest)| self.note_file(path, statement, *digest, limits));
        seen.extend(found);
        Ok(seen)
    }

    fn of_unseen_files(&self, different: Vec<&PathBuf>, limits: &Limits, disk: Option<&DiskCache>) -> Result<HashMap<PathBuf, Digest>> {
        let states =
            workers::map(different.len(), FILES_OF_A_TASK, |place| std::fs::metadata(different[place]).ok().map(|facts| state_of(&facts)))?;
        let (mut found, mut open) = (HashMap::new(), Vec::new());
        for (path, state) in different.into_iter().zip(states) {
            let Some(state) = state else { continue };
            match self.look_up(&path.to_string_lossy(), &state, limits) {
                Some(digest) => drop(found.insert(path.clone(), digest)),
                None => open.push((path, state)),
            }
        }
        if let Some(disk) = disk {
            let kept =
                disk.media(&open.iter().map(|(path, state)| (path.to_string_lossy().into_owned(), state.clone())).collect::<Vec<_>>())?;
            let mut rest = Vec::new();
            for ((path, state), digest) in open.into_iter().zip(kept) {
                match digest {
                    Some(digest) => {
                        self.keep(&path.to_string_lossy(), &state, digest, limits);
                        found.insert(path.clone(), digest);
                    }
                    None => rest.push((path, state)),
                }
            }
            open = rest;
        }
        let read = workers::map(open.len(), 1, |place| {
            let (path, state) = &open[place];
            let digest: Digest = Sha256::digest(fetch_local(path, limits).ok()?).into();
            Some((digest, is_settled(path, state)))
        })?;
        let mut lasting = Vec::new();
        for ((path, state), (digest, is_settled)) in open.into_iter().zip(read).filter_map(|(file, read)| Some((file, read?))) {
            if is_settled {
                self.keep(&path.to_string_lossy(), &state, digest, limits);
                lasting.push((path.to_string_lossy().into_owned(), state, digest));
            }
            found.insert(path.clone(), digest);
        }
        if let Some(disk) = disk {
            disk.keep_media(&lasting, limits.cache_disk_bytes)?;
        }
        Ok(found)
    }

    /// Strong entity tags of objects, asked for once in a statement; none of such as have none or cannot be reached.
    pub(super) fn versions(&self, urls: &[Url], statement: u64, limits: &Limits, cancel: &Cancel) -> Result<HashMap<Url, Option<String>>> {
        let (mut found, mut open) = (HashMap::new(), Vec::new());
        for url in urls.iter().collect::<HashSet<_>>() {
            let (mut known, _) = self.known(limits);
            match known.as_mut().and_then(|known| known.versions.get(url.as_str())).filter(|(other, _)| *other == statement) {
                Some((_, version)) => drop(found.insert(url.clone(), version.clone())),
                None => open.push(url.clone()),
            }
        }
        let own = limits.clone();
        let asked = async move {
            let ask = |url: Url| {
                let limits = own.clone();
                async move { (version_of(&url, &limits).await, url) }
            };
            Ok(stream::iter(open).map(ask).buffer_unordered(own.fetch_concurrency.max(1)).collect::<Vec<_>>().await)
        };
        for (version, url) in io::start(asked)?.wait(cancel)? {
            let (mut known, most) = self.known(limits);
            if let Some(known) = known.as_mut().filter(|_| most > 0) {
                known.versions.insert(url.to_string(), (statement, version.clone()));
            }
            found.insert(url, version);
        }
        Ok(found)
    }

    /// Digests of objects; none of such as cannot be read. What the statement has read for a model is not read again.
    pub(super) fn of_objects(
        &self,
        urls: &[Url],
        statement: u64,
        limits: &Limits,
        cancel: &Cancel,
        disk: Option<&DiskCache>,
    ) -> Result<HashMap<Url, Digest>> {
        let versions = if disk.is_some() { self.versions(urls, statement, limits, cancel)? } else { HashMap::new() };
        let lasting = |url: &Url| versions.get(url).cloned().flatten();
        let expected = versions.clone();
        let (mut found, mut open) = (HashMap::new(), Vec::new());
        for url in urls.iter().collect::<HashSet<_>>() {
            let version = lasting(url).unwrap_or_else(|| in_statement(statement));
            match self.look_up(url.as_str(), &version, limits) {
                Some(digest) => drop(found.insert(url.clone(), digest)),
                None => open.push((url.clone(), version)),
            }
        }
        if let Some(disk) = disk {
            let kept = disk.media(&open.iter().map(|(url, version)| (url.to_string(), version.clone())).collect::<Vec<_>>())?;
            let mut rest = Vec::new();
            for (object, digest) in open.into_iter().zip(kept) {
                match digest {
                    Some(digest) => drop(found.insert(object.0, digest)),
                    None => rest.push(object),
                }
            }
            open = rest;
        }
        let own = limits.clone();
        let read = async move {
            let read = |(url, version): (Url, String)| {
                let limits = own.clone();
                let expected = expected.get(&url).cloned().flatten();
                async move { (digest_remote(&url, expected.as_deref(), &limits).await.ok(), url, version) }
            };
            Ok(stream::iter(open).map(read).buffer_unordered(own.fetch_concurrency.max(1)).collect::<Vec<_>>().await)
        };
        for (digest, url, version) in io::start(read)?.wait(cancel)? {
            if let Some(digest) = digest {
                self.keep(url.as_str(), &version, digest, limits);
                found.insert(url, digest);
            }
        }
        if let Some(disk) = disk {
            let kept = found.iter().filter_map(|(url, digest)| Some((url.to_string(), lasting(url)?, *digest)));
            disk.keep_media(&kept.collect::<Vec<_>>(), limits.cache_disk_bytes)?;
        }
        Ok(found)
    }
}

/// Looking at a file takes microseconds.
const FILES_OF_A_TASK: usize = 64;

fn in_statement(statement: u64) -> String {
    format!("statement {statement}")
}

/// What tells a file's content from an earlier one.
fn state_of(facts: &Metadata) -> String {
    let time = |time: std::io::Result<SystemTime>| {
        time.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default().as_nanos()
    };
    format!("{} {}{}", facts.len(), time(facts.modified()), identity(facts))
}

/// The time of the last change of any kind, which cannot be set, and the number on the disk.
#[cfg(unix)]
fn identity(facts: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(" {}.{:09} {}", facts.ctime(), facts.ctime_nsec(), facts.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> String {
    String::new()
}

/// Whether a file that was read is the one that was looked at, and was left alone for a while.
fn is_settled(path: &Path, state: &str) -> bool {
    let Ok(facts) = std::fs::metadata(path) else { return false };
    let is_old = facts.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > SETTLED);
    is_old && state_of(&facts) == state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(digests: &Digests, path: &Path, disk: &DiskCache) -> Digest {
        let path = path.to_path_buf();
        digests.of_files(std::slice::from_ref(&path), 0, &Limits::default(), Some(disk)).expect("an answer")[&path]
    }

    #[test]
    fn a_file_is_read_again_only_where_it_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = DiskCache::open(folder.path()).expect("a cache");
        let path = folder.path().join("picture");
        let past = SystemTime::now() - Duration::from_secs(60);
        let write = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(past)).expect("a time");
        };
        write("one");
        let digest = |text: &str| -> Digest { Sha256::digest(text).into() };
        assert_eq!(digest_of(&Digests::default(), &path, &disk), digest("one"));
        // Another process finds it on the disk.
        let state = state_of(&std::fs::metadata(&path).expect("facts"));
        assert_eq!(disk.media(&[(path.to_string_lossy().into_owned(), state)]).expect("an answer"), [Some(digest("one"))]);
        // As long, and as old as the other says.
        write("two");
        assert_eq!(digest_of(&Digests::default(), &path, &disk), digest("two"));
        assert_eq!(digest_of(&Digests::default(), &path, &disk), digest("two"));
        // Fresh files are not trusted.
        std::fs::write(&path, "new").expect("a file");
        assert_eq!(digest_of(&Digests::default(), &path, &disk), digest("new"));
        let state = state_of(&std::fs::metadata(&path).expect("facts"));
        assert_eq!(disk.media(&[(path.to_string_lossy().into_owned(), state)]).expect("an answer"), [None]);
    }
}
