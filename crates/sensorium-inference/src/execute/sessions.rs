//! The sessions of a loaded model: shared by all workers on the CPU, owned by one thread for each GPU.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ort::session::{NoSelectedOutputs, RunOptions, Session};
use ort::value::DynValue;

use super::owners::{Owners, Worker};
use super::stats::Stats;
use crate::error::{Error, Kind, Result};
use crate::package::Manifest;
use crate::runtime::{GpuOptions, Provider, SharedSession, open_session};

/// Tensors by the name of their graph input or output.
pub(super) type Tensors = Vec<(String, DynValue)>;

/// Tensors that a graph is given; several runs may be given the same.
pub(super) type Feeds = Vec<(String, Arc<DynValue>)>;

/// One session for each stage of a model.
#[derive(Debug)]
pub(super) enum Sessions {
    /// Whoever calls runs the graph on its own thread.
    Shared(Vec<SharedSession>),
    /// Callers queue for the threads that own the devices.
    Owned(Owners<Job, Result<Tensors>>),
}

/// One batch through the graph of one stage.
pub(super) struct Job {
    stage: usize,
    feeds: Feeds,
    options: Arc<RunOptions<NoSelectedOutputs>>,
}

impl Sessions {
    /// Of a model that runs elsewhere.
    pub(super) fn nowhere() -> Self {
        Self::Shared(Vec::new())
    }

    /// Opens the graphs of `manifest`; a device that cannot be used is an error here and not at the first row.
    pub(super) fn open(manifest: &Manifest, folder: &Path, providers: &[Provider], options: GpuOptions) -> Result<Self> {
        let graphs: Vec<PathBuf> = manifest.stages.iter().map(|stage| folder.join(&stage.graph)).collect();
        match providers {
            [Provider::Cpu] => graphs.iter().map(|graph| SharedSession::open(graph)).collect::<Result<_>>().map(Self::Shared),
            devices => {
                let owner = |device: &Provider| {
                    let (graphs, device) = (graphs.clone(), *device);
                    move || own(&graphs, device, options)
                };
                Owners::start(devices.iter().map(owner).collect()).map(Self::Owned)
            }
        }
    }

    /// Runs the graph of stage number `stage`; outputs are in host memory.
    pub(super) fn run(&self, stage: usize, feeds: Feeds, options: &Arc<RunOptions<NoSelectedOutputs>>, stats: &Stats) -> Result<Tensors> {
        match self {
            Self::Shared(sessions) => {
                let start = Instant::now();
                let outputs = sessions[stage].with(|session| run(session, &feeds, options));
                stats.device_time.since(start);
                outputs
            }
            Self::Owned(owners) => owners.run(Job { stage, feeds, options: Arc::clone(options) }, stats)?,
        }
    }

    /// Copies of the weights in memory.
    pub(super) fn copies(&self) -> u64 {
        match self {
            Self::Shared(_) => 1,
            Self::Owned(owners) => owners.count() as u64,
        }
    }
}

fn own(graphs: &[PathBuf], device: Provider, options: GpuOptions) -> Result<Worker<Job, Result<Tensors>>> {
    let mut sessions = graphs.iter().map(|graph| open_session(graph, device, options)).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |Job { stage, feeds, options }| run(&mut sessions[stage], &feeds, &options)))
}

fn run(session: &mut Session, feeds: &Feeds, options: &RunOptions<NoSelectedOutputs>) -> Result<Tensors> {
    let failed = |error: ort::Error| Error::new(Kind::Model, error.to_string()).retryable();
    let feeds: Vec<(&str, &DynValue)> = feeds.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    let outputs = session.run_with_options(feeds, options).map_err(failed)?;
    Ok(outputs.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
