//! The sessions of a loaded model: shared by all workers on the CPU, owned by one thread for each GPU.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ort::session::{NoSelectedOutputs, RunOptions, Session};
use ort::value::DynValue;

use super::owners::{Owners, Worker};
use super::stats::Stats;
use crate::error::{Error, Kind, Result};
use crate::onnx::last_token_alone;
use crate::package::{DECODER, DECODER_WITH_PAST, LOGITS, Manifest, Stage};
use crate::runtime::{GpuOptions, Provider, SharedSession, Source, check_room, open_session};

/// Tensors by the name of their graph input or output.
pub(super) type Tensors = Vec<(String, DynValue)>;

/// Tensors that a graph is given; several runs may be given the same.
pub(super) type Feeds = Vec<(String, Arc<DynValue>)>;

/// One session for each stage of a model.
#[derive(Debug)]
pub(super) struct Sessions {
    runners: Runners,
    /// For each stage whether it gives the scores of the last token alone.
    scores_last: Vec<bool>,
}

#[derive(Debug)]
enum Runners {
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
        Self { runners: Runners::Shared(Vec::new()), scores_last: Vec::new() }
    }

    /// Opens the graphs of `manifest`; a device that cannot be used is an error here and not at the first row.
    pub(super) fn open(manifest: &Manifest, folder: &Path, providers: &[Provider], options: GpuOptions) -> Result<Self> {
        if providers == [Provider::Cpu] {
            check_room("the model", manifest.files.values().map(|file| file.bytes).sum())?;
        }
        let writes = manifest.writes();
        let graph = |stage: &Stage| Graph::read(folder.join(&stage.graph), writes && DECODERS.contains(&stage.name.as_str()));
        let graphs: Arc<[Graph]> = manifest.stages.iter().map(graph).collect::<Result<_>>()?;
        let scores_last = graphs.iter().map(|graph| graph.last_alone.is_some()).collect();
        let runners = match providers {
            [Provider::Cpu] => {
                let opened = graphs.iter().map(Graph::open).collect::<Result<Vec<_>>>()?;
                let (sessions, scores_last) = opened.into_iter().unzip();
                return Ok(Self { runners: Runners::Shared(sessions), scores_last });
            }
            devices => {
                let owner = |device: &Provider| {
                    let (graphs, device) = (Arc::clone(&graphs), *device);
                    move || own(&graphs, device, options)
                };
                Owners::start(devices.iter().map(owner).collect()).map(Runners::Owned)
            }
        };
        Ok(Self { runners: runners?, scores_last })
    }

    /// Whether a stage gives the scores of the last token alone.
    pub(super) fn scores_last(&self, stage: usize) -> bool {
        self.scores_last.get(stage).copied().unwrap_or(false)
    }

    /// Runs the graph of stage number `stage`; outputs are in host memory.
    pub(super) fn run(&self, stage: usize, feeds: Feeds, options: &Arc<RunOptions<NoSelectedOutputs>>, stats: &Stats) -> Result<Tensors> {
        match &self.runners {
            Runners::Shared(sessions) => {
                let start = Instant::now();
                let outputs = sessions[stage].with(|session| run(session, &feeds, options));
                stats.device_time.since(start);
                outputs
            }
            Runners::Owned(owners) => owners.run(Job { stage, feeds, options: Arc::clone(options) }, stats)?,
        }
    }

    /// Whether all workers run them on the CPU.
    pub(super) fn are_on_cpu(&self) -> bool {
        matches!(self.runners, Runners::Shared(_))
    }

    /// Copies of the weights in memory.
    pub(super) fn copies(&self) -> u64 {
        match &self.runners {
            Runners::Shared(_) => 1,
            Runners::Owned(owners) => owners.count() as u64,
        }
    }
}

/// Graphs whose scores are wanted behind the last token.
const DECODERS: [&str; 2] = [DECODER, DECODER_WITH_PAST];

/// A graph, and in place of it one that scores the last token alone.
#[derive(Debug)]
struct Graph {
    path: PathBuf,
    last_alone: Option<Vec<u8>>,
}

impl Graph {
    fn read(path: PathBuf, is_decoder: bool) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|_| is_decoder);
        let Some(name) = name else { return Ok(Self { path, last_alone: None }) };
        let bytes = std::fs::read(&path).map_err(|error| Error::new(Kind::Package, format!("cannot read {}: {error}", path.display())))?;
        Ok(Self { last_alone: last_token_alone(&name, &bytes, LOGITS), path })
    }

    /// A session on the CPU, and whether it scores the last token alone. The file itself is opened where ONNX Runtime does not take the
    /// other.
    fn open(&self) -> Result<(SharedSession, bool)> {
        match (SharedSession::open(self.source()), &self.last_alone) {
            (Ok(session), last_alone) => Ok((session, last_alone.is_some())),
            (Err(_), Some(_)) => Ok((SharedSession::open(Source::File(&self.path))?, false)),
            (Err(error), None) => Err(error),
        }
    }

    fn source(&self) -> Source<'_> {
        match (&self.last_alone, self.path.parent()) {
            (Some(bytes), Some(folder)) => Source::Bytes(bytes, folder),
            _ => Source::File(&self.path),
        }
    }
}

fn own(graphs: &[Graph], device: Provider, options: GpuOptions) -> Result<Worker<Job, Result<Tensors>>> {
    let mut sessions = graphs.iter().map(|graph| open_session(graph.source(), device, options)).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |Job { stage, feeds, options }| run(&mut sessions[stage], &feeds, &options)))
}

fn run(session: &mut Session, feeds: &Feeds, options: &RunOptions<NoSelectedOutputs>) -> Result<Tensors> {
    let failed = |error: ort::Error| Error::new(Kind::Model, error.to_string()).retryable();
    let feeds: Vec<(&str, &DynValue)> = feeds.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
    let outputs = session.run_with_options(feeds, options).map_err(failed)?;
    Ok(outputs.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
