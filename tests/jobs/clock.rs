//! A scheduler whose clock is set: of a real process, by libfaketime, whose library is in `SENSORIUM_TEST_FAKETIME`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;

use super::place::{JOB, Place, QUERY};
use super::served::{terminate, wait_for};
use crate::Outcome;
use crate::support::ensure;

/// 2031-03-10, midnight in UTC.
const MIDNIGHT: i64 = 1_930_867_200;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Some looks at the clock.
const A_WHILE: Duration = Duration::from_millis(3_500);

/// A short leap skips no run, a clock that was ahead holds none up, and days that a correction skips are not made up for where the job
/// does not want it.
pub(super) fn set() -> Outcome {
    let Some(library) = std::env::var_os("SENSORIUM_TEST_FAKETIME").map(PathBuf::from).filter(|path| path.exists()) else {
        eprintln!("clock: SKIPPED, SENSORIUM_TEST_FAKETIME names no library; libfaketime has one");
        return Ok(());
    };
    let place = Place::new(400)?;
    place.write(&format!("schedule = {{ cron = '0 2 * * *', catch_up = 'none' }}\n{JOB}"), QUERY)?;
    let clock = place.path("clock");
    let has_run = |date: &str| place.output(date).exists();
    set_clock(&clock, MIDNIGHT + HOUR + 30 * MINUTE)?;
    let folder = place.path("").to_string_lossy().into_owned();
    let mut serve = place.command("serve", &[&folder]);
    serve
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stderr(Stdio::null());
    let mut serve = serve.spawn()?;
    let mut leaps = || -> Outcome {
        std::thread::sleep(A_WHILE);
        ensure(!has_run("2031-03-10"), || "a run before its time".into())?;
        set_clock(&clock, MIDNIGHT + 2 * HOUR + 15 * MINUTE)?;
        wait_for(&mut serve, || has_run("2031-03-10"))?;
        // It was ahead by days.
        set_clock(&clock, MIDNIGHT - 8 * DAY + 2 * HOUR - 8)?;
        wait_for(&mut serve, || has_run("2031-03-02"))?;
        // It was behind by days; this one's time has gone by.
        set_clock(&clock, MIDNIGHT - 4 * DAY + 5 * HOUR)?;
        std::thread::sleep(A_WHILE);
        set_clock(&clock, MIDNIGHT - 3 * DAY + 2 * HOUR - 8)?;
        wait_for(&mut serve, || has_run("2031-03-07"))
    };
    let leapt = leaps();
    terminate(&serve)?;
    ensure(serve.wait()?.success(), || "a scheduler that is told to stop fails".into())?;
    leapt?;
    let listed = fs::read_dir(place.path("out"))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut dates = listed.collect::<Result<Vec<String>, std::io::Error>>()?;
    dates.sort();
    ensure(dates == ["run_date=2031-03-02", "run_date=2031-03-07", "run_date=2031-03-10"], || format!("{dates:?}"))?;
    ["2031-03-02", "2031-03-07", "2031-03-10"].iter().try_for_each(|date| place.ensure_output(date, QUERY))
}

/// Says how far the scheduler's clock is from the machine's; the file is written as a whole.
fn set_clock(file: &Path, to: i64) -> Result<(), Failed> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let new = file.with_extension("new");
    fs::write(&new, format!("{:+}\n", to - now))?;
    Ok(fs::rename(new, file)?)
}
