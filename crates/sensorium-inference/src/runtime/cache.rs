//! The folder outside any checkout that keeps libraries, models and media between runs.

use std::env;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};

/// `$SENSORIUM_CACHE`, else `$XDG_CACHE_HOME/sensorium`, else `~/.cache/sensorium`.
///
/// # Errors
/// When none of the variables, nor `HOME`, is set.
pub fn cache_dir() -> Result<PathBuf> {
    let named = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("SENSORIUM_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|folder| folder.join("sensorium")))
        .or_else(|| named("HOME").map(|folder| folder.join(".cache").join("sensorium")))
        .ok_or_else(|| {
            Error::new(Kind::Runtime, "no cache folder: HOME is not set").with_hint("set SENSORIUM_CACHE to a folder that may be written")
        })
}
