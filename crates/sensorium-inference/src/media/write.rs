//! Writing files under a folder or URL prefix, each called after its content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use bytes::Bytes;
use futures::{StreamExt, stream};
use image::ImageFormat;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{DynObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::access::{MediaAccess, Place};
use super::remote::store_for;
use crate::error::{Error, Kind, Result};
use crate::execute::{Cancel, Limits};
use crate::io;
use crate::package::hex;

/// Bytes of the digest that name a file.
const NAME_BYTES: usize = 16;

/// Writes each of `files` under `prefix`, and returns where: a path, or a URL under a URL. A file is called after the SHA-256 of its
/// content, so that writing it again changes nothing, and replaces a whole file at once. At most `mm.fetch_concurrency` are on their way.
///
/// # Errors
/// [`Kind::Forbidden`] for a prefix outside the roots of the session, else [`Kind::Fetch`] for each file that cannot be written.
pub fn write_files(
    files: &BinaryArray,
    prefix: &str,
    access: &MediaAccess,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<Vec<Option<Result<String>>>> {
    let (store, folder, base) = open(prefix, access, limits)?;
    let mut written = Vec::with_capacity(files.len());
    let most = limits.fetch_concurrency.max(1);
    for start in (0..files.len()).step_by(most) {
        let rows = start..files.len().min(start + most);
        let given: Vec<Option<Bytes>> = rows.map(|row| files.is_valid(row).then(|| Bytes::copy_from_slice(files.value(row)))).collect();
        let (store, folder, base) = (Arc::clone(&store), folder.clone(), base.clone());
        let all = stream::iter(given).map(move |file| put(Arc::clone(&store), folder.clone(), base.clone(), file)).buffered(most);
        written.extend(io::start(async move { Ok(all.collect::<Vec<_>>().await) })?.wait(cancel)?);
    }
    Ok(written)
}

/// The store, the folder in it, and what a URI begins with.
fn open(prefix: &str, access: &MediaAccess, limits: &Limits) -> Result<(Arc<DynObjectStore>, StorePath, String)> {
    let cannot = |error: &dyn std::fmt::Display| Error::new(Kind::Fetch, format!("cannot write to {prefix}: {error}"));
    match access.locate_folder(prefix)? {
        Place::Local(folder) => {
            std::fs::create_dir_all(&folder).map_err(|error| cannot(&error))?;
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| cannot(&error))?;
            Ok((Arc::new(store), StorePath::default(), local_base(&folder)))
        }
        Place::Remote(url) => {
            let (store, folder) = store_for(&url, limits)?;
            Ok((store, folder, format!("{}/", url.as_str().trim_end_matches('/'))))
        }
    }
}

fn local_base(folder: &Path) -> String {
    let inside: PathBuf = folder.join("");
    inside.to_string_lossy().into_owned()
}

async fn put(store: Arc<DynObjectStore>, folder: StorePath, base: String, file: Option<Bytes>) -> Option<Result<String>> {
    let file = file?;
    let name = format!("{}.{}", hex(&Sha256::digest(&file)[..NAME_BYTES]), extension(&file));
    let failed = |error: object_store::Error| Error::new(Kind::Fetch, format!("cannot write {base}{name}: {error}"));
    let done = store.put(&folder.clone().join(name.as_str()), file.into()).await;
    Some(done.map(|_| format!("{base}{name}")).map_err(failed))
}

/// As the first bytes say; `bin` where they say nothing.
fn extension(file: &[u8]) -> &'static str {
    let sound = match file {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some("wav"),
        [b'f', b'L', b'a', b'C', ..] => Some("flac"),
        _ => None,
    };
    let picture = || image::guess_format(file).ok().and_then(|format: ImageFormat| format.extensions_str().first().copied());
    sound.or_else(picture).unwrap_or("bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(prefix: &str, access: &MediaAccess) -> Result<Vec<Option<Result<String>>>> {
        let files = BinaryArray::from_opt_vec(vec![Some(&b"fLaC and so on"[..]), None, Some(b"a text"), Some(b"a text")]);
        write_files(&files, prefix, access, &Limits::default(), &Cancel::default())
    }

    #[test]
    fn files_are_called_after_their_content() {
        let place = tempfile::tempdir().expect("a folder");
        let access = MediaAccess { allowed_roots: vec![place.path().to_string_lossy().into_owned()], ..MediaAccess::default() };
        let prefix = place.path().join("new/folder");
        let found = written(&prefix.to_string_lossy(), &access).expect("written");
        let uris: Vec<Option<String>> = found.into_iter().map(|uri| uri.map(|uri| uri.expect("written"))).collect();
        assert!(uris[0].as_ref().is_some_and(|uri| uri.ends_with(".flac")) && uris[1].is_none());
        assert!(uris[2].as_ref().is_some_and(|uri| uri.ends_with(".bin")) && uris[2] == uris[3]);
        assert_eq!(std::fs::read(uris[2].as_ref().expect("a file")).expect("its bytes"), b"a text");
        assert_eq!(std::fs::read_dir(prefix).expect("a folder").count(), 2);
    }

    #[test]
    fn nothing_is_written_outside_the_roots() {
        let (root, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let access = MediaAccess { allowed_roots: vec![root.path().to_string_lossy().into_owned()], ..MediaAccess::default() };
        let outside = other.path().join("new");
        let mut prefixes = vec![outside.to_string_lossy().into_owned(), root.path().join("../x").to_string_lossy().into_owned()];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(other.path(), root.path().join("link")).expect("a link");
            prefixes.push(root.path().join("link/new").to_string_lossy().into_owned());
        }
        for prefix in prefixes.into_iter().chain(["s3://bucket/pictures".into(), String::new()]) {
            let error = written(&prefix, &access).expect_err("refused");
            assert!(matches!(error.kind(), Kind::Forbidden | Kind::Fetch), "{prefix}: {error}");
        }
        assert!(!outside.exists());
    }
}
