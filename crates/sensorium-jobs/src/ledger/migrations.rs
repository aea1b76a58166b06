//! The tables of the ledger, version by version. A step is never changed once it was released: another one is added.

use super::database::{Database, Value};
use crate::error::{JobError, Result};

/// What each version adds; SQL that SQLite and PostgreSQL both understand.
const STEPS: [&str; 2] = [
    "
    CREATE TABLE runs (
        run TEXT PRIMARY KEY, job TEXT NOT NULL, run_date TEXT NOT NULL, generation BIGINT NOT NULL, state TEXT NOT NULL,
        started_at TEXT NOT NULL, finished_at TEXT, seconds DOUBLE PRECISION,
        fingerprint TEXT NOT NULL, query TEXT NOT NULL, parameters TEXT NOT NULL, models TEXT NOT NULL, environment TEXT NOT NULL,
        output TEXT, output_sha256 TEXT, output_bytes BIGINT,
        chunks BIGINT, rows_in BIGINT, rows_out BIGINT, rejected BIGINT, error TEXT);
    CREATE UNIQUE INDEX runs_of_a_date ON runs (job, run_date, generation);
    CREATE TABLE chunks (
        run TEXT NOT NULL REFERENCES runs (run), number BIGINT NOT NULL, digest TEXT NOT NULL, file TEXT NOT NULL, bytes BIGINT NOT NULL,
        sha256 TEXT NOT NULL, inputs TEXT, rows_in BIGINT, rows_out BIGINT NOT NULL, rejected BIGINT NOT NULL, attempts BIGINT NOT NULL, seconds DOUBLE PRECISION NOT NULL,
        finished_at TEXT NOT NULL, PRIMARY KEY (run, number));
    CREATE TABLE failures (
        run TEXT NOT NULL REFERENCES runs (run), chunk BIGINT NOT NULL, row_key TEXT, uri TEXT, function TEXT NOT NULL, model TEXT, step TEXT NOT NULL,
        code TEXT NOT NULL, message TEXT NOT NULL, attempts BIGINT NOT NULL);
    CREATE INDEX failures_of_a_chunk ON failures (run, chunk);
    CREATE TABLE checks (
        run TEXT NOT NULL REFERENCES runs (run), number BIGINT NOT NULL, what TEXT NOT NULL, value DOUBLE PRECISION, outcome TEXT NOT NULL, PRIMARY KEY (run, number));
    CREATE TABLE log (
        run TEXT NOT NULL REFERENCES runs (run), at TEXT NOT NULL, line TEXT NOT NULL);
    CREATE INDEX log_of_a_run ON log (run);
",
    // Rows whose results were kept from earlier runs; what each model has done and how long that took, as JSON.
    "
    ALTER TABLE chunks ADD COLUMN cached BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN cached BIGINT;
    ALTER TABLE runs ADD COLUMN figures TEXT;
",
];

/// The table that says how far these are.
pub(super) const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS ledger_version (version BIGINT PRIMARY KEY)";
pub(super) const KNOWN: &str = "SELECT max(version) FROM ledger_version";

/// Brings the tables to the newest version.
pub(super) fn migrate(database: &mut dyn Database) -> Result<()> {
    for (version, step) in (1..).zip(STEPS) {
        database.migrate(version, step)?;
    }
    match database.rows(&(KNOWN, vec![]))?.first().and_then(|row| row.first()) {
        Some(Value::Integer(version)) if usize::try_from(*version).is_ok_and(|version| version > STEPS.len()) => {
            Err(JobError::new(format!("ledger: its version is {version}, this release knows {}", STEPS.len()))
                .with_hint("a newer release has used it"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) const FIRST: &str = STEPS[0];
