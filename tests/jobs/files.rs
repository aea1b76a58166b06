//! Job files: what is refused, and those that ship.

use super::place::{JOB, Place, QUERY};
use crate::Outcome;
use crate::support::{command, ensure};

/// What is wrong is said before anything runs, with what to write.
pub(super) fn refused() -> Outcome {
    let place = Place::new(100)?;
    let job = place.path("scores.toml").to_string_lossy().into_owned();
    let with = |more: &str| format!("{JOB}{more}\n");
    for (file, query, message) in [
        (JOB.replace("key = ['id']", "key = []"), QUERY, "no column tells the rows apart"),
        (JOB.replace("['id']", "['ix']"), QUERY, "the query has no column 'ix'"),
        (JOB.replace("key =", "keys ="), QUERY, "unknown field `keys`"),
        (with("schedule = { cron = '0 2 * *' }"), QUERY, "minute hour day month weekday"),
        (with("schedule = { cron = '0 2 * * *', time_zone = 'Europe/Paname' }"), QUERY, "no such zone: 'Europe/Paname'"),
        (with("parameters = { run_date = 'x' }"), QUERY, "every run has one of its own"),
        (with("parameters = { least = [1] }"), QUERY, "texts, numbers and truth values are possible"),
        (JOB.to_string(), "SELECT id FROM numbers WHERE a > {{ leest }}", "{{ leest }}: no such parameter"),
        (JOB.to_string(), "SELECT id FROM numbers WHERE a > '{{ run_date }}'", "a parameter in quotes"),
        (JOB.to_string(), "SELECT id FROM numbers WHERE a > {{ run_date", "braces that are not closed"),
        (JOB.to_string(), "SELECT id, now() AS at FROM numbers", "now() gives something else each time"),
        (JOB.to_string(), "SELECT id FROM numbers WHERE a > (SELECT random())", "random() gives something else each time"),
        (JOB.to_string(), "DROP MODEL add", "and not a query"),
        (JOB.to_string(), "INSERT INTO numbers SELECT * FROM numbers", "DML not supported"),
        (JOB.to_string(), "SELECT id, mm_predict('ad', a, b) FROM numbers", "did you mean 'add'?"),
        (JOB.replace("numbers/", "nowhere/*.parquet"), QUERY, "inputs.numbers"),
        (with("settings = { 'mm.devise' = 'cpu' }"), QUERY, "settings.\"mm.devise\""),
        (JOB.replace("chunk_rows = 700", "chunk_rows = 0"), QUERY, "limits.chunk_rows: 0 rows"),
        (JOB.replace("chunk_rows = 700", "error_share = 2.0"), QUERY, "2 is no share"),
    ] {
        place.write(&file, query)?;
        let done = place.command("validate", &[&job]).output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure(done.status.code() == Some(1) && said.contains(message), || format!("{message}: {said}"))?;
    }
    place.write(
        &with("parameters = { name = \"o'clock; --\", least = -2.5, most = 60 }"),
        "SELECT id, {{ name }} AS name FROM numbers WHERE a > {{ least }} AND a < {{most}}",
    )?;
    place.run_to(0, "2026-11-25", &[])?;
    let found = place.count(&format!("SELECT count(*) || min(name) FROM '{}'", place.output("2026-11-25").display()))?;
    ensure(found == "100o'clock; --", || found)
}

