//! Files of a package on their way into the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::error::{Error, Kind, Result};
use crate::onnx::GraphFacts;
use crate::runtime::check_room;

/// Largest configuration file that is read.
const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// A JSON file, or `None` where there is none.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| Error::new(Kind::Package, format!("not valid JSON: {}: {error}", path.display())))
}

/// A small text file, or `None` where there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>> {
    let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Package, format!("cannot read {}: {error}", path.display()));
    let Ok(facts) = fs::metadata(path) else { return Ok(None) };
    if facts.len() > MAX_CONFIG_BYTES {
        return Err(failed(&format!("{} bytes are too many for a configuration file", facts.len())));
    }
    fs::read_to_string(path).map(Some).map_err(|error| failed(&error))
}

/// Whether a relative path stays below the folder that it starts from.
pub(crate) fn is_inside(file: &str) -> bool {
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !file.is_empty() && Path::new(file).components().all(is_plain)
}

/// The folder of a package and the files of it that were used so far.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    used: BTreeSet<String>,
    /// Files that the package itself does not have.
    made: BTreeMap<String, Vec<u8>>,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), used: BTreeSet::new(), made: BTreeMap::new() }
    }

    /// Marks `file` as one that decides the output.
    pub(crate) fn use_file(&mut self, file: &str) -> Result<PathBuf> {
        if !is_inside(file) {
            return Err(
                Error::new(Kind::Package, format!("outside the package: {file}")).with_hint("copy the file into the package's folder")
            );
        }
        let path = self.root.join(file);
        if !path.is_file() {
            return Err(Error::new(Kind::Package, format!("no such file in the package: {file}")));
        }
        self.used.insert(file.to_string());
        Ok(path)
    }

    /// Marks a graph and the files that hold its weights; returns its path and facts.
    pub(crate) fn use_graph(&mut self, graph: &str) -> Result<(PathBuf, GraphFacts)> {
        let path = self.use_file(graph)?;
        let size = |path: &Path| fs::metadata(path).map_or(0, |facts| facts.len());
        check_room(graph, size(&path))?;
        let bytes = fs::read(&path).map_err(|error| Error::new(Kind::Package, format!("cannot read {}: {error}", path.display())))?;
        let facts = GraphFacts::read(graph, &bytes)?;
        let folder = Path::new(graph).parent().unwrap_or(Path::new(""));
        for weights in &facts.external_files {
            let beside = folder.join(weights).to_string_lossy().into_owned();
            check_room(&beside, size(&self.use_file(&beside)?))?;
        }
        Ok((path, facts))
    }

    /// A graph in the folder, or in `onnx/`, whose name begins so.
    pub(crate) fn any_starting_with(&self, name: &str) -> Option<String> {
        let entries =
            [self.root.join("onnx"), self.root.clone()].into_iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|file| file.starts_with(name) && file.ends_with(".onnx")).min()
    }

    /// Adds a file that becomes part of the version.
    pub(crate) fn make_file(&mut self, file: &str, content: Vec<u8>) {
        self.made.insert(file.to_string(), content);
    }

    /// A folder with all files that were used and made, where some were made.
    pub(crate) fn stage(&self) -> Result<Option<TempDir>> {
        if self.made.is_empty() {
            return Ok(None);
        }
        let failed = |error: std::io::Error| Error::new(Kind::Package, format!("cannot put the package together: {error}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        for file in &self.used {
            if self.made.contains_key(file) {
                return Err(Error::new(Kind::Package, format!("{file} is a name that the package must leave free")));
            }
            // What a link points to: a link to a link would point to nothing from here.
            let (own, staged) = (self.root.join(file).canonicalize().map_err(failed)?, folder.path().join(file));
            fs::create_dir_all(staged.parent().unwrap_or(folder.path())).map_err(failed)?;
            fs::hard_link(&own, &staged).or_else(|_| fs::copy(&own, &staged).map(drop)).map_err(failed)?;
        }
        for (file, content) in &self.made {
            fs::write(folder.path().join(file), content).map_err(failed)?;
        }
        Ok(Some(folder))
    }

    /// Relative paths of all files that were used or made.
    pub(crate) fn into_used(self) -> BTreeSet<String> {
        self.used.into_iter().chain(self.made.into_keys()).collect()
    }
}
