//! What tests share: the set-up, sessions, rows of queries.

mod bucket;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use libtest_mimic::Failed;
use sensorium_engine::{Session, root_message};
use sensorium_inference::cache_dir;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use bucket::Bucket;
pub(crate) use python::{environment, succeeded, venv};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Root of the checkout, which tests run in.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are below the root").to_path_buf()
}

/// The path of `name` in a folder below the root, as SQL is given it: relative, so that the session may read there.
pub(crate) fn path_in(folder: &TempDir, name: &str) -> String {
    let path = folder.path().join(name);
    path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned()
}

/// The `sensorium` command, built by [`prepare`].
pub(crate) fn command() -> Command {
    let mut command = Command::new(built("sensorium"));
    command.current_dir(root());
    command
}

/// A library for other programs, built by [`prepare`].
pub(crate) fn library(name: &str) -> PathBuf {
    built(&format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("an executable");
    tests.ancestors().nth(2).expect("target/PROFILE/deps").join(name)
}

/// Builds the command and the Python package's library, and runs the set-up, as a user does.
pub(crate) fn prepare(only_list: bool) -> Result<(), String> {
    std::env::set_current_dir(root()).map_err(|error| error.to_string())?;
    if only_list {
        return Ok(());
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]);
    // What `cargo test` tells a test of itself would make build scripts run again, and with them half the build.
    let of_this_run = |key: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_PRIMARY_", "CARGO_BIN_"].iter().any(|start| key.starts_with(start))
    };
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(of_this_run) || key == "LD_LIBRARY_PATH" {
            build.env_remove(key);
        }
    }
    for (what, command) in [("cargo build", &mut build), ("sensorium setup", command().arg("setup"))] {
        let status = command.status().map_err(|error| format!("{what}: {error}"))?;
        if !status.success() {
            return Err(format!("{what}: {status}"));
        }
    }
    Ok(())
}

/// A file of the set-up's cache folder.
pub(crate) fn cached(path: &str) -> String {
    cache_dir().expect("a cache folder").join(path).to_string_lossy().into_owned()
}

/// A session with an empty catalog of its own.
pub(crate) struct Fresh {
    pub(crate) session: Session,
    _folder: TempDir,
}

/// Opens a session with an empty catalog.
pub(crate) fn fresh() -> Fresh {
    let folder = TempDir::new().expect("a temporary folder");
    let session = Session::open(&folder.path().to_string_lossy()).expect("a session");
    Fresh { session, _folder: folder }
}

impl Fresh {
    /// A session with models created as `(name, package)`.
    pub(crate) fn with_models(models: &[(&str, &str)]) -> Result<Self, Failed> {
        let fresh = fresh();
        for (name, package) in models {
            fresh.rows(&format!("CREATE MODEL {name} FROM '{package}'"))?;
        }
        Ok(fresh)
    }

    /// All rows of a statement as one batch.
    pub(crate) fn rows(&self, sql: &str) -> Result<RecordBatch, Failed> {
        self.try_rows(sql).map_err(|error| Failed::from(format!("{sql}\n{error}")))
    }

    /// All rows, or the message that a person would see.
    pub(crate) fn try_rows(&self, sql: &str) -> Result<RecordBatch, String> {
        let collect = async {
            let frame = self.session.sql(sql).await?;
            let schema = frame.schema().as_arrow().clone().into();
            Ok(concat_batches(&schema, &frame.collect().await?)?)
        };
        wait(collect).map_err(|error: datafusion::error::DataFusionError| root_message(&error))
    }

    /// The first column of a statement.
    pub(crate) fn column(&self, sql: &str) -> Result<ArrayRef, Failed> {
        Ok(ArrayRef::clone(self.rows(sql)?.column(0)))
    }

    /// The message of a statement that must fail.
    pub(crate) fn error(&self, sql: &str) -> Result<String, Failed> {
        match self.try_rows(sql) {
            Err(message) => Ok(message),
            Ok(batch) => Err(format!("no error, but {} rows: {sql}", batch.num_rows()).into()),
        }
    }

    /// Registers a file as a table.
    pub(crate) fn register(&self, name: &str, path: &str) -> Result<(), Failed> {
        Ok(wait(self.session.register(name, path))?)
    }
}

/// Waits for a future on the tests' runtime.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Fails with a message unless `holds`.
pub(crate) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(message().into()) }
}

/// The flat numbers of a list or number column, as 64-bit floats.
pub(crate) fn numbers(array: &ArrayRef) -> Result<Vec<f64>, Failed> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Float64Type};
    let values = match array.data_type() {
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            ArrayRef::clone(list.values())
        }
        DataType::List(_) => ArrayRef::clone(array.as_list::<i32>().values()),
        _ => ArrayRef::clone(array),
    };
    let values = arrow::compute::cast(&values, &DataType::Float64)?;
    ensure(values.null_count() == 0, || format!("{} values are NULL", values.null_count()))?;
    Ok(values.as_primitive::<Float64Type>().values().to_vec())
}

/// The textile example with its encoder in place, as `sensorium demo` puts it together.
pub(crate) fn textile_package() -> Result<TempDir, Failed> {
    let folder = TempDir::new()?;
    for file in ["head.onnx", "sensorium.toml"] {
        std::fs::copy(format!("examples/models/textile/{file}"), folder.path().join(file))?;
    }
    link_package("efficientnet-lite0", &folder.path().join("vision"))?;
    Ok(folder)
}

/// Puts a model package of the set-up into another package as a sub-folder.
pub(crate) fn link_package(model: &str, target: &Path) -> Result<(), Failed> {
    copy_folder(Path::new(&cached(&format!("models/{model}"))), target)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let source = entry?.path();
        let target = to.join(source.file_name().unwrap_or_default());
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            std::fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
/// A WAV file of 16 bits whose header promises `promised` bytes of samples.
pub(crate) fn wav(channels: u16, rate: u32, promised: u32, samples: &[u8]) -> Vec<u8> {
    let format = [&1_u16.to_le_bytes()[..], &channels.to_le_bytes(), &rate.to_le_bytes(), &(rate * u32::from(channels) * 2).to_le_bytes()];
    let format = [format.concat(), (channels * 2).to_le_bytes().to_vec(), 16_u16.to_le_bytes().to_vec()].concat();
    let whole = promised.saturating_add(36).to_le_bytes();
    [b"RIFF", &whole[..], b"WAVEfmt ", &16_u32.to_le_bytes(), &format, b"data", &promised.to_le_bytes(), samples].concat()
}
