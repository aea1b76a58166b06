//! Rows that failed while `mm.on_error = 'null'`, for `mm_errors()`.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use sensorium_inference::Failure;

use crate::call::RowNames;

/// One failed row.
#[derive(Debug, Clone)]
pub struct FailedRow {
    /// Number of the statement, those of the session being counted.
    pub query: u64,
    /// The SQL function.
    pub function: String,
    /// `name@version` of its model.
    pub model: Option<String>,
    /// Number of the row within the query.
    pub row: u64,
    /// The values of `mm.row_key`, where they are known.
    pub key: Option<Vec<String>>,
    /// The medium that failed.
    pub uri: Option<String>,
    /// Where it failed: `fetch`, `decode`, `run`, ..
    pub step: String,
    /// The class of the error.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The failed rows of a session; bounded by `mm.max_errors`, beyond which only their number is kept.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    query: u64,
    entries: Vec<FailedRow>,
    not_kept: u64,
}

/// Columns of `mm_errors()`.
pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str| Field::new(name, DataType::UInt64, true);
    Arc::new(Schema::new(vec![
        number("query"),
        text("function", true),
        text("model", true),
        number("row"),
        text("key", true),
        text("uri", true),
        text("step", true),
        text("code", false),
        text("message", false),
        text("hint", true),
    ]))
}

impl Ledger {
    /// Counts statements, so that entries can be told apart.
    pub(crate) fn next_query(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).query += 1;
    }

    /// Number of the statement that was planned last.
    pub(crate) fn statement(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).query
    }

    /// Keeps `failures`; `names` says what rows are called.
    pub(crate) fn record(&self, function: &str, model: Option<&str>, names: &dyn RowNames, failures: &[Failure], max_errors: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let query = state.query;
        for failure in failures {
            if state.entries.len() >= max_errors {
                state.not_kept += 1;
                continue;
            }
            state.entries.push(FailedRow {
                query,
                function: function.to_string(),
                model: model.map(str::to_string),
                row: names.number(failure.row),
                key: names.key(failure.row),
                uri: failure.uri.clone(),
                step: failure.step.to_string(),
                code: failure.error.code().to_string(),
                message: failure.error.to_string(),
                hint: failure.error.hint().map(str::to_string),
            });
        }
    }

    /// Takes all entries out, and the number of those that were not kept.
    pub(crate) fn take(&self) -> (Vec<FailedRow>, u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.entries), std::mem::take(&mut state.not_kept))
    }

    /// All entries, the number of those that were not kept in a last row.
    pub(crate) fn to_batch(&self) -> Result<RecordBatch> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Option<&FailedRow>> = state.entries.iter().map(Some).collect();
        entries.extend((state.not_kept > 0).then_some(None));
        let lost = format!("{} further rows failed and are not listed", state.not_kept);
        let texts = |get: fn(&FailedRow) -> Option<&str>| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| entry.and_then(get)).collect::<StringArray>())
        };
        let numbers =
            |get: fn(&FailedRow) -> u64| -> ArrayRef { Arc::new(entries.iter().map(|entry| entry.map(get)).collect::<UInt64Array>()) };
        let filled = |get: fn(&FailedRow) -> &str, other: &str| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| Some(entry.map_or(other, get))).collect::<StringArray>())
        };
        let columns = vec![
            numbers(|entry| entry.query),
            texts(|entry| Some(&entry.function)),
            texts(|entry| entry.model.as_deref()),
            numbers(|entry| entry.row),
            Arc::new(
                entries.iter().map(|entry| entry.and_then(|entry| entry.key.as_ref()).map(|key| key.join(", "))).collect::<StringArray>(),
            ),
            texts(|entry| entry.uri.as_deref()),
            texts(|entry| Some(&entry.step)),
            filled(|entry| &entry.code, "limit"),
            filled(|entry| &entry.message, &lost),
            filled_hint(&entries),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

fn filled_hint(entries: &[Option<&FailedRow>]) -> ArrayRef {
    let hint = |entry: &Option<&FailedRow>| match entry {
        Some(entry) => entry.hint.clone(),
        None => Some("SET mm.max_errors".to_string()),
    };
    Arc::new(entries.iter().map(hint).collect::<StringArray>())
}
