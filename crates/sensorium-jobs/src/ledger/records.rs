//! The rows of the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use sensorium_engine::FailedRow;
use serde::{Deserialize, Serialize};

use super::database::{Columns, Statement, Value};
use crate::error::{JobError, Result};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Chunks are being worked on, or were when its process ended.
    Running,
    /// It stopped with an error; a further attempt goes on where it stopped.
    Failed,
    /// Its output is there.
    Done,
    /// Another run of the same date has taken its place.
    Replaced,
}

const STATES: [(RunState, &str); 4] =
    [(RunState::Running, "running"), (RunState::Failed, "failed"), (RunState::Done, "done"), (RunState::Replaced, "replaced")];

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STATES.iter().find(|(state, _)| state == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

impl FromStr for RunState {
    type Err = JobError;

    fn from_str(text: &str) -> Result<Self> {
        let known = STATES.iter().find(|(_, name)| *name == text);
        known.map(|(state, _)| *state).ok_or_else(|| JobError::new(format!("ledger: a run is '{text}', which this release does not know")))
    }
}

/// A version of a model that a run has used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// As the query names it.
    pub reference: String,
    /// Name in the catalog.
    pub name: String,
    /// Its number.
    pub version: u64,
    /// SHA-256 over everything that decides its output.
    pub sha256: String,
}

/// A run.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// Its name: job, run date, generation.
    pub run: String,
    /// Name of the job.
    pub job: String,
    /// The date that it is for.
    pub run_date: NaiveDate,
    /// How often the date was begun anew, from 1.
    pub generation: u64,
    /// How far it is.
    pub state: RunState,
    /// When its first attempt began.
    pub started_at: String,
    /// SHA-256 over the query, its parameters, models and settings.
    pub fingerprint: String,
    /// The query.
    pub query: String,
    /// Values of its parameters, as JSON.
    pub parameters: String,
    /// What it runs.
    pub models: Vec<ModelRecord>,
    /// Release, machine and settings, as JSON.
    pub environment: String,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What stopped it.
    pub error: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When.
    pub finished_at: String,
    /// Seconds of the attempt that ended it.
    pub seconds: f64,
    /// File of the output.
    pub output: String,
    /// Its SHA-256.
    pub output_sha256: String,
    /// Its bytes.
    pub output_bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Rows of the input, where they are counted.
    pub rows_in: Option<u64>,
    /// Rows of the output.
    pub rows_out: u64,
    /// Failures of rows.
    pub rejected: u64,
    /// Different rows of calls whose results were known already, by this run or an earlier one.
    pub cached: u64,
    /// What each model has done and how long that took in the attempt that ended it, as JSON.
    pub figures: Option<String>,
}

impl RunRecord {
    /// The version of each model by the name that the query has for it.
    pub fn pins(&self) -> BTreeMap<String, String> {
        self.models.iter().map(|model| (model.reference.clone(), format!("{}@{}", model.name, model.version))).collect()
    }

    pub(super) fn read(mut columns: Columns) -> Result<Self> {
        let damaged = |what: &str| JobError::new(format!("ledger: {what} cannot be read"));
        let (run, job) = (columns.text()?, columns.text()?);
        let run_date = columns.text()?.parse().map_err(|_| damaged("a run date"))?;
        let (generation, state, started_at) = (columns.number()?, columns.text()?.parse()?, columns.text()?);
        let (finished_at, seconds) = (columns.optional_text(), columns.real());
        let (fingerprint, query, parameters) = (columns.text()?, columns.text()?, columns.text()?);
        let models = serde_json::from_str(&columns.text()?).map_err(|_| damaged("a list of models"))?;
        let environment = columns.text()?;
        let (output, output_sha256, output_bytes) = (columns.optional_text(), columns.optional_text(), columns.optional_number());
        let (chunks, rows_in, rows_out, rejected) =
            (columns.optional_number(), columns.optional_number(), columns.optional_number(), columns.optional_number());
        let error = columns.optional_text();
        let (cached, figures) = (columns.optional_number().unwrap_or_default(), columns.optional_text());
        let outcome = || {
            Some(Outcome {
                finished_at: finished_at?,
                seconds: seconds?,
                output: output?,
                output_sha256: output_sha256?,
                output_bytes: output_bytes?,
                chunks: chunks?,
                rows_in,
                rows_out: rows_out?,
                rejected: rejected?,
                cached,
                figures,
            })
        };
        let outcome = outcome();
        Ok(Self { run, job, run_date, generation, state, started_at, fingerprint, query, parameters, models, environment, outcome, error })
    }

    pub(super) fn insert(&self) -> Result<Statement<'static>> {
        let models = serde_json::to_string(&self.models).map_err(|error| JobError::new(error.to_string()))?;
        let values: Vec<Value> = vec![
            self.run.as_str().into(),
            self.job.as_str().into(),
            self.run_date.to_string().into(),
            self.generation.into(),
            self.state.to_string().into(),
            self.started_at.as_str().into(),
            self.fingerprint.as_str().into(),
            self.query.as_str().into(),
            self.parameters.as_str().into(),
            models.into(),
            self.environment.as_str().into(),
        ];
        let sql =
            "INSERT INTO runs (run, job, run_date, generation, state, started_at, fingerprint, query, parameters, models, environment)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                   ON CONFLICT (run) DO UPDATE SET state = excluded.state, fingerprint = excluded.fingerprint, query = excluded.query,
                   parameters = excluded.parameters, models = excluded.models, environment = excluded.environment, error = NULL";
        Ok((sql, values))
    }
}

