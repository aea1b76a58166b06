//! Runs that are killed at any moment and gone on with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use sensorium_jobs::{Ledger, RunState};

use super::place::{JOB, Place, QUERY, scalar};
use crate::Outcome;
use crate::support::{Bucket, ensure};

/// Runs that are killed on each kind of sink, unless `SENSORIUM_KILLS` says how many.
const KILLS: u64 = 6;
/// Every how manieth is killed once all its chunks are staged, and its output is about to appear.
const LAST_MOMENT: u64 = 3;
/// A run takes about a second.
const PATIENCE: Duration = Duration::from_secs(60);
const DATE: &str = "2026-02-01";
const RUN: &str = "scores-2026-02-01-1";
const CHUNKS: u64 = 40;

pub(super) fn parquet() -> Outcome {
    killed(&Sink { bucket: None, is_delta: false })
}

pub(super) fn delta() -> Outcome {
    killed(&Sink { bucket: None, is_delta: true })
}

pub(super) fn parquet_on_s3() -> Outcome {
    killed(&Sink { bucket: Some(Bucket::open()?), is_delta: false })
}

pub(super) fn delta_on_s3() -> Outcome {
    killed(&Sink { bucket: Some(Bucket::open()?), is_delta: true })
}

/// SIGKILL at moments from before the first chunk to behind the last, and between the last chunk and the commit: the output is that of an
/// undisturbed run, byte for byte, there once, and no chunk that was committed is made again.
fn killed(sink: &Sink) -> Outcome {
    let place = Place::new(20_000)?;
    let mut random: u64 = scalar("SELECT arrow_cast(random() * 1000000000, 'UInt64')")?.parse()?;
    let kills = std::env::var("SENSORIUM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    sink.run(&place, 0, true)?;
    let undisturbed = fs::read(sink.output(&place, 0)?)?;
    let (mut cut, mut between, mut last) = (0, 0, 0);
    for number in 1..=kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis((random >> 33) % 1_000);
        sink.write(&place, number)?;
        let ledger = place.path(&format!("jobs-{number}.sqlite"));
        let mut run = sink.command(&place, number).spawn()?;
        let start = Instant::now();
        if number % LAST_MOMENT == 0 {
            while committed(&ledger)?.0 < CHUNKS {
                ensure(start.elapsed() < PATIENCE, || "a run stages nothing".into())?;
            }
        } else {
            std::thread::sleep(wait);
        }
        run.kill()?;
        run.wait()?;
        ensure_intact(&ledger)?;
        let (staged, is_done) = committed(&ledger)?;
        cut += usize::from(!is_done);
        between += usize::from(!is_done && staged > 0 && staged < CHUNKS);
        last += usize::from(!is_done && staged == CHUNKS);
        let said = sink.run(&place, number, false)?;
        let kept = format!("{staged} of them by an earlier attempt");
        ensure(staged == 0 || said.contains(&kept) || said.contains("was done already"), || {
            format!("killed after {wait:?}, {staged} chunks: {said}")
        })?;
        ensure(fs::read(sink.output(&place, number)?)? == undisturbed, || format!("killed after {wait:?}: another output"))?;
    }
    ensure(cut > 0, || "no run was killed before it was done".into())?;
    eprintln!("{kills} runs: {cut} killed before they were done, {between} of these between their chunks, {last} behind the last one");
    Ok(())
}

/// What SQLite itself says of the file that a process left behind.
fn ensure_intact(ledger: &Path) -> Outcome {
    if !ledger.exists() {
        return Ok(());
    }
    let found: String = rusqlite::Connection::open(ledger)?.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure(found == "ok", || format!("{}: {found}", ledger.display()))
}

/// Chunks that are in a ledger, and whether its run is done.
fn committed(ledger: &Path) -> Result<(u64, bool), Failed> {
    let Some(ledger) = Ledger::open_known(&ledger.to_string_lossy())? else { return Ok((0, false)) };
    let is_done = ledger.run(RUN)?.is_some_and(|run| run.state == RunState::Done);
    Ok((ledger.chunks(RUN)?.len() as u64, is_done))
}

/// Where rows go.
struct Sink {
    bucket: Option<Bucket>,
    is_delta: bool,
}

impl Sink {
    /// The job with the sink of one run.
    fn write(&self, place: &Place, number: u64) -> Outcome {
        let path = match &self.bucket {
            None => format!("out-{number}"),
            Some(bucket) => bucket.url(&format!("out-{number}")),
        };
        let format = if self.is_delta { "delta" } else { "parquet" };
        place.write(&JOB.replace("700", "500").replace("path = 'out'", &format!("path = '{path}', format = '{format}'")), QUERY)
    }

    fn command(&self, place: &Place, number: u64) -> Command {
        let mut command = place.run_command(DATE, &[]);
        command.env("SENSORIUM_LEDGER", place.path(&format!("jobs-{number}.sqlite"))).stderr(std::process::Stdio::null());
        if let Some(bucket) = &self.bucket {
            bucket.tell(&mut command);
        }
        command
    }

    /// A run to its end.
    fn run(&self, place: &Place, number: u64, is_first: bool) -> Result<String, Failed> {
        if is_first {
            self.write(place, number)?;
        }
        let done = self.command(place, number).stderr(std::process::Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure(done.status.success(), || said.clone())?;
        Ok(said)
    }

    /// The one file that a run has made appear.
    fn output(&self, place: &Place, number: u64) -> Result<PathBuf, Failed> {
        let folder = match &self.bucket {
            None => place.path(&format!("out-{number}")),
            Some(bucket) => bucket.path(&format!("out-{number}")),
        };
        let files = files_below(&folder.join(format!("run_date={DATE}")))?;
        let [name] = files.as_slice() else { return Err(format!("files of the date: {files:?}").into()) };
        ensure(if self.is_delta { name.starts_with("scores-") } else { name == "scores.parquet" }, || name.clone())?;
        let file = format!("run_date={DATE}/{name}");
        ensure(!folder.join("_staging").exists() || files_below(&folder.join("_staging"))?.is_empty(), || "staged files are left".into())?;
        if self.is_delta {
            let active = active_files(&folder)?;
            ensure(active == [file.as_str()], || format!("files of the table: {active:?}"))?;
        }
        Ok(folder.join(file))
    }
}

fn files_below(folder: &Path) -> Result<Vec<String>, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files_below(&entry.path())?);
        } else {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Files that the commits of a Delta table have added and not removed, in their order.
pub(super) fn active_files(table: &Path) -> Result<Vec<String>, Failed> {
    let mut commits: Vec<PathBuf> =
        fs::read_dir(table.join("_delta_log"))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    commits.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    commits.sort();
    let mut active: Vec<String> = Vec::new();
    for commit in commits {
        for line in fs::read_to_string(commit)?.lines() {
            let action: serde_json::Value = serde_json::from_str(line)?;
            let path = |kind: &str| action[kind]["path"].as_str().map(|path| path.replace("%3D", "="));
            if let Some(removed) = path("remove") {
                active.retain(|path| *path != removed);
            }
            active.extend(path("add"));
        }
    }
    Ok(active)
}
