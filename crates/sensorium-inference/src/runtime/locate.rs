//! The search for ONNX Runtime's shared library.
//!
//! An explicit path that does not work is an error. Otherwise, in this order: what the program around
//! Sensorium prefers, beside the executable, the cache folder that `sensorium setup` fills, the active Python environment,
//! the system's own search path.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::cache::cache_dir;
use crate::error::{Error, Kind, Result};

/// The release of ONNX Runtime that `sensorium setup` installs.
pub const ONNXRUNTIME_VERSION: &str = "1.31.1";
/// File name of the library on this platform.
pub const LIBRARY_FILE: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};
/// Oldest minor version of the library (1.x) that has every call used here.
const OLDEST_MINOR: u32 = 24;

/// A library that the program around Sensorium brings along.
static PREFERRED: OnceLock<PathBuf> = OnceLock::new();

/// Has the search begin with `library`, as a Python package does whose environment has one; the first call counts.
pub fn prefer_library(library: PathBuf) {
    // A second one would come too late: the process may have loaded the first.
    let _ = PREFERRED.set(library);
}

/// The folder in which `sensorium setup` puts the library, one per release and kind.
///
/// # Errors
/// When there is no cache folder.
pub fn library_cache_dir(gpu: bool) -> Result<PathBuf> {
    let kind = if gpu { "gpu" } else { "cpu" };
    Ok(cache_dir()?.join("onnxruntime").join(format!("{ONNXRUNTIME_VERSION}-{kind}")))
}

/// The first usable library, or an error that lists every path that was tried.
pub(super) fn locate() -> Result<PathBuf> {
    if let Some(explicit) = env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(explicit);
        return usable(&path).map_err(|why| {
            Error::new(Kind::Runtime, format!("ORT_DYLIB_PATH is not usable: {} ({why})", path.display()))
                .with_hint("unset ORT_DYLIB_PATH and run `sensorium setup`, or let it name a library of 1.24 or newer")
        });
    }
    let mut tried = Vec::new();
    for candidate in candidates() {
        match usable(&candidate) {
            Ok(path) => return Ok(path),
            Err(why) => tried.push(format!("  {} ({why})", candidate.display())),
        }
    }
    Err(Error::new(Kind::Runtime, format!("ONNX Runtime not found, tried:\n{}", tried.join("\n"))).with_hint(
        "run `sensorium setup`, which installs it with pip into the cache folder, or `pip install onnxruntime` in Python's environment",
    ))
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = PREFERRED.get().cloned().into_iter().collect();
    if let Some(folder) = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)) {
        found.push(folder.join(LIBRARY_FILE));
    }
    for gpu in [true, false] {
        found.extend(library_cache_dir(gpu).ok().map(|folder| folder.join(LIBRARY_FILE)));
    }
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        found.extend(env::var_os(variable).into_iter().flat_map(|prefix| in_python(Path::new(&prefix))));
    }
    found.push(PathBuf::from(LIBRARY_FILE));
    found
}

/// `lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime.so*` below a Python prefix.
fn in_python(prefix: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = path.read_dir().into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let is_library = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(LIBRARY_FILE));
    folders(&prefix.join("lib"))
        .iter()
        .map(|python| python.join("site-packages").join("onnxruntime").join("capi"))
        .flat_map(|capi| folders(&capi))
        .filter(is_library)
        .collect()
}

fn usable(path: &Path) -> Result<PathBuf, String> {
    let bare_name = path.components().count() == 1;
    if !bare_name && !path.exists() {
        return Err("no such file".into());
    }
    match ort::util::probe(path) {
        Some(minor) if minor >= OLDEST_MINOR => Ok(path.to_path_buf()),
        Some(minor) => Err(format!("version 1.{minor} is too old")),
        None if bare_name => Err("not on the system's library path".into()),
        None => Err("cannot be loaded".into()),
    }
}
