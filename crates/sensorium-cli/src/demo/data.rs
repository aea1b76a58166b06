//! The demonstration's tables and model packages, laid into the cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_engine::Session;
use sensorium_inference::cache_dir;

use crate::run::{Result, failed};
use crate::setup::{models_dir, table_file};

/// Files that travel in the binary: the loan book and its model, the textile model's head, a model of vibration, recordings,
/// photographs and invoices.
const FILES: [(&str, &[u8]); 22] = [
    ("loans.parquet", include_bytes!("../../../../examples/data/credit_data.parquet")),
    ("packages/credit/model.onnx", include_bytes!("../../../../examples/models/credit/model.onnx")),
    ("packages/credit/sensorium.toml", include_bytes!("../../../../examples/models/credit/sensorium.toml")),
    ("packages/textile/head.onnx", include_bytes!("../../../../examples/models/textile/head.onnx")),
    ("packages/textile/sensorium.toml", include_bytes!("../../../../examples/models/textile/sensorium.toml")),
    ("packages/loom/model.onnx", include_bytes!("../../../../examples/models/loom/model.onnx")),
    ("packages/loom/sensorium.toml", include_bytes!("../../../../examples/models/loom/sensorium.toml")),
    ("speech/LICENSE.pocketsphinx", include_bytes!("../../../../examples/data/speech/LICENSE.pocketsphinx")),
    ("speech/calls.csv", include_bytes!("../../../../examples/data/speech/calls.csv")),
    ("speech/forward.flac", include_bytes!("../../../../examples/data/speech/forward.flac")),
    ("speech/something.flac", include_bytes!("../../../../examples/data/speech/something.flac")),
    ("speech/sense_0880.flac", include_bytes!("../../../../examples/data/speech/sense_0880.flac")),
    ("speech/sense_0890.flac", include_bytes!("../../../../examples/data/speech/sense_0890.flac")),
    ("speech/sense_0930.flac", include_bytes!("../../../../examples/data/speech/sense_0930.flac")),
    ("photographs/posts.csv", include_bytes!("../../../../examples/data/photographs/posts.csv")),
    ("photographs/coffee.jpg", include_bytes!("../../../../examples/data/photographs/coffee.jpg")),
    ("photographs/chelsea.jpg", include_bytes!("../../../../examples/data/photographs/chelsea.jpg")),
    ("photographs/rocket.jpg", include_bytes!("../../../../examples/data/photographs/rocket.jpg")),
    ("photographs/brick.jpg", include_bytes!("../../../../examples/data/photographs/brick.jpg")),
    ("invoices/ledger.csv", include_bytes!("../../../../examples/data/invoices/ledger.csv")),
    ("invoices/invoice.png", include_bytes!("../../../../examples/data/invoices/invoice.png")),
    ("invoices/invoice.pdf", include_bytes!("../../../../examples/data/invoices/invoice.pdf")),
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
    for (name, file) in [("calls", "speech/calls.csv"), ("posts", "photographs/posts.csv"), ("ledger", "invoices/ledger.csv")] {
        session.register(name, &folder.join(file).to_string_lossy()).await?;
    }
    let (packages, models) = (folder.join("packages"), models_dir()?);
    let matters = "OPTIONS (logit_scale = 20, prompt = '{}')";
    for (name, package, options) in [
        ("minilm", models.join("minilm"), ""),
        // The same encoder as a judge of matters, with what its cosines are multiplied by.
        ("matters", models.join("minilm"), matters),
        ("vision", models.join("efficientnet-lite0"), ""),
        ("whisper", models.join("whisper-tiny.en"), ""),
        ("vad", models.join("silero-vad"), ""),
        ("ocr", models.join("pp-ocr-v4"), ""),
        ("credit", packages.join("credit"), ""),
        ("textile", packages.join("textile"), ""),
        ("loom", packages.join("loom"), ""),
    ] {
        create_model(session, name, &package, Known::Stays, options).await?;
    }
    Ok(())
}

/// `CREATE MODEL`, with what it says of a model that is there.
pub(super) async fn create_model(session: &Session, name: &str, package: &Path, known: Known, options: &str) -> Result {
    let source = package.to_string_lossy().replace('\'', "''");
    let create = match known {
        Known::Stays => format!("CREATE MODEL IF NOT EXISTS {name} FROM '{source}' {options}"),
        Known::Replaced => format!("CREATE OR REPLACE MODEL {name} FROM '{source}' {options}"),
    };
    session.sql(&create).await?;
    Ok(())
}

/// What becomes of a model that is there already.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    Stays,
    Replaced,
}
