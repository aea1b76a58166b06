//! A sink that is a Delta Lake table: what a run has written appears by one commit of the table's log, which also says that it has.
//!
//! A file is named after what is in it, so that a run whose process ended behind its commit finds its own file in the table, and another
//! one's not. Commits of a date have application transactions (protocol, "Transaction Identifiers") of one identifier: of two at once, one
//! fails.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use chrono::{NaiveDate, Utc};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake_core::kernel::{Action, Add, StructField, StructType, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::error::{JobError, Result};
use crate::sink::{Sink, Written};

/// The column that tables are partitioned by.
const RUN_DATE: &str = "run_date";
/// Characters of a token in a file's name.
pub(crate) const TOKEN: usize = 16;

impl From<DeltaTableError> for JobError {
    fn from(error: DeltaTableError) -> Self {
        Self::new(error.to_string())
    }
}

/// What a commit is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication<'p> {
    pub(crate) job: &'p str,
    pub(crate) date: NaiveDate,
    pub(crate) path: &'p Path,
    pub(crate) rows: u64,
    /// Columns of the file.
    pub(crate) schema: &'p Schema,
}

impl Publication<'_> {
    fn application(&self) -> String {
        format!("sensorium/{}/{}", self.job, self.date)
    }

    /// Whether a file of the table is an earlier output of this date.
    fn replaces(&self, path: &str) -> bool {
        let token = path.strip_prefix(&format!("{RUN_DATE}={}/{}-", self.date, self.job)).and_then(|rest| rest.strip_suffix(".parquet"));
        let is_token = |token: &str| token.len() == TOKEN && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        path != self.path.as_ref() && token.is_some_and(is_token)
    }
}

