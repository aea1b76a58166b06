//! Opening a graph on a device.

use std::path::Path;

use ort::ep::{CUDA, ExecutionProvider, cuda::ConvAlgorithmSearch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use super::device::Device;
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
    pub(crate) fn choose(device: Device) -> Result<Self> {
        initialise()?;
        let has_cuda = CUDA::is_available().unwrap_or(false);
        match device {
            Device::Cpu => Ok(Self::Cpu),
            Device::Auto if has_cuda && Path::new("/dev/nvidia0").exists() => Ok(Self::Cuda(0)),
            Device::Auto => Ok(Self::Cpu),
            Device::Cuda(index) if has_cuda => Ok(Self::Cuda(index)),
            Device::Cuda(_) => {
                Err(Error::new(Kind::Runtime, format!("device '{device}' is not available: this ONNX Runtime has no CUDA provider"))
                    .with_hint("run `sensorium setup --gpu`, or SET mm.device = 'cpu'"))
            }
        }
    }
}

/// Opens `graph` for one owner thread.
///
/// On the CPU a session has one thread and does not spin: parallelism comes from one session per core, which on a
/// busy machine is up to half as fast again as one spinning session over all cores.
pub(crate) fn open_session(graph: &Path, provider: Provider) -> Result<Session> {
    let failed =
        |error: &dyn std::fmt::Display| Error::new(Kind::Package, format!("ONNX Runtime cannot load {}: {error}", graph.display()));
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
            .build()
            // Without this a failing provider is replaced by the CPU without a word.
            .error_on_failure();
        builder = builder.with_execution_providers([cuda]).map_err(|error| {
            Error::new(Kind::Runtime, format!("device 'cuda:{index}' cannot be used: {error}"))
                .with_hint("look at `nvidia-smi`, or SET mm.device = 'cpu'")
        })?;
    }
    builder.commit_from_file(graph).map_err(|error| failed(&error))
}
