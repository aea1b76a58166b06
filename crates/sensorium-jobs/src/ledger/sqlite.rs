//! The ledger in one file of SQLite.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};
use sensorium_inference::open_shared;

use super::database::{Database, Statement, Value};
use super::migrations::{KNOWN, VERSIONS};
use crate::error::{JobError, Result};

#[derive(Debug)]
pub(super) struct Sqlite(Connection);

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = open_shared(path)?;
            // What a run has said is on the disk, whatever happens to the machine.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| {
            JobError::new(format!("ledger {}: {error}", path.display()))
                .with_hint("--ledger names a file of SQLite in a folder that may be written, or a PostgreSQL database by its URL")
        })?;
        Ok(Self(connection))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Database for Sqlite {
    fn write(&mut self, statements: &[Statement<'_>]) -> Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (sql, values) in statements {
            transaction.prepare_cached(sql)?.execute(params_from_iter(values))?;
        }
        Ok(transaction.commit()?)
    }

    fn rows(&mut self, (sql, values): &Statement<'_>) -> Result<Vec<Vec<Value>>> {
        let mut statement = self.0.prepare_cached(sql)?;
        let width = statement.column_count();
        let value = |value: ValueRef<'_>| match value {
            ValueRef::Null | ValueRef::Blob(_) => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        };
        let rows = statement.query_map(params_from_iter(values), |row| (0..width).map(|place| row.get_ref(place).map(value)).collect())?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn try_lock(&mut self, _: &str) -> Result<bool> {
        Ok(true)
    }

    fn unlock(&mut self, _: &str) {}

    fn migrate(&mut self, version: i64, step: &str) -> Result<()> {
        let known = |connection: &Connection| connection.query_row(KNOWN, [], |row| row.get::<_, Option<i64>>(0));
        // A ledger that is up to date can be read while another process writes.
        if known(&self.0).ok().flatten() >= Some(version) {
            return Ok(());
        }
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(VERSIONS)?;
        if known(&transaction)? < Some(version) {
            transaction.execute_batch(step)?;
            transaction.execute("INSERT INTO ledger_version VALUES (?1)", [version])?;
        }
        Ok(transaction.commit()?)
    }
}
