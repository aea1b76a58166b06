//! Writing files under a folder or URL prefix, each called after its content.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use image::ImageFormat;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{DynObjectStore, Error as StoreError, ObjectStore, ObjectStoreExt, PutMode};
use sha2::{Digest, Sha256};

use super::access::{Place, locate_folder};
use super::remote::store_for;
use crate::error::{Error, Kind, Result};
use crate::execute::{Cancel, Limits};
use crate::io;
use crate::package::hex;

/// Bytes of the digest that name a file.
const NAME_BYTES: usize = 16;

/// Writes each value of a column of bytes under `prefix`, and returns where: a path, or a URL under a URL. A file is called after the
/// SHA-256 of its content, so that one that is there stays as it is, and appears as a whole. At most `mm.fetch_concurrency` are on
/// their way. `roots` are folders and URL prefixes that may be written to.
///
/// # Errors
/// [`Kind::Forbidden`] for a prefix outside the roots, [`Kind::Fetch`] where something cannot be written, [`Kind::Argument`] for a
/// column of anything else.
pub fn write_files(files: &ArrayRef, prefix: &str, roots: &[String], limits: &Limits, cancel: &Cancel) -> Result<Vec<Option<String>>> {
    let (store, folder, base) = open(prefix, roots, limits)?;
    let mut written = Vec::with_capacity(files.len());
    let most = limits.fetch_concurrency.max(1);
    for start in (0..files.len()).step_by(most) {
        // In pieces: all of a column may be more than one array of bytes has room for.
        let piece = cast(&files.slice(start, most.min(files.len() - start)), &DataType::Binary);
        let piece = piece.map_err(|error| Error::new(Kind::Argument, format!("cannot be written as bytes: {error}")))?;
        let given: Vec<Option<Bytes>> = piece.as_binary::<i32>().iter().map(|file| file.map(Bytes::copy_from_slice)).collect();
        let (store, folder, base) = (Arc::clone(&store), folder.clone(), base.clone());
        let all = stream::iter(given).map(move |file| put(Arc::clone(&store), folder.clone(), base.clone(), file)).buffered(most);
        written.extend(io::start(all.try_collect::<Vec<_>>())?.wait(cancel)?);
    }
    Ok(written)
}

/// The store, the folder in it, and what a URI begins with.
fn open(prefix: &str, roots: &[String], limits: &Limits) -> Result<(Arc<DynObjectStore>, StorePath, String)> {
    match locate_folder(prefix, roots)? {
        Place::Local(folder) => {
            let cannot = |error: &dyn std::fmt::Display| failed(prefix, error);
            std::fs::create_dir_all(&folder).map_err(|error| cannot(&error))?;
            let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| cannot(&error))?;
            let base = folder.join(Path::new("")).to_string_lossy().into_owned();
            Ok((Arc::new(store), StorePath::default(), base))
        }
        Place::Remote(url) => {
            let (store, folder) = store_for(&url, limits)?;
            Ok((store, folder, format!("{}/", url.as_str().trim_end_matches('/'))))
        }
    }
}

fn failed(place: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Fetch, format!("cannot write {place}: {error}")).with_hint("name a place that this process may write to")
}

async fn put(store: Arc<DynObjectStore>, folder: StorePath, base: String, file: Option<Bytes>) -> Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let name = format!("{}.{}", hex(&Sha256::digest(&file)[..NAME_BYTES]), extension(&file));
    let path = folder.join(name.as_str());
    let uri = format!("{base}{name}");
    let done = match store.put_opts(&path, file.clone().into(), PutMode::Create.into()).await.map(drop) {
        Err(StoreError::AlreadyExists { .. }) => Ok(()),
        // Not every store knows files that are made only where there is none.
        Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => store.put(&path, file.into()).await.map(drop),
        done => done,
    };
    done.map_err(|error| failed(&uri, &error))?;
    Ok(Some(uri))
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
    use arrow::array::{BinaryViewArray, StringArray};

    use super::*;

    fn written(prefix: &Path, root: &Path) -> Result<Vec<Option<String>>> {
        let files: BinaryViewArray = [Some(&b"fLaC and so on"[..]), None, Some(b"a text"), Some(b"a text")].into_iter().collect();
        let (limits, files) = (Limits { fetch_concurrency: 3, ..Limits::default() }, Arc::new(files) as ArrayRef);
        write_files(&files, &prefix.to_string_lossy(), &[root.to_string_lossy().into_owned()], &limits, &Cancel::default())
    }

    #[test]
    fn files_are_called_after_their_content() {
        let place = tempfile::tempdir().expect("a folder");
        let prefix = place.path().join("new/folder");
        let uris = written(&prefix, place.path()).expect("written");
        assert_eq!(written(&prefix, place.path()).expect("written again"), uris);
        assert!(uris[0].as_ref().is_some_and(|uri| uri.ends_with(".flac")) && uris[1].is_none());
        assert!(uris[2].as_ref().is_some_and(|uri| uri.ends_with(".bin")) && uris[2] == uris[3]);
        assert_eq!(std::fs::read(uris[2].as_ref().expect("a file")).expect("its bytes"), b"a text");
        assert_eq!(std::fs::read_dir(prefix).expect("a folder").count(), 2);
        let numbers: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let roots = [place.path().to_string_lossy().into_owned()];
        assert!(write_files(&numbers, &roots[0], &[], &Limits::default(), &Cancel::default()).is_err());
    }

    #[test]
    fn nothing_is_written_outside_the_roots() {
        let (root, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let outside = other.path().join("new");
        let mut prefixes = vec![outside.clone(), root.path().join("../x"), "s3://bucket/pictures".into(), "pictures".into(), "".into()];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(other.path(), root.path().join("link")).expect("a link");
            prefixes.push(root.path().join("link/new"));
        }
        for prefix in prefixes {
            let error = written(&prefix, root.path()).expect_err("refused");
            assert!(matches!(error.kind(), Kind::Forbidden | Kind::Fetch), "{}: {error}", prefix.display());
        }
        assert!(!outside.exists());
    }
}
