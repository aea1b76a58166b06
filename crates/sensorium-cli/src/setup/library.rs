//! ONNX Runtime's shared library, out of the wheel of its Python package.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sensorium_inference::{LIBRARY_FILE, ONNXRUNTIME_VERSION, file_sha256, library_cache_dir};

use super::pip::{appear_whole, lock, pip, run};
use crate::run::{Failure, Result, failed};

/// Beside the library: its SHA-256 and name, in the format of `sha256sum`.
const CHECKSUMS: &str = "SHA256SUMS";

/// Installs the library once; a copy whose checksums are right is left alone.
pub(super) fn install(python: &str, gpu: bool) -> Result<PathBuf> {
    let _lock = lock()?;
    let folder = library_cache_dir(gpu)?;
    let library = folder.join(LIBRARY_FILE);
    if is_intact(&folder) {
        return Ok(library);
    }
    let package = if gpu { "onnxruntime-gpu" } else { "onnxruntime" };
    appear_whole(&folder, |part| {
        let wheels = part.join("wheel");
        let requirement = format!("{package}=={ONNXRUNTIME_VERSION}");
        // pip verifies the wheel against the index's own checksum.
        pip(
            python,
            "install",
            &["--no-deps", "--only-binary=:all:", "--target"].map(OsStr::new).into_iter().chain([wheels.as_os_str()]).collect::<Vec<_>>(),
            &[&requirement],
        )?;
        take_libraries(&wheels.join("onnxruntime").join("capi"), part)?;
        fs::remove_dir_all(&wheels).map_err(|error| failed("cannot clean up")(&error))?;
        write_checksums(part)
    })?;
    if gpu {
        run(Command::new("nvidia-smi").arg("-L"), "nvidia-smi -L")?;
    }
    Ok(library)
}

fn take_libraries(capi: &Path, target: &Path) -> Result {
    let cannot = |error: std::io::Error| failed(format!("cannot read {}", capi.display()))(&error);
    let mut found = false;
    for entry in fs::read_dir(capi).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_runtime = name.starts_with(LIBRARY_FILE)
            || (cfg!(target_os = "macos") && name.starts_with("libonnxruntime.") && name.ends_with(".dylib"));
        if is_runtime || name.starts_with("libonnxruntime_providers_") {
            found |= is_runtime;
            let name = if is_runtime { LIBRARY_FILE } else { &name };
            fs::rename(&path, target.join(name)).map_err(cannot)?;
        }
    }
    if found { Ok(()) } else { Err(Failure(format!("the wheel holds no {LIBRARY_FILE}"))) }
}

fn write_checksums(folder: &Path) -> Result {
    let cannot = |error: std::io::Error| failed(format!("cannot write {}", folder.display()))(&error);
    let mut lines = String::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push_str(&format!("{}  {name}\n", file_sha256(&path)?));
    }
    fs::write(folder.join(CHECKSUMS), lines).map_err(cannot)
}

/// Whether every file still is what was installed.
fn is_intact(folder: &Path) -> bool {
    let Ok(lines) = fs::read_to_string(folder.join(CHECKSUMS)) else { return false };
    let matches =
        |line: &str| line.split_once("  ").is_some_and(|(sum, name)| file_sha256(&folder.join(name)).is_ok_and(|found| found == sum));
    lines.lines().count() > 0 && lines.lines().all(matches)
}
