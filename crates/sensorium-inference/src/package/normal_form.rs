//! `sensorium.json`: a package that is its own manifest, as versions are written out of a catalog.

use std::fs;
use std::path::Path;

use super::import::ImportOptions;
use super::manifest::{MANIFEST_FORMAT, Manifest};
use super::port::{Port, Signature};
use super::source::{Files, read_text};
use crate::error::{Error, Kind, Result};

/// Name of the file.
pub(super) const FILE: &str = "sensorium.json";

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Package, format!("{FILE}: {message}"))
}

/// Reads the package whose root has a `sensorium.json`; its graphs must be what it says.
pub(super) fn read(files: &mut Files, options: &ImportOptions) -> Result<Manifest> {
    let text = read_text(&files.root.join(FILE))?.unwrap_or_default();
    let mut manifest: Manifest = serde_json::from_str(&text).map_err(wrong)?;
    if manifest.format != MANIFEST_FORMAT {
        return Err(wrong(format!("format {}", manifest.format)).with_hint(format!("this release reads format {MANIFEST_FORMAT}")));
    }
    if options.says_something() {
        return Err(Error::new(Kind::Setting, format!("OPTIONS have no effect: {FILE} says everything")).with_hint("leave them out"));
    }
    for file in manifest.files.keys() {
        files.use_file(file)?;
    }
    for stage in &manifest.stages {
        let (path, _) = files.use_graph(&stage.graph)?;
        let signature = Signature::read(&path)?;
        let fed: Vec<&Port> = stage.feeds.iter().map(|feed| &feed.port).collect();
        if signature.inputs.iter().ne(fed) || signature.outputs != stage.outputs {
            return Err(wrong(format!("{} is another graph than the one that is described", stage.graph)));
        }
    }
    manifest.files.clear();
    Ok(manifest)
}

/// Writes a model whose files lie in `from` into the folder `into` as a package of this form.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_package(manifest: &Manifest, from: &Path, into: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(Kind::Package, format!("cannot write the package {}: {error}", into.display()));
    for file in manifest.files.keys() {
        let target = into.join(file);
        fs::create_dir_all(target.parent().unwrap_or(into)).map_err(failed)?;
        let own = from.join(file).canonicalize().map_err(failed)?;
        fs::hard_link(&own, &target).or_else(|_| fs::copy(&own, &target).map(drop)).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(manifest).map_err(wrong)?;
    fs::create_dir_all(into).and_then(|()| fs::write(into.join(FILE), text)).map_err(failed)
}
