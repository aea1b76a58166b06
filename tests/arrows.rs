//! Which crate may know what: read from `cargo metadata`, so that a new arrow is a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::support::{ensure, root};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("arrows_point_up", arrows_point_up),
    ("heavy_packages_have_one_owner", heavy_packages_have_one_owner),
    ("top_level_is_as_agreed", top_level),
];

/// From the bottom up; a crate may use those before it.
const ORDER: [&str; 10] = [
    "sensorium-inference",
    "sensorium-train",
    "sensorium-report",
    "sensorium-engine",
    "sensorium-jobs",
    "sensorium-polars",
    "sensorium-python",
    "sensorium-cli",
    "sensorium-tests",
    "sensorium-examples",
];
/// Packages that only the named crate may depend on.
const OWNERS: [(&str, &str); 25] = [
    ("argmin", "sensorium-train"),
    ("hessboost", "sensorium-train"),
    ("minijinja-contrib", "sensorium-inference"),
    ("plotters", "sensorium-report"),
    ("croner", "sensorium-jobs"),
    ("axum", "sensorium-jobs"),
    ("governor", "sensorium-inference"),
    ("llguidance", "sensorium-inference"),
    ("deltalake-core", "sensorium-jobs"),
    ("prometheus-client", "sensorium-jobs"),
    ("tokio-postgres", "sensorium-jobs"),
    ("zune-jpeg", "sensorium-inference"),
    ("ort", "sensorium-inference"),
    ("tokenizers", "sensorium-inference"),
    ("hashlink", "sensorium-inference"),
    ("image", "sensorium-inference"),
    ("fast_image_resize", "sensorium-inference"),
    ("clap", "sensorium-cli"),
    ("indicatif", "sensorium-cli"),
    ("polars", "sensorium-polars"),
    ("polars-arrow", "sensorium-polars"),
    ("pyo3", "sensorium-python"),
    ("pyo3-arrow", "sensorium-python"),
    ("rustyline", "sensorium-cli"),
    ("tracing-subscriber", "sensorium-cli"),
];

/// Workspace packages with the names of their direct dependencies.
fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>, libtest_mimic::Failed> {
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(root()).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let names = |package: &Value| {
        package["dependencies"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str().map(str::to_string)).collect()
    };
    let packages = metadata["packages"].as_array().into_iter().flatten();
    Ok(packages.map(|package| (package["name"].as_str().unwrap_or_default().to_string(), names(package))).collect())
}

fn arrows_point_up() -> Outcome {
    let found = dependencies()?;
    ensure(found.keys().all(|name| ORDER.contains(&name.as_str())), || {
        format!("a crate without a place in the order: {:?}", found.keys())
    })?;
    for (place, name) in ORDER.iter().enumerate() {
        let above = |other: &&String| ORDER[place..].contains(&other.as_str());
        let wrong: Vec<&String> = found.get(*name).into_iter().flatten().filter(above).collect();
        ensure(wrong.is_empty(), || format!("{name} points at {wrong:?}"))?;
    }
    Ok(())
}

fn heavy_packages_have_one_owner() -> Outcome {
    for (name, used) in dependencies()? {
        for (package, owner) in OWNERS {
            ensure(name == owner || !used.contains(package), || format!("{name} depends on {package}, which is {owner}'s"))?;
        }
        let is_below_sql = name == "sensorium-inference";
        ensure(!is_below_sql || !used.iter().any(|other| other.starts_with("datafusion")), || format!("{name} knows DataFusion"))?;
    }
    Ok(())
}

fn top_level() -> Outcome {
    let agreed = ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "crates", "examples", "sql", "target", "tests"];
    for entry in root().read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure(name.starts_with('.') || agreed.contains(&name.as_str()), || format!("not on the top level: {name}"))?;
    }
    Ok(())
}
