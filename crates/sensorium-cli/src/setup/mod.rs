//! `sensorium setup`: everything that is not in the binary, through pip into the cache folder.

mod library;
mod models;
mod pictures;
mod pip;

use std::path::PathBuf;

use sensorium_inference::runtime_info;

use crate::arguments::SetupOptions;
use crate::run::Result;

pub(crate) use models::models_dir;
pub(crate) use pictures::{pictures_dir, table_file};

pub(crate) fn run(options: &SetupOptions) -> Result {
    let library: PathBuf = library::install(&options.python, options.gpu)?;
    eprintln!("ONNX Runtime: {}", library.display());
    let info = runtime_info()?;
    if info.library != library {
        eprintln!("note: another library comes first in the search order: {}", info.library.display());
    }
    if options.runtime_only {
        return Ok(());
    }
    models::install(&options.python)?;
    eprintln!("models: {}", models_dir()?.display());
    pictures::install(&options.python)?;
    eprintln!("pictures: {}", pictures_dir()?.display());
    Ok(())
}
