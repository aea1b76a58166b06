//! Nights on which little has changed.

use std::fs;

use libtest_mimic::Failed;
use sensorium_jobs::Ledger;

use super::place::{JOB, Place};
use crate::Outcome;
use crate::support::{Bucket, ensure};

const ROWS: usize = 40;

/// Rows whose pictures and values are the same are not run again, on any later date; their pictures are not fetched again.
pub(super) fn incremental() -> Outcome {
    for bucket in [None, Some(Bucket::open()?)] {
        let place = Place::new(ROWS as u64)?;
        place.sql("CREATE MODEL vit FROM 'tests/fixtures/vit'")?;
        let night = Night { bucket, place };
        night.fill()?;
        night.write("cache")?;
        ensure(night.run("2026-11-25")? == Seen { cached: 0, fetched: ROWS }, || "the first night has no results to begin with".into())?;
        ensure(night.run("2026-11-26")? == Seen { cached: ROWS as u64, fetched: 0 }, || "nothing has changed".into())?;
        // Another picture under the name of an old one.
        let changed = night.picture(17);
        let bytes = fs::read(night.picture(18))?;
        ensure(fs::read(&changed)? != bytes, || "two pictures are the same".into())?;
        night.put(17, &bytes)?;
        let seen = night.run("2026-11-27")?;
        ensure(seen == Seen { cached: ROWS as u64 - 1, fetched: 1 } || seen == Seen { cached: ROWS as u64, fetched: 1 }, || {
            format!("one picture has changed: {seen:?}")
        })?;
        // The same rows as of a run without kept results, digests included.
        night.write("")?;
        let seen = night.run("2026-11-28")?;
        ensure(seen == Seen { cached: 0, fetched: ROWS }, || format!("without a cache: {seen:?}"))?;
        let rows =
            |date: &str| format!("SELECT id, score, receipt['input_digest'] AS digest FROM '{}'", night.place.output(date).display());
        let others = night.place.count(&format!("SELECT count(*) FROM ({} EXCEPT {})", rows("2026-11-27"), rows("2026-11-28")))?;
        ensure(others == "0", || format!("{others} rows differ"))?;
        let changed =
            night.place.count(&format!("SELECT count(*) || ' ' || min(id) FROM ({} EXCEPT {})", rows("2026-11-27"), rows("2026-11-26")))?;
        ensure(changed == "1 17", || changed)?;
    }
    Ok(())
}

/// What one machine has made, another finds: each has a cache and a ledger of its own, and they share a bucket.
pub(super) fn shared() -> Outcome {
    let bucket = Bucket::open()?;
    let place = Place::new(ROWS as u64)?;
    place.sql("CREATE MODEL vit FROM 'tests/fixtures/vit'")?;
    let night = Night { bucket: None, place };
    night.fill()?;
    let run = |machine: &str, url: &str| -> Result<(u64, String), Failed> {
        night.write(&format!("cache-{machine}' \nshared_cache = '{url}"))?;
        let mut command = night.place.run_command("2026-11-25", &[]);
        let ledger = night.place.path(&format!("{machine}.sqlite"));
        bucket.tell(&mut command).env("SENSORIUM_LEDGER", &ledger);
        let done = command.output()?;
        ensure(done.status.success(), || String::from_utf8_lossy(&done.stderr).into_owned())?;
        let ledger = Ledger::open(&ledger.to_string_lossy())?;
        let cached = ledger.run("scores-2026-11-25-1")?.and_then(|run| run.outcome).ok_or("no outcome")?.cached;
        let log = ledger.lines("scores-2026-11-25-1")?.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
        Ok((cached, log))
    };
    let url = bucket.url("results");
    let (cached, log) = run("one", &url)?;
    ensure(cached == 0 && log.contains(&format!("{ROWS} shared results given")), || log)?;
    let (cached, log) = run("two", &url)?;
    ensure(cached == ROWS as u64 && log.contains(&format!("{ROWS} shared results taken")), || log)?;
    // A run goes on where nothing can be shared.
    let (cached, log) = run("three", "gopher://elsewhere/results")?;
    ensure(cached == 0 && log.contains("not taken: shared results") && log.contains("not given: shared results"), || log)
}

struct Night {
    bucket: Option<Bucket>,
    place: Place,
}

/// What a run has made use of. What is fetched is known of objects only.
#[derive(Debug, PartialEq)]
struct Seen {
    cached: u64,
    fetched: usize,
}

impl Night {
    /// A picture of its own for each row.
    fn fill(&self) -> Outcome {
        let from = fs::read_dir("tests/fixtures/vit_pictures")?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        for id in 1..=ROWS {
            let mut bytes = fs::read(&from[id % from.len()])?;
            // Behind the end of the picture, where no decoder looks.
            bytes.extend_from_slice(&id.to_le_bytes());
            self.put(id, &bytes)?;
        }
        Ok(())
    }

    fn picture(&self, id: usize) -> std::path::PathBuf {
        let name = format!("pictures/{id}.png");
        self.bucket.as_ref().map_or_else(|| self.place.path(&name), |bucket| bucket.path(&name))
    }

    /// As of a while ago: what has just been written may still change.
    fn put(&self, id: usize, bytes: &[u8]) -> Outcome {
        let path = self.picture(id);
        fs::create_dir_all(path.parent().ok_or("no folder")?)?;
        fs::write(&path, bytes)?;
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        Ok(fs::File::options().write(true).open(&path)?.set_modified(past)?)
    }

    fn write(&self, cache: &str) -> Outcome {
        let folder = match &self.bucket {
            None => format!("file://{}", self.place.path("pictures").display()),
            Some(bucket) => bucket.url("pictures"),
        };
        let settings = format!("settings = {{ 'mm.allowed_roots' = '{folder}' }}\n");
        let job = JOB.replace("cache = ''", &format!("cache = '{cache}'"));
        self.place.write(
            &format!("{settings}{job}"),
            &format!("SELECT id, mm_predict('vit', '{folder}/' || id || '.png').score AS score FROM numbers"),
        )
    }

    fn run(&self, date: &str) -> Result<Seen, Failed> {
        let mut command = self.place.run_command(date, &["--quiet"]);
        if let Some(bucket) = &self.bucket {
            bucket.tell(&mut command);
            bucket.take_requests();
        }
        let done = command.output()?;
        ensure(done.status.success(), || String::from_utf8_lossy(&done.stderr).into_owned())?;
        let ledger = Ledger::open(&self.place.path("jobs.sqlite").to_string_lossy())?;
        let run = ledger.run(&format!("scores-{date}-1"))?.ok_or("no run")?;
        let cached = run.outcome.ok_or("no outcome")?.cached;
        let fetched = match &self.bucket {
            Some(bucket) => bucket.take_requests().iter().filter(|request| request.starts_with("GET /bucket/pictures/")).count(),
            None => ROWS - usize::try_from(cached)?,
        };
        Ok(Seen { cached, fetched })
    }
}
