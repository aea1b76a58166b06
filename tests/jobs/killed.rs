//! Runs that are killed at any moment and gone on with.

use std::fs;
use std::time::Duration;

use super::place::{JOB, Place, QUERY, scalar};
use crate::Outcome;
use crate::support::ensure;

/// Runs that are killed.
const KILLS: usize = 12;

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
    let mut begun = 0;
    for day in 1..=KILLS {
        let date = format!("2026-02-{day:02}");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis(100 + (random >> 33) % 1_200);
        let mut run = place.run_command(&date, &["--quiet"]).spawn()?;
        std::thread::sleep(wait);
        run.kill()?;
        run.wait()?;
        let committed = place.committed(&date)?;
        begun += usize::from(committed > 0);
        let said = place.run_to(0, &date, &[])?;
        let kept = format!("{committed} of them by an earlier attempt");
        ensure(committed == 0 || said.contains(&kept) || said.contains("was done already"), || {
            format!("killed after {wait:?}, {committed} chunks: {said}")
        })?;
        ensure(fs::read(place.output(&date))? == undisturbed, || format!("{date}, killed after {wait:?}: another output"))?;
    }
    ensure(begun > 0, || "no run was killed between its chunks".into())?;
    let state = place.command("status", &[]).output()?;
    let done = String::from_utf8_lossy(&state.stdout).matches("| done").count();
    ensure(done == KILLS + 1, || format!("{done} runs are done"))
}

impl Place {
    /// Chunks of a date that are in the ledger.
    fn committed(&self, date: &str) -> Result<u64, libtest_mimic::Failed> {
        let ledger = sensorium_jobs::Ledger::open(&self.path("jobs.sqlite")).map_err(|error| error.to_string())?;
        Ok(ledger.chunks(&format!("scores-{date}-1")).map_err(|error| error.to_string())?.len() as u64)
    }
}
