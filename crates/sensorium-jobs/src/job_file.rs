//! A job as it is written: a TOML file beside a SQL file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;

use crate::error::{JobError, Result};
use crate::parameters::{Parameters, placeholders};
use crate::schedule::Schedule;

/// The TOML file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Name in the ledger; that of the file where it is left out.
    pub name: Option<String>,
    /// What the job is for.
    #[serde(default)]
    pub description: String,
    /// File of the query, beside this one; of the same name where it is left out.
    pub query: Option<PathBuf>,
    /// Folder or URL of the model catalog.
    pub models: Option<String>,
    /// Columns of the output that tell its rows apart.
    pub key: Vec<String>,
    /// When it runs.
    pub schedule: Option<Schedule>,
    /// Values for `{{ name }}` in the query.
    #[serde(default)]
    pub parameters: BTreeMap<String, toml::Value>,
    /// Files, folders or globs by the name of their table; `{{ run_date }}` may stand in them.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// Where the rows go.
    pub sink: Sink,
    /// Settings of the session, such as `"mm.device" = "cpu"`.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What is done again.
    #[serde(default)]
    pub retries: Retries,
    /// Who is told of runs that go wrong.
    pub webhook: Option<Webhook>,
    /// What must hold before the output appears.
    #[serde(default, rename = "check")]
    pub checks: Vec<Check>,
    /// What becomes of a row that fails.
    #[serde(default)]
    pub on_error: OnError,
    /// Whether each row has a column more for each model call that it has passed, with what `mm_receipt` gives for it.
    #[serde(default = "yes")]
    pub receipts: bool,
    /// Folder in which results are kept for later runs, so that only rows that have changed are run again; empty for none. Where nothing
    /// is said, that of the machine. `settings."mm.cache_disk_bytes"` bounds it.
    pub cache: Option<String>,
    /// Folder or URL through which several machines share these results.
    pub shared_cache: Option<String>,
}

fn yes() -> bool {
    true
}

/// Where the rows of a run go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Folder or URL; each run date has a folder `run_date=2026-11-25` below it.
    pub path: String,
    /// What lies there.
    #[serde(default)]
    pub format: Format,
}

/// What a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A folder with one file for each run date.
    #[default]
    Parquet,
    /// A Delta Lake table, partitioned by run date.
    Delta,
}

/// An address that runs are posted to, as JSON.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address, with `http` or `https`.
    pub url: String,
    /// Of what it is told.
    #[serde(default = "of_failures")]
    pub on: Vec<Notice>,
}

fn of_failures() -> Vec<Notice> {
    vec![Notice::Failed]
}

/// What a webhook may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// A run has stopped with an error.
    Failed,
    /// A run is done, and some of its rows have failed.
    Rejected,
    /// A run is done, whatever its rows.
    Done,
}

impl Notice {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Done => "done",
        }
    }
}

/// Bounds of a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// About how many rows of the input are committed together, which is what is repeated at most after a crash; where nothing is said,
    /// what a core does in twenty seconds.
    pub chunk_rows: Option<usize>,
    /// Rows of the output.
    pub rows: Option<u64>,
    /// Seconds of a run.
    pub seconds: Option<u64>,
    /// Bytes that queries may take in memory.
    pub memory_bytes: Option<usize>,
    /// Share of failed rows from which on a run is stopped.
    pub error_share: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chunk_rows: None, rows: None, seconds: None, memory_bytes: None, error_share: 1.0 }
    }
}

/// How often a chunk is tried again, and after how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Attempts beyond the first.
    pub attempts: u32,
    /// Seconds before the second attempt; each further one waits twice as long.
    pub delay_s: f64,
    /// Seconds that are waited at most.
    pub most_delay_s: f64,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, delay_s: 1.0, most_delay_s: 60.0 }
    }
}

/// What becomes of a row that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run fails.
    Fail,
    /// Its value is NULL, and it is in the ledger.
    #[default]
    Null,
}

/// Something that must hold of the output.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// The number of rows.
    Rows {
        /// At least so many.
        at_least: Option<f64>,
        /// At most so many.
        at_most: Option<f64>,
        /// What follows otherwise.
        #[serde(default)]
        otherwise: Otherwise,
    },
    /// The share of rows where an expression is NULL.
    NullShare {
        /// An expression over the columns of the output.
        of: String,
        /// At most this share.
        at_most: f64,
        /// What follows otherwise.
        #[serde(default)]
        otherwise: Otherwise,
    },
    /// How far the distribution of an expression has moved since the last finished run (population stability index).
    Drift {
        /// An expression over the columns of the output.
        of: String,
        /// At most so far; 0.1 is a little, 0.25 is much.
        at_most: f64,
        /// What follows otherwise.
        #[serde(default)]
        otherwise: Otherwise,
    },
    /// Rows whose key another one has, too.
    UniqueKey {
        /// What follows if there are some.
        #[serde(default)]
        otherwise: Otherwise,
    },
    /// The share of rows that failed.
    ErrorShare {
        /// At most this share.
        at_most: f64,
        /// What follows otherwise.
        #[serde(default)]
        otherwise: Otherwise,
    },
}

