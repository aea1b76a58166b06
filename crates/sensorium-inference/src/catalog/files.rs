//! The files of versions: up into the catalog by content, down into a folder of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use object_store::{GetResultPayload, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::store::{Catalog, store_error};
use super::version::ModelVersion;
use crate::error::{Error, Kind, Result};
use crate::onnx::GraphFacts;
use crate::package::{Draft, FileRecord, Modality, Prediction, digest, hex, is_inside};
use crate::runtime::cache_dir;

/// Pieces in which files travel.
const PART_BYTES: usize = 8 << 20;
/// Parts under way at once.
const PARTS_IN_FLIGHT: usize = 4;

fn file_error(action: &str, path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Catalog, format!("cannot {action} {}: {error}", path.display()))
}

/// Puts every file of the draft under its digest; what is there already, undamaged, is not sent again.
pub(super) async fn upload(catalog: &Catalog, draft: &Draft) -> Result<()> {
    for (file, record) in &draft.manifest.files {
        let target = catalog.blob(&record.sha256);
        if is_stored(catalog, record).await {
            continue;
        }
        let source = draft.root.join(file);
        let failed = |error: &object_store::Error| store_error("write", &target, error);
        let mut reader = tokio::fs::File::open(&source).await.map_err(|error| file_error("read", &source, &error))?;
        // A multipart upload appears under its name only when it is complete.
        let upload = catalog.store.put_multipart(&target).await.map_err(|error| failed(&error))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let (mut buffer, mut hash) = (vec![0; PART_BYTES], Sha256::new());
        loop {
            let count = reader.read(&mut buffer).await.map_err(|error| file_error("read", &source, &error))?;
            if count == 0 {
                break;
            }
            writer.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|error| failed(&error))?;
            hash.update(&buffer[..count]);
            writer.write(&buffer[..count]);
        }
        if hex(&hash.finalize()) != record.sha256 {
            writer.abort().await.map_err(|error| failed(&error))?;
            return Err(Error::new(Kind::Catalog, format!("{} was changed while it was read", source.display())).retryable());
        }
        writer.finish().await.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Whether the catalog holds the file with the content that its name promises.
async fn is_stored(catalog: &Catalog, record: &FileRecord) -> bool {
    let Ok(found) = catalog.store.get(&catalog.blob(&record.sha256)).await else { return false };
    if found.meta.size != record.bytes {
        return false;
    }
    let (mut hash, mut parts) = (Sha256::new(), found.into_stream());
    while let Some(part) = parts.next().await {
        let Ok(part) = part else { return false };
        hash.update(&part);
    }
    hex(&hash.finalize()) == record.sha256
}

/// The files of a version that are not stored with the content that their names promise.
pub(super) async fn damaged(catalog: &Catalog, version: &ModelVersion) -> Vec<String> {
    let mut damaged = Vec::new();
    for (file, record) in &version.manifest.files {
        if !is_stored(catalog, record).await {
            damaged.push(file.clone());
        }
    }
    damaged
}

/// The folder with the version's files; made at first use, verified at every use.
pub(super) async fn materialise(catalog: &Catalog, version: &ModelVersion) -> Result<PathBuf> {
    let parent = cache_dir()?.join("loaded");
    let folder = parent.join(version.manifest.graphs_sha256());
    if folder.is_dir() {
        match verify(&folder, version) {
            Ok(()) => return Ok(folder),
            // Another copy than the catalog's was damaged: make it again from the catalog.
            Err(_) => fs::remove_dir_all(&folder).map_err(|error| file_error("remove", &folder, &error))?,
        }
    }
    fs::create_dir_all(&parent).map_err(|error| file_error("make", &parent, &error))?;
    let staging = TempDir::new_in(&parent).map_err(|error| file_error("write to", &parent, &error))?;
    for (file, record) in &version.manifest.files {
        // A catalog may be somebody else's.
        if !is_inside(file) {
            return Err(Error::new(Kind::Catalog, format!("model {} names a file outside its folder: {file}", version.pinned())));
        }
        let target = staging.path().join(file);
        if let Some(above) = target.parent() {
            fs::create_dir_all(above).map_err(|error| file_error("make", above, &error))?;
        }
        download(catalog, record, &target).await?;
    }
    verify(staging.path(), version)?;
    check_graphs(staging.path(), version)?;
    let staged = staging.keep();
    match fs::rename(&staged, &folder) {
        Ok(()) => {}
        // Another process was faster; both copies were verified.
        Err(_) if folder.is_dir() => drop(fs::remove_dir_all(&staged)),
        Err(error) => return Err(file_error("rename", &staged, &error)),
    }
    Ok(folder)
}

async fn download(catalog: &Catalog, record: &FileRecord, target: &Path) -> Result<()> {
    let source = catalog.blob(&record.sha256);
    let failed = |error: &object_store::Error| store_error("read", &source, error);
    let found = catalog.store.get(&source).await.map_err(|error| failed(&error))?;
    if let GetResultPayload::File(_, path) = &found.payload {
        // A catalog on the same disk costs a link, on another one a copy.
        return fs::hard_link(path, target)
            .or_else(|_| fs::copy(path, target).map(|_| ()))
            .map_err(|error| file_error("write", target, &error));
    }
    let mut writer = tokio::fs::File::create(target).await.map_err(|error| file_error("write", target, &error))?;
    let mut parts = found.into_stream();
    while let Some(part) = parts.try_next().await.map_err(|error| failed(&error))? {
        writer.write_all(&part).await.map_err(|error| file_error("write", target, &error))?;
    }
    writer.flush().await.map_err(|error| file_error("write", target, &error))
}

/// A catalog may be somebody else's: its manifests may name no graph, tokenizer or weights but their own files.
fn check_graphs(folder: &Path, version: &ModelVersion) -> Result<()> {
    let manifest = &version.manifest;
    let own = |file: &str| {
        let is_own = is_inside(file) && manifest.files.contains_key(file);
        let strange = || Error::new(Kind::Catalog, format!("model {} reads a file that is not one of its own: {file}", version.pinned()));
        if is_own { Ok(()) } else { Err(strange()) }
    };
    if manifest.endpoint.is_some() {
        let strange = || Error::new(Kind::Catalog, format!("model {} is at an endpoint and has files", version.pinned()));
        return if manifest.files.is_empty() { Ok(()) } else { Err(strange()) };
    }
    for input in &manifest.inputs {
        if let Modality::Text(spec) = &input.modality {
            own(&spec.tokenizer)?;
        }
    }
    if let Prediction::Transcript { speech } = &manifest.prediction {
        own(&speech.tokenizer)?;
    }
    if let Prediction::Text { generation } = &manifest.prediction {
        own(&generation.tokenizer)?;
    }
    for stage in &manifest.stages {
        own(&stage.graph)?;
        let path = folder.join(&stage.graph);
        let bytes = fs::read(&path).map_err(|error| file_error("read", &path, &error))?;
        let beside = Path::new(&stage.graph).parent().unwrap_or(Path::new(""));
        for weights in &GraphFacts::read(&stage.graph, &bytes)?.external_files {
            own(&beside.join(weights).to_string_lossy())?;
        }
    }
    Ok(())
}

fn verify(folder: &Path, version: &ModelVersion) -> Result<()> {
    for (file, record) in &version.manifest.files {
        if digest(&folder.join(file))? != *record {
            return Err(Error::new(
                Kind::Catalog,
                format!("model {} was changed: {file} is not the file that was created", version.pinned()),
            )
            .with_hint("create the model again from its source"));
        }
    }
    Ok(())
}
