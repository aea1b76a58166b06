//! Names of devices, as `mm.device` takes them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind};

/// Where models run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The first GPU if the library has a provider for it and it works, else the CPU.
    #[default]
    Auto,
    /// All cores, one single-threaded session each.
    Cpu,
    /// One NVIDIA GPU, by its index.
    Cuda(u32),
    /// All NVIDIA GPUs; each has a copy of the model, and all take batches off one queue.
    CudaAll,
}

/// How GPUs are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct GpuOptions {
    /// Whether products may be rounded to TF32's 10 bits, which is several times as fast on tensor cores.
    pub tf32: bool,
    /// Memory that a model may take on each GPU, in bytes; 0 for all there is.
    pub memory_bytes: usize,
}

impl Device {
    /// Whether models will run on a GPU, as far as that can be told without a look at the library.
    pub(crate) fn may_be_gpu(self) -> bool {
        match self {
            Self::Auto => std::path::Path::new("/dev/nvidia0").exists(),
            Self::Cpu => false,
            Self::Cuda(_) | Self::CudaAll => true,
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::new(Kind::Setting, format!("not a device: '{text}'")).with_hint("one of 'auto', 'cpu', 'cuda', 'cuda:1', 'cuda:all'");
        match text.trim().to_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "cuda:all" => Ok(Self::CudaAll),
            other => {
                let index = other.strip_prefix("cuda:").ok_or_else(wrong)?;
                index.parse().map(Self::Cuda).map_err(|_| wrong())
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::CudaAll => f.write_str("cuda:all"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}
