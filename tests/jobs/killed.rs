//! Runs that are killed at any moment and gone on with.

use std::fs;
use std::time::Duration;

use super::place::{JOB, Place, QUERY, scalar};
use sensorium_jobs::{Ledger, RunState};

use crate::Outcome;
use crate::support::ensure;

/// Runs that are killed, unless `SENSORIUM_KILLS` says how many.
const KILLS: u64 = 12;

/// SIGKILL at moments from before the first chunk to behind the last: the output is that of an undisturbed run, byte for byte, and no chunk
/// that was committed is made again.
pub(super) fn killed() -> Outcome {
    let place = Place::new(20_000)?;
    place.write(&JOB.replace("700", "500"), QUERY)?;
    place.run_to(0, "2026-01-01", &[])?;
    let undisturbed = fs::read(place.output("2026-01-01"))?;
    let query = QUERY.replace("{{ run_date }}", "DATE '2026-01-01'");
    place.write(&JOB.replace("700", "500"), &query)?;
    let mut random: u64 = scalar("SELECT arrow_cast(random() * 1000000000, 'UInt64')")?.parse()?;
    let kills = std::env::var("SENSORIUM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let (mut cut, mut between) = (0, 0);
    for day in 1..=kills {
        let date = place.count(&format!("SELECT DATE '2026-02-01' + INTERVAL '{day} days'"))?.replace("T00:00:00", "");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis((random >> 33) % 1_000);
        let mut run = place.run_command(&date, &["--quiet"]).spawn()?;
        std::thread::sleep(wait);
        run.kill()?;
        run.wait()?;
        let (committed, is_done) = place.committed(&date)?;
        cut += usize::from(!is_done);
        between += usize::from(!is_done && committed > 0);
        let said = place.run_to(0, &date, &[])?;
        let kept = format!("{committed} of them by an earlier attempt");
        ensure(committed == 0 || said.contains(&kept) || said.contains("was done already"), || {
            format!("killed after {wait:?}, {committed} chunks: {said}")
        })?;
        ensure(fs::read(place.output(&date))? == undisturbed, || format!("{date}, killed after {wait:?}: another output"))?;
    }
    ensure(between > 0, || "no run was killed between its chunks".into())?;
    let state = place.command("status", &["--last", "1000"]).output()?;
    let done = String::from_utf8_lossy(&state.stdout).matches("| done").count() as u64;
    ensure(done == kills + 1, || format!("{done} runs are done"))?;
    eprintln!("{kills} runs: {cut} killed before they were done, {between} of these between their chunks");
    Ok(())
}

impl Place {
    /// Chunks of a date that are in the ledger, and whether its run is done.
    fn committed(&self, date: &str) -> Result<(u64, bool), libtest_mimic::Failed> {
        let ledger = Ledger::open(&self.path("jobs.sqlite"))?;
        let run = format!("scores-{date}-1");
        let is_done = ledger.run(&run)?.is_some_and(|run| run.state == RunState::Done);
        Ok((ledger.chunks(&run)?.len() as u64, is_done))
    }
}
