//! The catalog under two writers, and under hands that change its files.

use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::Failed;
use sensorium_inference::{Catalog, CreateMode, ImportOptions, import};
use tempfile::TempDir;

use crate::support::ensure;
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("two_processes_create_at_once", two_processes),
    ("a_changed_entry_is_read_anew", changed_entry),
    ("a_changed_file_is_refused", changed_file),
    ("a_damaged_file_is_sent_again", damaged_file),
    ("one_of_many_creates_a_name", one_creator),
    ("a_manifest_reads_its_own_files_only", foreign_manifest),
    ("numbers_are_not_used_again", numbers_stay),
    ("aliases_move_and_versions_stay", aliases),
];

const FOLDER: &str = "SENSORIUM_TEST_CATALOG";
const PACKAGE: &str = "tests/fixtures/tiny/add.onnx";
const ROUNDS: u64 = 50;

/// What a child process of [`two_processes`] does: the same model, many times.
pub(crate) fn worker() -> Option<ExitCode> {
    let folder = std::env::var(FOLDER).ok()?;
    let create = || -> sensorium_inference::Result<()> {
        let catalog = Catalog::open(&folder)?;
        for _ in 0..ROUNDS {
            let draft = import(Path::new(PACKAGE), &ImportOptions::default())?;
            catalog.create("add", draft, CreateMode::Replace, PACKAGE)?;
        }
        Ok(())
    };
    Some(match create() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn two_processes() -> Outcome {
    let folder = TempDir::new()?;
    let start = || Command::new(std::env::current_exe()?).env(FOLDER, folder.path()).spawn();
    let mut children = [start()?, start()?];
    for child in &mut children {
        let status = child.wait()?;
        ensure(status.success(), || format!("a writer ended with {status}"))?;
    }
    let catalog = Catalog::open(&folder.path().to_string_lossy())?;
    let models = catalog.list()?;
    ensure(models.len() == 1 && models[0].versions as u64 == 2 * ROUNDS, || format!("{} versions", models[0].versions))?;
    for number in 1..=2 * ROUNDS {
        let version = catalog.resolve(&format!("add@{number}"))?;
        ensure(version.sha256 == version.manifest.sha256(), || format!("version {number} is torn"))?;
        catalog.materialise(&version)?;
    }
    Ok(())
}

fn created(folder: &TempDir) -> Result<Catalog, Failed> {
    let catalog = Catalog::open(&folder.path().to_string_lossy())?;
    catalog.create("add", import(Path::new(PACKAGE), &ImportOptions::default())?, CreateMode::New, PACKAGE)?;
    Ok(catalog)
}

/// What was read once is told from what lies there now.
fn changed_entry() -> Outcome {
    let folder = TempDir::new()?;
    let catalog = created(&folder)?;
    let first = catalog.resolve("add")?;
    ensure(catalog.resolve("add@1")?.sha256 == first.sha256, || "another version".to_string())?;

    std::fs::remove_dir_all(folder.path().join("models"))?;
    let other = import(Path::new("tests/fixtures/tiny/mixed.onnx"), &ImportOptions::default())?;
    Catalog::open(&folder.path().to_string_lossy())?.create("add", other, CreateMode::New, "mixed.onnx")?;
    let second = catalog.resolve("add@1")?;
    ensure(second.sha256 != first.sha256, || "a version that is gone was found".to_string())?;

    let entry = folder.path().join("models/add/versions/000000001.json");
    std::fs::write(&entry, std::fs::read_to_string(&entry)?.replace(&second.sha256, &first.sha256))?;
    let error = catalog.resolve("add").err().ok_or("a changed entry was accepted")?;
    ensure(error.to_string().contains("was changed"), || error.to_string())
}

fn changed_file() -> Outcome {
    let folder = TempDir::new()?;
    // Its own bytes, so that no other test's copy is in the cache.
    let package = folder.path().join("own.onnx");
    std::fs::copy("tests/fixtures/tiny/mixed.onnx", &package)?;
    let catalog = Catalog::open(&folder.path().join("catalog").to_string_lossy())?;
    let (version, _) = catalog.create("own", import(&package, &ImportOptions::default())?, CreateMode::New, "own.onnx")?;
    for entry in folder.path().join("catalog/blobs").read_dir()? {
        std::fs::write(entry?.path(), b"something else")?;
    }
    let error = catalog.materialise(&version).err().ok_or("a changed file was accepted")?;
    ensure(error.to_string().contains("was changed"), || error.to_string())
}

fn damaged_file() -> Outcome {
    let folder = TempDir::new()?;
    let package = folder.path().join("own.onnx");
    std::fs::copy("tests/fixtures/tiny/optional.onnx", &package)?;
    let catalog = Catalog::open(&folder.path().join("catalog").to_string_lossy())?;
    let draft = import(&package, &ImportOptions::default())?;
    catalog.create("own", draft.clone(), CreateMode::New, "own.onnx")?;
    for entry in folder.path().join("catalog/blobs").read_dir()? {
        let path = entry?.path();
        let size = path.metadata()?.len() as usize;
        std::fs::write(path, vec![7; size])?;
    }
    let (version, _) = catalog.create("own", draft, CreateMode::Replace, "own.onnx")?;
    catalog.materialise(&version).map(|_| ()).map_err(Into::into)
}

fn one_creator() -> Outcome {
    let folder = TempDir::new()?;
    let catalog = Catalog::open(&folder.path().to_string_lossy())?;
    let draft = import(Path::new(PACKAGE), &ImportOptions::default())?;
    let create = || catalog.create("add", draft.clone(), CreateMode::New, PACKAGE);
    let created = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        writers.into_iter().filter_map(|writer| writer.join().ok()?.ok()).count()
    });
    ensure(created == 1 && catalog.list()?[0].versions == 1, || format!("{created} of 8 created the same name"))
}

