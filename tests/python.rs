//! The Python package: its own tests, run by pytest beside the current major version of Polars and the one before.
//!
//! `SENSORIUM_TEST_WHEEL` names a wheel (`pip wheel crates/sensorium-python`) that is then tested as well, installed into an empty
//! environment; without it the package lies beside the library that `cargo build` has made.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::support::{ensure, environment, library, root, succeeded, venv};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[("polars_1", polars_1), ("polars_2", polars_2), ("wheel", wheel)];

/// What `pip install` is told of Polars.
const POLARS: [&str; 2] = ["polars==1.44.2", "polars==2.1.0"];
const REQUIREMENTS: &str = "tests/python/requirements.txt";

fn polars_1() -> Outcome {
    beside(POLARS[0])
}

fn polars_2() -> Outcome {
    beside(POLARS[1])
}

fn beside(polars: &str) -> Outcome {
    let wanted = format!("{polars}\n{}", fs::read_to_string(root().join(REQUIREMENTS))?);
    let python = environment(&polars.replace("==", "-"), &[polars, "-r", REQUIREMENTS], &wanted)?;
    let package = package()?;
    pytest(&python, Some(package.path()))
}

fn wheel() -> Outcome {
    let Some(wheel) = std::env::var_os("SENSORIUM_TEST_WHEEL") else {
        eprintln!("wheel: SKIPPED, SENSORIUM_TEST_WHEEL names none");
        return Ok(());
    };
    let folder = TempDir::new()?;
    let python = venv(folder.path())?;
    succeeded(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).arg(&wheel))?;
    let installed = folder.path().join("lib").read_dir()?.next().ok_or("no site-packages")??.path().join("site-packages/sensorium");
    let libraries: Vec<_> =
        installed.read_dir()?.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "so")).collect();
    ensure(libraries.len() == 1, || format!("libraries in the wheel: {libraries:?}"))?;
    let size = fs::metadata(&wheel)?.len();
    ensure(size < 60_000_000, || format!("the wheel has {size} bytes"))?;
    succeeded(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r", REQUIREMENTS]).current_dir(root()))?;
    pytest(&python, None)
}

/// The package as a wheel would hold it, with the library of this build.
fn package() -> Result<TempDir, Failed> {
    let folder = TempDir::new()?;
    let package = folder.path().join("sensorium");
    fs::create_dir(&package)?;
    for entry in root().join("crates/sensorium-python/python/sensorium").read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), package.join(entry.file_name()))?;
        }
    }
    std::os::unix::fs::symlink(library("sensorium_python"), package.join("_native.abi3.so"))?;
    Ok(folder)
}

fn pytest(python: &Path, package: Option<&Path>) -> Outcome {
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "tests/python"]).current_dir(root());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
    if let Some(package) = package {
        command.env("PYTHONPATH", package);
    }
    let output = succeeded(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure(text.contains(" passed"), || format!("no test ran:\n{text}"))
}
