//! Environments of Python that tests run in, each made once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;
use sensorium_inference::cache_dir;

use super::{ensure, root};

/// The interpreter of the environment `name`, into which pip installs what `arguments` say; `stamp` says when it must be made anew.
pub(crate) fn environment(name: &str, arguments: &[&str], stamp: &str) -> Result<PathBuf, Failed> {
    let folder = cache_dir()?.join("python").join(name);
    let (installed, python) = (folder.join("installed.txt"), folder.join("bin").join("python"));
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == stamp) {
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let python = venv(&folder)?;
    succeeded(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(arguments).current_dir(root()))?;
    fs::write(installed, stamp)?;
    Ok(python)
}

/// Makes an environment in `folder`.
pub(crate) fn venv(folder: &Path) -> Result<PathBuf, Failed> {
    let python = std::env::var_os("SENSORIUM_PYTHON").unwrap_or_else(|| "python3".into());
    succeeded(Command::new(python).args(["-m", "venv"]).arg(folder))?;
    Ok(folder.join("bin").join("python"))
}

/// The output of a command that must succeed.
pub(crate) fn succeeded(command: &mut Command) -> Result<Output, Failed> {
    let output = command.output()?;
    ensure(output.status.success(), || {
        format!("{command:?}: {}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(output)
}