/// A chunk whose rows are staged.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkRecord {
    /// Its number within the run, from 0.
    pub number: u64,
    /// SHA-256 over everything that decides its rows.
    pub digest: String,
    /// Its file below the sink.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Files, their versions and the rows of them that it was made of, as JSON; none where the query was run as a whole.
    pub inputs: Option<String>,
    /// Rows of the input, where they are counted.
    pub rows_in: Option<u64>,
    /// Rows of the output.
    pub rows_out: u64,
    /// Failures of rows.
    pub rejected: u64,
    /// How often it was tried.
    pub attempts: u64,
    /// Seconds of the last attempt.
    pub seconds: f64,
    /// Different rows of calls whose results were known already, by this run or an earlier one.
    pub cached: u64,
    /// When it was written down.
    pub finished_at: Option<String>,
}

pub(super) const CHUNK_COLUMNS: &str =
    "number, digest, file, bytes, sha256, inputs, rows_in, rows_out, rejected, attempts, seconds, cached, finished_at";

impl ChunkRecord {
    pub(super) fn read(mut columns: Columns) -> Result<Self> {
        Ok(Self {
            number: columns.number()?,
            digest: columns.text()?,
            file: columns.text()?,
            bytes: columns.number()?,
            sha256: columns.text()?,
            inputs: columns.optional_text(),
            rows_in: columns.optional_number(),
            rows_out: columns.number()?,
            rejected: columns.number()?,
            attempts: columns.number()?,
            seconds: columns.real().unwrap_or_default(),
            cached: columns.number()?,
            finished_at: columns.optional_text(),
        })
    }

    pub(super) fn insert(&self, run: &str, finished_at: String) -> Statement<'static> {
        let sql =
            "INSERT INTO chunks (run, number, digest, file, bytes, sha256, inputs, rows_in, rows_out, rejected, attempts, seconds, finished_at, cached)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let values = vec![
            run.into(),
            self.number.into(),
            self.digest.as_str().into(),
            self.file.as_str().into(),
            self.bytes.into(),
            self.sha256.as_str().into(),
            self.inputs.clone().into(),
            self.rows_in.into(),
            self.rows_out.into(),
            self.rejected.into(),
            self.attempts.into(),
            self.seconds.into(),
            finished_at.into(),
            self.cached.into(),
        ];
        (sql, values)
    }
}

/// A row that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRecord {
    /// Number of its chunk.
    pub chunk: u64,
    /// The values of the job's key, a JSON list of texts; none where the columns do not reach the call.
    pub row_key: Option<String>,
    /// The medium.
    pub uri: Option<String>,
    /// The SQL function.
    pub function: String,
    /// `name@version` of its model.
    pub model: Option<String>,
    /// Where it failed.
    pub step: String,
    /// The class of the error.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// How often the row was tried.
    pub attempts: u64,
}

pub(super) const FAILURE_COLUMNS: &str = "chunk, row_key, uri, function, model, step, code, message, attempts";

impl FailureRecord {
    /// The values of the job's key, where they are known.
    pub fn key(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.row_key.as_deref()?).ok()
    }

    pub(crate) fn of(row: FailedRow, chunk: u64, attempts: u64) -> Self {
        Self {
            chunk,
            row_key: row.key.and_then(|key| serde_json::to_string(&key).ok()),
            uri: row.uri,
            function: row.function,
            model: row.model,
            step: row.step,
            code: row.code,
            message: row.message,
            attempts,
        }
    }

    pub(super) fn read(mut columns: Columns) -> Result<Self> {
        Ok(Self {
            chunk: columns.number()?,
            row_key: columns.optional_text(),
            uri: columns.optional_text(),
            function: columns.text()?,
            model: columns.optional_text(),
            step: columns.text()?,
            code: columns.text()?,
            message: columns.text()?,
            attempts: columns.number()?,
        })
    }

    pub(super) fn insert(&self, run: &str) -> Statement<'static> {
        let sql = "INSERT INTO failures (run, chunk, row_key, uri, function, model, step, code, message, attempts)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let values = vec![
            run.into(),
            self.chunk.into(),
            self.row_key.clone().into(),
            self.uri.clone().into(),
            self.function.as_str().into(),
            self.model.clone().into(),
            self.step.as_str().into(),
            self.code.as_str().into(),
            self.message.as_str().into(),
            self.attempts.into(),
        ];
        (sql, values)
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOutcome {
    /// What was looked at.
    pub what: String,
    /// The figure; none where there is nothing to compare with.
    pub value: Option<f64>,
    /// `ok`, `warn` or `fail`.
    pub outcome: String,
}

impl CheckOutcome {
    pub(super) fn read(mut columns: Columns) -> Result<Self> {
        Ok(Self { what: columns.text()?, value: columns.real(), outcome: columns.text()? })
    }

    pub(super) fn insert(&self, run: &str, number: usize) -> Statement<'static> {
        let sql = "INSERT INTO checks (run, number, what, value, outcome) VALUES ($1, $2, $3, $4, $5)";
        (sql, vec![run.into(), (number as u64).into(), self.what.as_str().into(), self.value.into(), self.outcome.as_str().into()])
    }
}