/// What follows if a check does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// The run fails, and no output appears.
    #[default]
    Fail,
    /// It is written down.
    Warn,
}

/// A job that was read: the file, its query and where both lie.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Folder that relative paths are resolved against.
    pub folder: PathBuf,
    /// What the file says.
    pub file: JobFile,
    /// The query, with `{{ name }}` in it.
    pub sql: String,
}

/// Whether a job can be called so: its files are.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_'))
}

impl Job {
    /// Reads the TOML file `path` and its query.
    ///
    /// # Errors
    /// For a file that cannot be read or says something that makes no sense.
    pub fn read(path: &Path) -> Result<Self> {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|error| JobError::new(format!("cannot read {}: {error}", path.display())));
        Self::with(path, &read(path)?, read)
    }

    /// The job that a file `path` with this text would be, with this query.
    pub(crate) fn of(path: &Path, text: &str, sql: &str) -> Result<Self> {
        Self::with(path, text, |_| Ok(sql.to_string()))
    }

    fn with(path: &Path, text: &str, query: impl Fn(&Path) -> Result<String>) -> Result<Self> {
        // Without the line itself, in which there may be a secret.
        let wrong = |error: toml::de::Error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let line = line.map_or_else(String::new, |line| format!(", line {line}"));
            JobError::new(format!("{}{line}: {}", path.display(), error.message()))
        };
        let file: JobFile = toml::from_str(text).map_err(wrong)?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name = file.name.clone().unwrap_or_else(|| stem.to_string());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // What the ledger says is read from other folders, too.
        let folder = std::path::absolute(folder).map_err(|error| JobError::new(format!("{}: {error}", folder.display())))?;
        let sql = query(&folder.join(file.query.clone().unwrap_or_else(|| PathBuf::from(format!("{stem}.sql")))))?;
        let job = Self { name, sql, folder, file };
        job.check().map_err(|error| error.during(path.display()))?;
        Ok(job)
    }

    /// The date that it is on the job's clock.
    ///
    /// # Errors
    /// For a time zone that does not exist.
    pub fn today(&self, now: DateTime<Utc>) -> Result<NaiveDate> {
        Ok(match &self.file.schedule {
            Some(schedule) => now.with_timezone(&schedule.pattern()?.1).date_naive(),
            None => now.date_naive(),
        })
    }

    fn check(&self) -> Result<()> {
        if !is_plain(&self.name) {
            return Err(JobError::new(format!("name: '{}' is no name of a job", self.name)).with_hint("letters, digits, - and _"));
        }
        if self.file.key.is_empty() {
            return Err(JobError::new("key: no column tells the rows apart").with_hint("key = [\"loan_id\"]"));
        }
        if self.file.limits.chunk_rows == Some(0) {
            return Err(JobError::new("limits.chunk_rows: 0 rows").with_hint("a whole number from 1"));
        }
        for (name, share) in [("limits.error_share", self.file.limits.error_share)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(JobError::new(format!("{name}: {share} is no share")).with_hint("a number from 0 to 1"));
            }
        }
        if let Some(schedule) = &self.file.schedule {
            schedule.pattern()?;
        }
        if let Some(webhook) = &self.file.webhook
            && !url::Url::parse(&webhook.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        {
            return Err(JobError::new("webhook.url: not an address").with_hint("https://host/path"));
        }
        // With any date: the names are what can be wrong.
        let known = Parameters::of(self, NaiveDate::default())?;
        for name in placeholders(&self.sql)? {
            known.value(&name)?;
        }
        Ok(())
    }

    /// Where rows go, as the session takes it.
    pub(crate) fn sink(&self, parameters: &Parameters) -> Result<Sink> {
        Ok(Sink { path: self.place(&parameters.in_path(&self.file.sink.path)?), format: self.file.sink.format })
    }

    /// A path or URL of the file as the session takes it.
    pub fn place(&self, path: &str) -> String {
        if let (Some(below), Some(home)) = (path.strip_prefix("~/"), std::env::home_dir()) {
            return home.join(below).to_string_lossy().into_owned();
        }
        if path.contains("://") || Path::new(path).is_absolute() {
            path.to_string()
        } else {
            self.folder.join(path).to_string_lossy().into_owned()
        }
    }
}