/// Whether a file is one of the table's.
pub(crate) async fn is_published(sink: &Sink, path: &Path) -> Result<bool> {
    let log = log_of(sink)?;
    let Some(table) = opened(&log).await? else { return Ok(false) };
    let mut files = table.snapshot()?.snapshot().file_views(log.as_ref(), None);
    while let Some(file) = files.try_next().await? {
        if file.path() == path.as_ref() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses columns that a Delta table cannot have, and those that the table has not, if it is there.
pub(crate) async fn check_columns(sink: &Sink, schema: &Schema) -> Result<()> {
    let columns = columns(schema)?;
    match opened(&log_of(sink)?).await? {
        None => Ok(()),
        Some(table) => {
            let state = table.snapshot()?;
            fits(&state.schema(), &columns, state.metadata().partition_columns())
        }
    }
}

/// Puts a file that was written into the table, in place of earlier outputs of its date. The table is made if it is not there.
pub(crate) async fn publish(sink: &Sink, publication: &Publication<'_>, written: &Written) -> Result<()> {
    let log = log_of(sink)?;
    let columns = columns(publication.schema)?;
    let table = match opened(&log).await? {
        Some(table) => table,
        None => {
            let create = CreateBuilder::new().with_log_store(Arc::clone(&log)).with_columns(columns.fields().cloned());
            match create.with_partition_columns([RUN_DATE]).await {
                Ok(table) => table,
                // Another run was first.
                Err(error) => opened(&log).await?.ok_or(error)?,
            }
        }
    };
    let state = table.snapshot()?;
    fits(&state.schema(), &columns, state.metadata().partition_columns())?;
    let mut actions = Vec::new();
    let mut files = state.snapshot().file_views(log.as_ref(), None);
    while let Some(file) = files.try_next().await? {
        if file.path() == publication.path.as_ref() {
            return Ok(());
        }
        if publication.replaces(&file.path()) {
            actions.push(Action::Remove(file.remove_action(true)));
        }
    }
    drop(files);
    actions.push(Action::Add(Add {
        path: publication.path.to_string(),
        partition_values: HashMap::from([(RUN_DATE.to_string(), Some(publication.date.to_string()))]),
        size: i64::try_from(written.bytes).unwrap_or(i64::MAX),
        modification_time: Utc::now().timestamp_millis(),
        data_change: true,
        stats: Some(format!("{{\"numRecords\":{}}}", publication.rows)),
        ..Add::default()
    }));
    let version = state.transaction_version(log.as_ref(), publication.application()).await?.unwrap_or(0) + 1;
    let properties = CommitProperties::default().with_application_transaction(Transaction::new(publication.application(), version));
    let predicate = Some(format!("{RUN_DATE} = '{}'", publication.date));
    let operation = DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: Some(vec![RUN_DATE.to_string()]), predicate };
    let commit = CommitBuilder::from(properties).with_actions(actions);
    commit.build(Some(state as &dyn TableReference), log, operation).await?;
    Ok(())
}

fn log_of(sink: &Sink) -> Result<LogStoreRef> {
    let (store, root, url) = sink.stores();
    Ok(default_logstore(store, root, &url, &StorageConfig::default()))
}

/// The table, if there is one.
async fn opened(log: &LogStoreRef) -> Result<Option<DeltaTable>> {
    if !log.is_delta_table_location().await? {
        return Ok(None);
    }
    let mut table = DeltaTable::new(Arc::clone(log));
    table.load().await?;
    Ok(Some(table))
}

/// The columns of the table: those of the files, and the date.
fn columns(schema: &Schema) -> Result<StructType> {
    if schema.fields().find(RUN_DATE).is_some() {
        return Err(JobError::new(format!("sink: the query has a column '{RUN_DATE}', by which the Delta table is partitioned"))
            .with_hint("leave it out: each row has it anyway"));
    }
    let date = Arc::new(Field::new(RUN_DATE, DataType::Date32, true));
    let fields: Fields = schema.fields().iter().cloned().chain([date]).collect();
    let schema: std::result::Result<StructType, _> = (&Schema::new(fields)).try_into_kernel();
    schema.map_err(|error| JobError::new(format!("sink: a Delta table cannot have these columns: {error}")))
}

/// Refuses to write into a table of something else.
fn fits(table: &StructType, own: &StructType, partitions: &[String]) -> Result<()> {
    let differs = |message: String| {
        Err(JobError::new(format!("sink: {message}")).with_hint("another sink.path, or the query that the table was made with"))
    };
    if partitions != [RUN_DATE] {
        return differs(format!("the Delta table is not partitioned by {RUN_DATE}, but by {}", partitions.join(", ")));
    }
    for field in own.fields() {
        match table.field(field.name()) {
            None => return differs(format!("the Delta table has no column '{}'", field.name())),
            Some(known) if field.is_nullable() && !known.is_nullable() => {
                return differs(format!("column '{}' may be NULL in the query, and not in the Delta table", field.name()));
            }
            Some(known) if known.data_type() != field.data_type() => {
                return differs(format!(
                    "column '{}' is {} in the Delta table, and {} in the query",
                    field.name(),
                    known.data_type(),
                    field.data_type()
                ));
            }
            Some(_) => {}
        }
    }
    let is_left_out = |field: &&StructField| own.field(field.name()).is_none() && !field.is_nullable();
    match table.fields().find(is_left_out) {
        Some(field) => differs(format!("the query has no column '{}', which the Delta table needs", field.name())),
        None => Ok(()),
    }
}

/// The nearest type that Delta tables have; whole numbers without a sign get one.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    let plain = |field: &Arc<Field>| Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()));
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        DataType::FixedSizeList(item, _) | DataType::LargeList(item) | DataType::List(item) => DataType::List(plain(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_outputs_of_the_same_job_and_date_are_replaced() {
        let path = Path::from("run_date=2026-11-28/loans-0123456789abcdef.parquet");
        let schema = Schema::empty();
        let date = NaiveDate::from_ymd_opt(2026, 11, 28).expect("a date");
        let publication = Publication { job: "loans", date, path: &path, rows: 0, schema: &schema };
        assert!(publication.replaces("run_date=2026-11-28/loans-fedcba9876543210.parquet"));
        for other in [
            "run_date=2026-11-28/loans-0123456789abcdef.parquet",
            "run_date=2026-11-27/loans-fedcba9876543210.parquet",
            "run_date=2026-11-28/loans-eu-fedcba9876543210.parquet",
            "run_date=2026-11-28/loans-.parquet",
        ] {
            assert!(!publication.replaces(other), "{other}");
        }
    }
}
