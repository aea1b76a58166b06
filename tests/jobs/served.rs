//! The scheduler.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::place::{JOB, Place, QUERY};
use crate::Outcome;
use crate::support::ensure;

/// How long a scheduler may take to begin what is due.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was missed is made up for; SIGTERM stops a run behind its chunk, and the next scheduler goes on with it.
pub(super) fn served() -> Outcome {
    let place = Place::new(60_000)?;
    let today = place.count("SELECT arrow_cast(now(), 'Date32')")?;
    let yesterday = place.count("SELECT arrow_cast(now(), 'Date32') - INTERVAL '1 day'")?.replace("T00:00:00", "");
    let schedule = "schedule = { cron = '0 0 * * *' }\n";
    place.write(&format!("{schedule}{}", JOB.replace("700", "200")), QUERY)?;
    let job = place.path("scores.toml").to_string_lossy().into_owned();
    let if_due = || place.command("run", &[&job, "--if-due"]).output();
    let said = if_due()?;
    ensure(said.status.success() && said.stderr.is_empty(), || "a job without a run is made up for".into())?;
    place.run_to(0, &yesterday, &["--quiet"])?;
    let mut first = place.serve()?;
    let staged = place.path(&format!("out/_staging/scores-{today}-1/000001.staged"));
    wait_for(&mut first, || staged.exists())?;
    terminate(&first)?;
    ensure(first.wait()?.success(), || "a scheduler that is told to stop fails".into())?;
    ensure(!place.output(&today).exists(), || "the run was done before it could be stopped".into())?;
    // Two at once: one of them makes the run.
    let (mut second, mut third) = (place.serve()?, place.serve()?);
    wait_for(&mut second, || place.output(&today).exists())?;
    for scheduler in [&mut second, &mut third] {
        terminate(scheduler)?;
        ensure(scheduler.wait()?.success(), || "a scheduler has failed".into())?;
    }
    place.ensure_output(&today, QUERY)?;
    let said = if_due()?;
    ensure(said.status.success() && said.stderr.is_empty(), || "a date that is done is due".into())?;
    let log = place.command("logs", &[&format!("scores-{today}-1")]).output()?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    ensure(log.matches("rows in ").count() == 1 && log.contains("was stopped"), || log)
}

impl Place {
    fn serve(&self) -> Result<Child, libtest_mimic::Failed> {
        let folder = self.path("").to_string_lossy().into_owned();
        Ok(self.command("serve", &[&folder]).stderr(std::process::Stdio::null()).spawn()?)
    }
}

fn terminate(child: &Child) -> Outcome {
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    ensure(sent.success(), || "no signal was sent".into())
}

fn wait_for(child: &mut Child, holds: impl Fn() -> bool) -> Outcome {
    let start = Instant::now();
    while !holds() {
        ensure(start.elapsed() < PATIENCE && child.try_wait()?.is_none(), || "the scheduler does nothing, or has ended".into())?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
