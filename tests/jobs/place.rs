//! A folder with a job, its table, its model and its ledger.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::support::{Fresh, command, ensure};

/// A job `scores` over `rows` rows of `id`, `a` and `b` in two files.
pub(super) struct Place {
    pub(super) folder: TempDir,
}

/// What is in the job file unless a test says otherwise.
pub(super) const JOB: &str = "models = 'models'\ncache = ''\nkey = ['id']\ninputs = { numbers = 'numbers/' }\nsink = { path = 'out' }\nlimits = { chunk_rows = 700 }\n";
pub(super) const QUERY: &str = "SELECT id, a, mm_predict('add', a, b).sum AS total, {{ run_date }} AS day FROM numbers";

impl Place {
    pub(super) fn new(rows: u64) -> Result<Self, Failed> {
        let place = Self { folder: TempDir::new_in("tests")? };
        fs::create_dir(place.path("numbers"))?;
        let half = rows / 2;
        let numbers = |from: u64, to: u64, file: &str| {
            format!(
                "COPY (SELECT value AS id, value * 0.5 AS a, value % 97 AS b FROM generate_series({from}, {to})) TO '{}' STORED AS PARQUET",
                place.path(file).display()
            )
        };
        place.sql(&format!(
            "CREATE MODEL add FROM 'tests/fixtures/tiny/add.onnx'; {}; {}",
            numbers(1, half, "numbers/1.parquet"),
            numbers(half + 1, rows, "numbers/2.parquet")
        ))?;
        place.write(JOB, QUERY)?;
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        std::env::current_dir().unwrap_or_default().join(self.folder.path()).join(name)
    }

    /// Writes the job file and its query.
    pub(super) fn write(&self, job: &str, query: &str) -> Result<(), Failed> {
        fs::write(self.path("scores.toml"), job)?;
        Ok(fs::write(self.path("scores.sql"), query)?)
    }

    /// `sensorium job ..` with the ledger of this place.
    pub(super) fn command(&self, what: &str, arguments: &[&str]) -> Command {
        let mut command = command();
        command.args(["job", what]).args(arguments).env("SENSORIUM_LEDGER", self.path("jobs.sqlite"));
        command
    }

    /// `sensorium job run` for a date.
    pub(super) fn run_command(&self, date: &str, more: &[&str]) -> Command {
        let job = self.path("scores.toml").to_string_lossy().into_owned();
        let mut command = self.command("run", &[&job, "--date", date]);
        command.args(more);
        command
    }

    pub(super) fn run(&self, date: &str, more: &[&str]) -> Result<Output, Failed> {
        Ok(self.run_command(date, more).output()?)
    }

    /// The same, which must end with this code.
    pub(super) fn run_to(&self, code: i32, date: &str, more: &[&str]) -> Result<String, Failed> {
        let done = self.run(date, more)?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure(done.status.code() == Some(code), || format!("exit code {:?}, expected {code}: {said}", done.status.code()))?;
        Ok(said)
    }

    pub(super) fn output(&self, date: &str) -> PathBuf {
        self.path(&format!("out/run_date={date}/scores.parquet"))
    }

    /// SQL in a session over the models of this place.
    pub(super) fn sql(&self, script: &str) -> Result<String, Failed> {
        let models = self.path("models").to_string_lossy().into_owned();
        let done = command().args(["sql", "--quiet", "--format", "csv", "--models", &models, "-c", script]).output()?;
        ensure(done.status.success(), || String::from_utf8_lossy(&done.stderr).into_owned())?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Whether the output of a date is what the query gives by hand, each row once.
    pub(super) fn ensure_output(&self, date: &str, query: &str) -> Result<(), Failed> {
        let by_hand = query
            .replace("{{ run_date }}", &format!("DATE '{date}'"))
            .replace("numbers", &format!("'{}/'", self.path("numbers").display()));
        self.ensure_rows(&self.output(date).display().to_string(), &by_hand)
            .map_err(|failed| format!("{date}: {}", failed.message().unwrap_or_default()).into())
    }

    /// Whether a file has the rows of a query, and perhaps receipts besides.
    pub(super) fn ensure_rows(&self, output: &str, by_hand: &str) -> Result<(), Failed> {
        let columns = self.sql(&format!("SELECT * FROM ({by_hand}) LIMIT 1"))?.lines().next().unwrap_or_default().to_string();
        let found = self.sql(&format!(
            "SELECT (SELECT count(*) FROM ({by_hand})) AS expected, (SELECT count(*) FROM '{output}') AS found,
             (SELECT count(*) FROM (SELECT * FROM ({by_hand}) EXCEPT SELECT {columns} FROM '{output}')) AS missing,
             (SELECT count(*) FROM (SELECT {columns} FROM '{output}' EXCEPT SELECT * FROM ({by_hand}))) AS more"
        ))?;
        let figures: Vec<&str> = found.lines().nth(1).unwrap_or_default().split(',').collect();
        ensure(figures.len() == 4 && figures[0] == figures[1] && figures[2..] == ["0", "0"] && figures[0] != "0", || {
            format!("expected, found, missing, more: {found}")
        })
    }

    /// A session that reads what a run has left.
    pub(super) fn count(&self, sql: &str) -> Result<String, Failed> {
        Ok(self.sql(sql)?.lines().nth(1).unwrap_or_default().to_string())
    }
}

/// A session of its own, for what needs no model.
pub(super) fn scalar(sql: &str) -> Result<String, Failed> {
    let fresh: Fresh = crate::support::fresh();
    let batch = fresh.rows(sql)?;
    Ok(arrow::util::display::array_value_to_string(batch.column(0), 0)?)
}
