//! Opening a graph on a device.

use std::mem::ManuallyDrop;
use std::path::Path;

use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProvider, cuda::ConvAlgorithmSearch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use super::device::{Device, GpuOptions};
use super::environment::{environment, initialise};
use crate::error::{Error, Kind, Result};

/// A device after 'auto' was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Provider {
    Cpu,
    Cuda(u32),
}

impl Provider {
    /// 'auto' takes the first GPU when the loaded library has a CUDA provider and the driver shows a device.
    pub(crate) fn choose(device: Device) -> Result<Vec<Self>> {
        initialise()?;
        let has_cuda = CUDA::is_available().unwrap_or(false);
        let absent = |why: &str| {
            Err(Error::new(Kind::Runtime, format!("device '{device}' is not available: {why}"))
                .with_hint("run `sensorium setup --gpu`, or SET mm.device = 'cpu'"))
        };
        match device {
            Device::Cpu => Ok(vec![Self::Cpu]),
            Device::Auto if has_cuda && has_gpu(0) => Ok(vec![Self::Cuda(0)]),
            Device::Auto => Ok(vec![Self::Cpu]),
            Device::Cuda(_) | Device::CudaAll if !has_cuda => absent("this ONNX Runtime has no CUDA provider"),
            Device::Cuda(index) => Ok(vec![Self::Cuda(index)]),
            Device::CudaAll => match (0..MAX_GPUS).take_while(|index| has_gpu(*index)).map(Self::Cuda).collect::<Vec<_>>() {
                gpus if gpus.is_empty() => absent("the driver shows no GPU"),
                gpus => Ok(gpus),
            },
        }
    }
}

/// More are not looked for.
const MAX_GPUS: u32 = 64;

fn has_gpu(index: u32) -> bool {
    Path::new(&format!("/dev/nvidia{index}")).exists()
}

/// What a session is opened of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A file.
    File(&'a Path),
    /// Bytes of a graph, beside the files in a folder that it refers to.
    Bytes(&'a [u8], &'a Path),
}

/// Opens a graph.
///
/// On the CPU a run has one thread and does not spin: parallelism comes from one run per core, which on a busy machine
/// is up to half as fast again as one spinning run over all cores.
pub(crate) fn open_session(graph: Source<'_>, provider: Provider, options: GpuOptions) -> Result<Session> {
    let (Source::File(place) | Source::Bytes(_, place)) = graph;
    let failed =
        |error: &dyn std::fmt::Display| Error::new(Kind::Package, format!("ONNX Runtime cannot load {}: {error}", place.display()));
    let mut builder = Session::builder(environment()?)
        .map_err(|error| failed(&error))?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|error| failed(&error))?
        .with_intra_threads(1)
        .map_err(|error| failed(&error))?
        .with_intra_op_spinning(false)
        .map_err(|error| failed(&error))?;
    if let Provider::Cuda(index) = provider {
        let device = i32::try_from(index).map_err(|_| Error::new(Kind::Setting, format!("no such GPU: {index}")))?;
        let cuda = CUDA::default()
            .with_device_id(device)
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
            // The next power of two of a large batch is more than the card has.
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            // ONNX Runtime's own default is to round.
            .with_tf32(options.tf32);
        let cuda = if options.memory_bytes == 0 { cuda } else { cuda.with_memory_limit(options.memory_bytes) };
        let cuda = cuda
            .build()
            // Without this a failing provider is replaced by the CPU without a word.
            .error_on_failure();
        builder = builder.with_execution_providers([cuda]).map_err(|error| {
            Error::new(Kind::Runtime, format!("device 'cuda:{index}' cannot be used: {error}"))
                .with_hint("look at `nvidia-smi`, or SET mm.device = 'cpu'")
        })?;
    }
    match graph {
        Source::File(file) => builder.commit_from_file(file).map_err(|error| failed(&error)),
        Source::Bytes(bytes, folder) => builder
            .with_config_entry(EXTERNAL_FOLDER, folder.to_string_lossy())
            .map_err(|error| failed(&error))?
            .commit_from_memory(bytes)
            .map_err(|error| failed(&error)),
    }
}

/// `kOrtSessionOptionsModelExternalInitializersFileFolderPath` of ONNX Runtime.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// A CPU session that all workers run at once, so that a model's weights are in memory once and not once a core.
///
/// ONNX Runtime documents `Run` as safe to call from several threads
/// (<https://onnxruntime.ai/docs/api/c/struct_ort_api.html>), and its CPU provider keeps no state between runs. `ort`
/// asks for `&mut Session` because other providers do; those have one owner thread instead.
#[derive(Debug)]
pub(crate) struct SharedSession(Session);

impl SharedSession {
    /// Opens `graph` on the CPU.
    pub(crate) fn open(graph: Source<'_>) -> Result<Self> {
        open_session(graph, Provider::Cpu, GpuOptions::default()).map(Self)
    }

    /// Calls `work` with the session; other threads may be inside at the same time.
    #[expect(unsafe_code, reason = "ort has no shared handle to a session, which ONNX Runtime allows on the CPU")]
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        // SAFETY: the copy is never dropped, so what it points to is freed once, by the original, which outlives the
        // borrow of `self`. `run` only reads through it (ort's own `run_inner` takes `&self`), and ONNX Runtime's CPU
        // provider may be run by several threads at once.
        let mut handle = ManuallyDrop::new(unsafe { std::ptr::read(&self.0) });
        work(&mut handle)
    }
}
