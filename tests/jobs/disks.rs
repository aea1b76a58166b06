//! Disks that are full, read-only or taken away.

use std::fs;
use std::process::Command;

use libtest_mimic::Failed;

use super::place::{JOB, Place, QUERY};
use crate::Outcome;
use crate::support::ensure;

/// A file system of its own, of so many bytes, until this is dropped.
struct Disk<'p> {
    place: &'p Place,
    name: &'p str,
}

impl<'p> Disk<'p> {
    /// `None` where this user may not mount one.
    fn mount(place: &'p Place, name: &'p str, kib: u64) -> Result<Option<Self>, Failed> {
        fs::create_dir_all(place.path(name))?;
        let disk = Self { place, name };
        let is_mounted = disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])?;
        if !is_mounted {
            std::mem::forget(disk);
            return Ok(None);
        }
        Ok(Some(disk))
    }

    fn remount(&self, options: &str) -> Outcome {
        let is_done = self.run("mount", &["-o", &format!("remount,{options}")])?;
        ensure(is_done, || format!("cannot remount: {options}"))
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Result<bool, Failed> {
        Ok(Command::new(command).args(arguments).arg(self.place.path(self.name)).output()?.status.success())
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = self.run("umount", &["--lazy"]);
    }
}

/// A sink and a ledger whose disk is full, and a sink that becomes read-only or is deleted in the middle: an error that says so, and the
/// next attempt goes on where there is room again.
pub(super) fn full() -> Outcome {
    let place = Place::new(20_000)?;
    // Some text, so that there is something to write.
    let query = QUERY.replace("AS day", "AS day, concat(a * 1.37, b / 7.0, id * a) AS filler");
    place.write(JOB, &query)?;
    let Some(disk) = Disk::mount(&place, "out", 120)? else {
        eprintln!("disks: SKIPPED, this user may not mount one");
        return Ok(());
    };
    let said = place.run_to(1, "2026-11-25", &[])?;
    ensure(said.contains("No space left on device"), || said)?;
    ensure(!place.output("2026-11-25").exists(), || "an output that is not whole has appeared".into())?;
    disk.remount("size=20000k")?;
    let said = place.run_to(0, "2026-11-25", &[])?;
    ensure(said.contains("of them by an earlier attempt"), || said)?;
    place.ensure_output("2026-11-25", &query)?;

    disk.remount("ro")?;
    let said = place.run_to(1, "2026-11-26", &[])?;
    ensure(said.contains("Read-only file system"), || said)?;
    disk.remount("rw")?;
    place.run_to(0, "2026-11-26", &[])?;
    place.ensure_output("2026-11-26", &query)?;

    // Deleted while the run is going on: what was staged is made again.
    place.write(&JOB.replace("700", "200"), &query)?;
    let mut run = place.run_command("2026-11-27", &["--quiet"]).spawn()?;
    let staged = place.path("out/_staging/scores-2026-11-27-1/000003.staged");
    while !staged.exists() && run.try_wait()?.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = fs::remove_dir_all(place.path("out/_staging"));
    ensure(run.wait()?.success() || place.run("2026-11-27", &[])?.status.success(), || {
        "a sink that was deleted ends the run for good".into()
    })?;
    place.ensure_output("2026-11-27", &query)?;

    let ledger = Disk::mount(&place, "ledger", 64)?.ok_or("cannot mount a second disk")?;
    let run = |date: &str| place.run_command(date, &[]).env("SENSORIUM_LEDGER", place.path("ledger/jobs.sqlite")).output();
    let done = run("2026-11-28")?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure(done.status.code() == Some(1) && said.contains("full"), || said)?;
    ledger.remount("size=20000k")?;
    let done = run("2026-11-28")?;
    ensure(done.status.success(), || String::from_utf8_lossy(&done.stderr).into_owned())?;
    place.ensure_output("2026-11-28", &query)
}
