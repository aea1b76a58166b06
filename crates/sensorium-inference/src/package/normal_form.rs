//! `sensorium.json`: a package that is its own manifest, as versions are written out of a catalog.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::explanation;
use super::import::ImportOptions;
use super::manifest::{MANIFEST_FORMAT, Manifest, Modality, Source};
use super::port::{Element, Port, Signature};
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
    check(&manifest)?;
    explanation::check(files, &manifest)?;
    manifest.files.clear();
    Ok(manifest)
}

/// What other forms cannot get wrong, because they make it up themselves.
fn check(manifest: &Manifest) -> Result<()> {
    let inputs: BTreeSet<&str> = manifest.inputs.iter().map(|input| input.name.as_str()).collect();
    let stages: BTreeSet<&str> = manifest.stages.iter().map(|stage| stage.name.as_str()).collect();
    if inputs.len() < manifest.inputs.len() || stages.len() < manifest.stages.len() {
        return Err(wrong("two inputs or two graphs of one name"));
    }
    for input in &manifest.inputs {
        if matches!(input.modality, Modality::Vector { width: 0, .. }) {
            return Err(wrong(format!("input '{}' is a vector of no numbers", input.name)));
        }
    }
    for feed in manifest.stages.iter().flat_map(|stage| &stage.feeds) {
        let Source::Columns { inputs } = &feed.source else { continue };
        let is_string = feed.port.element == Element::String;
        let fits = |name: &String| match manifest.input(name).map(|input| &input.modality) {
            Some(Modality::Category { .. }) => is_string,
            Some(Modality::Number { .. }) => !is_string,
            _ => false,
        };
        if let Some(name) = inputs.iter().find(|name| !fits(name)) {
            return Err(wrong(format!("input '{name}' does not fit graph input {}", feed.port)));
        }
    }
    Ok(())
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
        // No link: whoever edits the copy must not edit the version.
        fs::copy(&own, &target).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(manifest).map_err(wrong)?;
    fs::create_dir_all(into).and_then(|()| fs::write(into.join(FILE), text)).map_err(failed)
}
