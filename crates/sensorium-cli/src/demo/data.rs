//! The demonstration's tables and model packages, laid into the cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_engine::Session;
use sensorium_inference::cache_dir;

use crate::run::{Result, failed};
use crate::setup::{models_dir, table_file};

/// Files that travel in the binary: the loan book, its model, and the textile model's head.
const FILES: [(&str, &[u8]); 5] = [
    ("loans.parquet", include_bytes!("../../../../examples/data/credit_data.parquet")),
    ("packages/credit/model.onnx", include_bytes!("../../../../examples/models/credit/model.onnx")),
    ("packages/credit/sensorium.toml", include_bytes!("../../../../examples/models/credit/sensorium.toml")),
    ("packages/textile/head.onnx", include_bytes!("../../../../examples/models/textile/head.onnx")),
    ("packages/textile/sensorium.toml", include_bytes!("../../../../examples/models/textile/sensorium.toml")),
];

/// Lays the files out; returns the folder.
pub(super) fn prepare() -> Result<PathBuf> {
    let folder = cache_dir()?.join("demo");
    for (name, bytes) in FILES {
        let path = folder.join(name);
        let cannot = |error: std::io::Error| failed(format!("cannot write {}", path.display()))(&error);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(cannot)?;
        }
        fs::write(&path, bytes).map_err(cannot)?;
    }
    copy_folder(&models_dir()?.join("efficientnet-lite0"), &folder.join("packages/textile/vision"))?;
    Ok(folder)
}

fn copy_folder(from: &Path, to: &Path) -> Result {
    let cannot = |error: std::io::Error| failed(format!("cannot copy {}", from.display()))(&error);
    fs::create_dir_all(to).map_err(cannot)?;
    for entry in fs::read_dir(from).map_err(cannot)? {
        let source = entry.map_err(cannot)?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(cannot)?;
        }
    }
    Ok(())
}

/// Tables and models under the names that the scripts use.
pub(super) async fn register(session: &Session, folder: &Path) -> Result {
    session.register("loans", &folder.join("loans.parquet").to_string_lossy()).await?;
    session.register("textiles", &table_file()?.to_string_lossy()).await?;
    let packages = folder.join("packages");
    let models = [("minilm", models_dir()?.join("minilm")), ("credit", packages.join("credit")), ("textile", packages.join("textile"))];
    for (name, package) in models {
        let source = package.to_string_lossy().replace('\'', "''");
        session.sql(&format!("CREATE MODEL IF NOT EXISTS {name} FROM '{source}'")).await?;
    }
    Ok(())
}