/// A catalog may be somebody else's.
fn foreign_manifest() -> Outcome {
    let folder = TempDir::new()?;
    let package = folder.path().join("own.onnx");
    std::fs::copy("tests/fixtures/tiny/two_outputs.onnx", &package)?;
    let catalog = Catalog::open(&folder.path().join("catalog").to_string_lossy())?;
    for graph in ["../own.onnx", "/etc/passwd", "other.onnx"] {
        let mut draft = import(&package, &ImportOptions::default())?;
        draft.manifest.stages[0].graph = graph.into();
        let (version, _) = catalog.create("own", draft, CreateMode::Replace, "own.onnx")?;
        let error = catalog.materialise(&version).err().ok_or("a graph from elsewhere was accepted")?;
        ensure(error.to_string().contains("not one of its own"), || error.to_string())?;
    }
    Ok(())
}

fn numbers_stay() -> Outcome {
    let folder = TempDir::new()?;
    let catalog = created(&folder)?;
    ensure(catalog.drop_model("add")?, || "nothing was dropped".into())?;
    ensure(catalog.resolve("add").is_err() && catalog.resolve("add@1").is_err(), || "a dropped model is still there".into())?;
    let (version, _) = catalog.create("add", import(Path::new(PACKAGE), &ImportOptions::default())?, CreateMode::New, PACKAGE)?;
    ensure(version.version == 2, || format!("number {} after a drop", version.version))
}

fn aliases() -> Outcome {
    let folder = TempDir::new()?;
    let catalog = created(&folder)?;
    catalog.create("add", import(Path::new(PACKAGE), &ImportOptions::default())?, CreateMode::Replace, PACKAGE)?;
    for expected in [2, 1] {
        catalog.set_alias("add", "champion", expected)?;
        let version = catalog.resolve("add@champion")?.version;
        ensure(version == expected, || format!("the alias means {version}, expected {expected}"))?;
    }
    ensure(catalog.set_alias("add", "champion", 3).is_err(), || "an alias of a version that does not exist".into())
}