/// What is written for systemd is what systemd understands; times that it has no words for are refused.
pub(super) fn exported() -> Outcome {
    let place = Place::new(100)?;
    let (job, folder) = (place.path("scores.toml").to_string_lossy().into_owned(), place.path("units").to_string_lossy().into_owned());
    let export = |target: &str| place.command("export", &[target, &job, "--to", &folder]).output();
    for (cron, message) in [("30 5 1,15 * 1-5", None), ("*/20 8-18/2 * jan-mar *", None), ("0 2 L * *", Some("systemd has no such times"))]
    {
        place.write(&format!("{JOB}schedule = {{ cron = '{cron}', time_zone = 'Europe/Berlin', catch_up = 'none' }}\n"), QUERY)?;
        let done = export("systemd")?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure(message.map_or(done.status.success(), |message| said.contains(message)), || format!("{cron}: {said}"))?;
        let units = [place.path("units/sensorium-scores.service"), place.path("units/sensorium-scores.timer")];
        match std::process::Command::new("systemd-analyze").arg("verify").args(&units).output() {
            Ok(checked) => {
                // Units of the machine itself may be warned about, too.
                let warnings = String::from_utf8_lossy(&checked.stderr).into_owned();
                ensure(!warnings.contains("sensorium-scores"), || format!("{cron}: {warnings}"))?;
            }
            Err(_) => eprintln!("systemd-analyze: SKIPPED, it is not there"),
        }
        for (target, file, line) in [
            ("cron", "scores.crontab", format!("{cron} Europe/Berlin, which")),
            ("kubernetes", "scores.yaml", format!("schedule: \"{cron}\"\n  timeZone: \"Europe/Berlin\"")),
            ("airflow", "scores.py", format!("CronTriggerTimetable(\"{cron}\", timezone=\"Europe/Berlin\")")),
        ] {
            ensure(export(target)?.status.success(), || format!("{target}: {cron}"))?;
            let text = std::fs::read_to_string(place.path("units").join(file))?;
            ensure(text.contains(&line), || text.clone())?;
        }
    }
    Ok(())
}

/// A job that was made in SQL is a file as any other, which the command and SQL list and run.
pub(super) fn in_sql() -> Outcome {
    let place = Place::new(100)?;
    let sql = |script: &str| {
        let models = place.path("models").to_string_lossy().into_owned();
        let mut sql = command();
        sql.args([
            "sql",
            "--quiet",
            "--format",
            "csv",
            "--models",
            &models,
            "--table",
            &format!("numbers={}/", place.path("numbers").display()),
            "-c",
            script,
        ]);
        sql.env("SENSORIUM_LEDGER", place.path("jobs.sqlite")).env("SENSORIUM_JOBS", place.path("jobs"));
        sql.output().map(|done| format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
    };
    let sink = place.path("out");
    let said = sql(&format!(
        "CREATE JOB scores SCHEDULE '0 2 * * *' TIME ZONE 'Europe/Berlin' OPTIONS (key = 'id', description = 'All; of \"them\"', cache = '')
         AS INSERT INTO '{}' {QUERY}; SHOW JOBS",
        sink.display()
    ))?;
    ensure(said.contains("job scores created; it runs next at 02:00 C") && said.contains("scores,0 2 * * * Europe/Berlin,20"), || {
        said.clone()
    })?;
    ensure(said.contains("All; of") && said.contains(&sink.display().to_string()), || said)?;
    let job = place.path("jobs/scores.toml").to_string_lossy().into_owned();
    let run = place.command("run", &[&job, "--date", "2026-11-28", "-q"]).output()?;
    ensure(run.status.success(), || String::from_utf8_lossy(&run.stderr).into_owned())?;
    place.ensure_output("2026-11-28", QUERY)?;
    let said = sql("SELECT run, state, rows_out FROM mm_runs(); SHOW JOBS; DROP JOB scores; SHOW JOBS")?;
    ensure(
        said.contains("scores-2026-11-28-1,done,100") && said.contains(",2026-11-28 done,") && said.contains("job scores dropped"),
        || said.clone(),
    )?;
    ensure(!place.path("jobs/scores.toml").exists() && !place.path("jobs/scores.sql").exists(), || said)
}

/// The jobs of `sql/jobs` are read, and have a next time.
pub(super) fn shipped() -> Outcome {
    let done = command().args(["job", "list", "sql/jobs"]).output()?;
    let listed = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure(listed.contains("| credit ") && listed.contains("T02:00:00+0") && listed.contains("| textile "), || listed)
}
