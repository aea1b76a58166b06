//! pip, the ordinary client of the package index.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use sensorium_inference::cache_dir;

use crate::run::{Failure, Result, failed};

/// Downloads or installs `packages` with `pip COMMAND .. OPTIONS`.
pub(super) fn pip(python: &str, command: &str, options: &[&OsStr], packages: &[&str]) -> Result {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", command, "--quiet", "--disable-pip-version-check"]).args(options).args(packages);
    run(&mut pip, &format!("pip {command} {}", packages.join(" ")))
}

/// Runs a program to its end; what it prints goes to stderr.
pub(super) fn run(command: &mut Command, what: &str) -> Result {
    eprintln!("  {what}");
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| failed(format!("cannot run {program}"))(&error)).map_err(|failure| {
        Failure(format!("{}\n\nhint: Python 3.10 or newer with pip is needed for the set-up; name it with --python", failure.0))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Err(Failure(format!("{what} failed\n{}", text.trim_end())))
}

/// Holds the set-up's lock until it is dropped, so that two set-ups at once do the work once.
pub(super) fn lock() -> Result<File> {
    let folder = cache_dir()?;
    fs::create_dir_all(&folder).map_err(|error| failed(format!("cannot make {}", folder.display()))(&error))?;
    let path = folder.join("setup.lock");
    let cannot = |error: std::io::Error| failed(format!("cannot lock {}", path.display()))(&error);
    let file = File::create(&path).map_err(cannot)?;
    file.lock().map_err(cannot)?;
    Ok(file)
}

/// `make` fills a fresh folder that then appears at `target` whole, or not at all.
pub(super) fn appear_whole(target: &Path, make: impl FnOnce(&Path) -> Result) -> Result {
    let cannot = |error: std::io::Error| failed(format!("cannot write {}", target.display()))(&error);
    let part = target.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(cannot)?;
    }
    fs::create_dir_all(&part).map_err(cannot)?;
    make(&part)?;
    if target.exists() {
        fs::remove_dir_all(target).map_err(cannot)?;
    }
    fs::rename(&part, target).map_err(cannot)
}
