//! The one ONNX Runtime environment of the process.

use std::path::PathBuf;
use std::sync::OnceLock;

use ort::environment::Environment;

use super::locate::locate;
use crate::error::{Error, Kind, Result};

/// The environment lives as long as the process: ONNX Runtime allows one, and tearing it down under a running
/// session is undefined.
static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();

struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// The variable by which ONNX Runtime is told not to tell.
const TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// What is known of the loaded library.
#[derive(Debug, Clone)]
pub struct RuntimeInfo {
    /// Path it was loaded from.
    pub library: PathBuf,
    /// Build line that the library gives of itself.
    pub build: &'static str,
}

impl RuntimeInfo {
    /// `ONNX Runtime 1.31 (commit)`, as far as the library says.
    pub fn name(&self) -> String {
        let version = ort::util::probe(&self.library).map_or_else(String::new, |minor| format!(" 1.{minor}"));
        let commit = self.build.split(", ").find_map(|part| part.strip_prefix("git-commit-id="));
        format!("ONNX Runtime{version}{}", commit.map_or_else(String::new, |commit| format!(" ({commit})")))
    }
}

fn runtime() -> Result<&'static Runtime> {
    RUNTIME.get_or_init(start).as_ref().map_err(Clone::clone)
}

fn start() -> Result<Runtime> {
    keep_to_itself();
    let library = locate()?;
    let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Runtime, format!("ONNX Runtime does not start: {error}"));
    let environment = ort::init_from(&library)
        .map_err(|error| failed(&error))?
        .with_name("sensorium")
        .with_telemetry(false)
        .build()
        .map_err(|error| failed(&error))?;
    Ok(Runtime { environment, library })
}

/// Keeps ONNX Runtime from telling its maker of processes and models, which official builds from 1.29 on begin with before their
/// environment can be told not to (onnxruntime, `core/platform/posix/telemetry_1ds.cc`).
#[expect(unsafe_code, reason = "the library reads nothing but the process's environment before it begins")]
fn keep_to_itself() {
    if std::env::var_os(TELEMETRY).is_none() {
        // SAFETY: readers in Rust take turns with this. C code of another thread that reads at the same time without asking reads the old
        // environment, which glibc does not free when the first variable is added; this is the only one that Sensorium adds.
        unsafe { std::env::set_var(TELEMETRY, "1") };
    }
}

/// Finds and loads ONNX Runtime; later calls return at once.
///
/// # Errors
/// With every path that was tried, when no usable library is found.
pub fn initialise() -> Result<()> {
    runtime().map(|_| ())
}

/// Path and build of the loaded library.
///
/// # Errors
/// As [`initialise`].
pub fn runtime_info() -> Result<RuntimeInfo> {
    let runtime = runtime()?;
    Ok(RuntimeInfo { library: runtime.library.clone(), build: ort::info() })
}

/// ONNX Runtime's environment, of which a process has one; for benchmarks and checks that run a graph by themselves.
///
/// # Errors
/// As [`initialise`].
pub fn environment() -> Result<&'static Environment> {
    runtime().map(|runtime| &runtime.environment)
}
