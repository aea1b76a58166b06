//! The ledger in a PostgreSQL database: of a real server, whose URL is in `SENSORIUM_TEST_POSTGRES`.

use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use sensorium_jobs::{Ledger, RunState};

use super::place::{JOB, Place, QUERY};
use crate::Outcome;
use crate::support::ensure;

const PATIENCE: Duration = Duration::from_secs(60);

/// Tables that two commands make at once; a run that is killed and gone on with; one run at a time, also from elsewhere.
pub(super) fn on_postgres() -> Outcome {
    let Ok(server) = std::env::var("SENSORIUM_TEST_POSTGRES") else {
        eprintln!("postgres: SKIPPED, SENSORIUM_TEST_POSTGRES names no server; .ci/postgres starts one");
        return Ok(());
    };
    let database = format!("ledger_{}", std::process::id());
    psql(&server, &format!("CREATE DATABASE {database}"))?;
    let url = format!("{server}/{database}");
    let place = Place::new(20_000)?;
    place.write(&JOB.replace("700", "500"), QUERY)?;
    let run = |date: &str| {
        let mut command = place.run_command(date, &[]);
        command.env("SENSORIUM_LEDGER", &url).stderr(std::process::Stdio::piped());
        command
    };
    let (first, second) = (run("2026-11-24").spawn()?, run("2026-11-24").spawn()?);
    let said: Vec<(Option<i32>, String)> = [first, second]
        .into_iter()
        .map(|child| child.wait_with_output().map(|done| (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())))
        .collect::<std::io::Result<_>>()?;
    let done = said.iter().filter(|(code, _)| *code == Some(0)).count();
    let others = said.iter().filter(|(code, said)| *code != Some(0) && !said.contains("job scores is running")).count();
    ensure(done >= 1 && others == 0, || format!("{said:?}"))?;

    let ledger = Ledger::open(&url)?;
    let mut killed = run("2026-11-25").spawn()?;
    let start = Instant::now();
    while ledger.chunks("scores-2026-11-25-1")?.len() < 5 {
        ensure(start.elapsed() < PATIENCE, || "a run stages nothing".into())?;
        std::thread::sleep(Duration::from_millis(5));
    }
    let said = run("2026-11-26").output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure(said.contains("job scores is running"), || said)?;
    killed.kill()?;
    killed.wait()?;
    let staged = ledger.chunks("scores-2026-11-25-1")?.len();
    ensure(ledger.run("scores-2026-11-25-1")?.is_some_and(|run| run.state == RunState::Running), || {
        "the run was done before it was killed".into()
    })?;
    // The server notices that the client is gone, and gives its lock back.
    let start = Instant::now();
    let said = loop {
        let done = run("2026-11-25").output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() {
            break said;
        }
        ensure(said.contains("is running") && start.elapsed() < PATIENCE, || said)?;
    };
    ensure(said.contains(&format!("40 chunks, {staged} of them by an earlier attempt")), || said)?;
    place.ensure_output("2026-11-25", QUERY)?;

    let job = place.path("scores.toml").to_string_lossy().into_owned();
    for (what, arguments, expected) in [
        ("status", vec!["scores"], "| scores-2026-11-25-1 | done"),
        ("logs", vec!["scores-2026-11-25-1"], "20000 rows in "),
        ("verify", vec![job.as_str(), "scores-2026-11-25-1"], "1000 rows made again, 0 differ"),
    ] {
        let said = place.command(what, &arguments).env("SENSORIUM_LEDGER", &url).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        ensure(said.contains(expected), || format!("{what}: {said}"))?;
    }
    let unreachable = place.command("status", &[]).env("SENSORIUM_LEDGER", "postgres://nobody@127.0.0.1:1/none").output()?;
    let said = String::from_utf8_lossy(&unreachable.stderr).into_owned();
    ensure(said.contains("ledger: cannot connect") && said.contains("hint: --ledger postgres://"), || said)?;
    drop(ledger);
    psql(&server, &format!("DROP DATABASE {database} WITH (FORCE)"))
}

fn psql(server: &str, sql: &str) -> Result<(), Failed> {
    let done = Command::new("psql").args([&format!("{server}/postgres"), "-v", "ON_ERROR_STOP=1", "-qc", sql]).output()?;
    ensure(done.status.success(), || String::from_utf8_lossy(&done.stderr).into_owned())
}
