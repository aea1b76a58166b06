//! Rows that failed while `mm.on_error = 'null'`, for `mm_errors()`.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use sensorium_inference::Failure;

/// One failed row.
#[derive(Debug, Clone)]
struct Entry {
    query: u64,
    function: String,
    model: Option<String>,
    row: u64,
    uri: Option<String>,
    step: String,
    code: String,
    message: String,
    hint: Option<String>,
}

/// The failed rows of a session; bounded by `mm.max_errors`, beyond which only their number is kept.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    query: u64,
    entries: Vec<Entry>,
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

    /// Keeps `failures`; `number` gives a row its number within the query.
    pub(crate) fn record(
        &self,
        function: &str,
        model: Option<&str>,
        number: &dyn Fn(usize) -> u64,
        failures: &[Failure],
        max_errors: usize,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let query = state.query;
        for failure in failures {
            if state.entries.len() >= max_errors {
                state.not_kept += 1;
                continue;
            }
            state.entries.push(Entry {
                query,
                function: function.to_string(),
                model: model.map(str::to_string),
                row: number(failure.row),
                uri: failure.uri.clone(),
                step: failure.step.to_string(),
                code: failure.error.code().to_string(),
                message: failure.error.to_string(),
                hint: failure.error.hint().map(str::to_string),
            });
        }
    }

    /// All entries, the number of those that were not kept in a last row.
    pub(crate) fn to_batch(&self) -> Result<RecordBatch> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Option<&Entry>> = state.entries.iter().map(Some).collect();
        entries.extend((state.not_kept > 0).then_some(None));
        let lost = format!("{} further rows failed and are not listed", state.not_kept);
        let texts = |get: fn(&Entry) -> Option<&str>| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| entry.and_then(get)).collect::<StringArray>())
        };
        let numbers =
            |get: fn(&Entry) -> u64| -> ArrayRef { Arc::new(entries.iter().map(|entry| entry.map(get)).collect::<UInt64Array>()) };
        let filled = |get: fn(&Entry) -> &str, other: &str| -> ArrayRef {
            Arc::new(entries.iter().map(|entry| Some(entry.map_or(other, get))).collect::<StringArray>())
        };
        let columns = vec![
            numbers(|entry| entry.query),
            texts(|entry| Some(&entry.function)),
            texts(|entry| entry.model.as_deref()),
            numbers(|entry| entry.row),
            texts(|entry| entry.uri.as_deref()),
            texts(|entry| Some(&entry.step)),
            filled(|entry| &entry.code, "limit"),
            filled(|entry| &entry.message, &lost),
            filled_hint(&entries),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

fn filled_hint(entries: &[Option<&Entry>]) -> ArrayRef {
    let hint = |entry: &Option<&Entry>| match entry {
        Some(entry) => entry.hint.clone(),
        None => Some("SET mm.max_errors".to_string()),
    };
    Arc::new(entries.iter().map(hint).collect::<StringArray>())
}
