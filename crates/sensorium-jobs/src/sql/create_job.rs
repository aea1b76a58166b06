//! `CREATE JOB`: a job file and its query, written into the folder of jobs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use chrono::Utc;
use datafusion::common::config::ExtensionOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use sensorium_engine::grammar::OptionValue;
use sensorium_engine::{MmSettings, Session};
use sha2::{Digest, Sha256};
use toml::{Table, Value};
use url::Url;

use super::parse::Creation;
use super::{SqlJobs, status};
use crate::error::{JobError, Result};
use crate::job_file::Job;
use crate::parameters::{Parameters, with_placeholders};
use crate::setting_up::set_up;

/// What may stand in OPTIONS, and where it goes in the file.
const OPTIONS: [(&str, &[&str]); 11] = [
    ("key", &["key"]),
    ("description", &["description"]),
    ("catch_up", &["schedule", "catch_up"]),
    ("format", &["sink", "format"]),
    ("on_error", &["on_error"]),
    ("receipts", &["receipts"]),
    ("cache", &["cache"]),
    ("chunk_rows", &["limits", "chunk_rows"]),
    ("error_share", &["limits", "error_share"]),
    ("seconds", &["limits", "seconds"]),
    ("webhook", &["webhook", "url"]),
];

pub(super) async fn create(jobs: &SqlJobs, session: &Session, creation: Creation) -> Result<RecordBatch> {
    let name = creation.name.clone();
    let path = jobs.file(&name, "toml");
    if path.exists() && creation.if_not_exists {
        return status(format!("job {name} exists already"));
    }
    if path.exists() && !creation.replace {
        return Err(JobError::new(format!("job '{name}' exists already")).with_hint(format!("CREATE OR REPLACE JOB {name} ..")));
    }
    std::fs::create_dir_all(&jobs.folder).map_err(|error| JobError::new(format!("cannot make {}: {error}", jobs.folder.display())))?;
    let query = creation.query.clone();
    // All paths in it are whole, so that it does not matter where it lies.
    let named = PathBuf::from(format!("{name}.toml"));
    let mut file = file_of(creation)?;
    file.insert("models".into(), absolute(session.models())?.into());
    let stored = format!("{name}-{}.sql", &sensorium_inference::hex(&Sha256::digest(&query))[..8]);
    file.insert("query".into(), stored.clone().into());
    let settings = settings(session);
    if !settings.is_empty() {
        file.insert("settings".into(), Value::Table(settings));
    }
    let inputs = inputs(session, &query, &named, &file).await?;
    if !inputs.is_empty() {
        file.insert("inputs".into(), Value::Table(inputs));
    }
    let text = toml::to_string_pretty(&file).map_err(|error| JobError::new(error.to_string()))?;
    let job = Job::of(&named, &text, &query)?;
    // All that can be known before a row is read.
    let ready = set_up(&job, Utc::now().date_naive(), None, &BTreeMap::new()).await?;
    ready.output()?;
    for input in job.file.inputs.keys() {
        same_columns(session, &ready.session, input).await?;
    }
    let before = query_file(&path);
    // A query that is there is this one, or nobody's yet; the job's file says which one counts.
    write(&jobs.folder.join(&stored), &format!("{query}\n"))?;
    write(&path, &text)?;
    if let Some(before) = before.filter(|before| *before != stored) {
        let _ = std::fs::remove_file(jobs.folder.join(before));
    }
    let next = job.file.schedule.as_ref().map(|schedule| schedule.next(Utc::now())).transpose()?;
    let next = next.map_or_else(|| "it runs when it is told to".to_string(), |next| format!("it runs next at {}", next.format("%H:%M %Z")));
    status(format!("job {name} created; {next}"))
}

/// What the statement says, as a file does.
fn file_of(creation: Creation) -> Result<Table> {
    let mut file = Table::new();
    let mut put = |place: &[&str], value: Value| match place {
        [key] => drop(file.insert((*key).to_string(), value)),
        [table, key] => {
            let table = file.entry((*table).to_string()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(table) = table {
                table.insert((*key).to_string(), value);
            }
        }
        _ => {}
    };
    put(&["sink", "path"], absolute(&creation.sink)?.into());
    if let Some(cron) = creation.schedule {
        put(&["schedule", "cron"], cron.into());
    }
    if let Some(zone) = creation.time_zone {
        put(&["schedule", "time_zone"], zone.into());
    }
    for (name, value) in creation.options {
        let Some((_, place)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
            return Err(
                JobError::new(format!("no such option of a job: '{name}'")).with_hint(format!("its options are {}", known.join(", ")))
            );
        };
        let wrong = |number: &str| JobError::new(format!("{name}: not a number: {number}"));
        let value = match value {
            OptionValue::Text(text) if name == "key" => Value::Array(text.split(',').map(|column| column.trim().into()).collect()),
            OptionValue::Text(text) => text.into(),
            OptionValue::List(list) => Value::Array(list.into_iter().map(Value::from).collect()),
            OptionValue::Truth(truth) => truth.into(),
            OptionValue::Number(number) => match number.parse::<i64>() {
                Ok(whole) => whole.into(),
                Err(_) => number.parse::<f64>().map_err(|_| wrong(&number))?.into(),
            },
            OptionValue::Map(_) => return Err(JobError::new(format!("{name}: not a value of this option"))),
        };
        put(place, value);
    }
    Ok(file)
}

/// The files of the tables that the query names, as the session has registered them: the job has a session of its own.
async fn inputs(session: &Session, query: &str, path: &Path, file: &Table) -> Result<Table> {
    let text = toml::to_string(file).map_err(|error| JobError::new(error.to_string()))?;
    let parameters = Parameters::of(&Job::of(path, &text, query)?, Utc::now().date_naive())?;
    let prepared = session.prepare(&with_placeholders(query)?, parameters.values(), &BTreeMap::new()).await?;
    let mut inputs = Table::new();
    let mut wrong = None;
    prepared.plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            match files_of(scan) {
                Ok(Some(files)) => drop(inputs.insert(scan.table_name.table().to_string(), files.into())),
                Ok(None) => {}
                Err(error) => wrong = Some(error),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    wrong.map_or(Ok(inputs), Err)
}

/// The path of a registered table; none of one that is named by its path.
fn files_of(scan: &TableScan) -> Result<Option<String>> {
    let name = scan.table_name.table();
    let is_path = name.contains(['/', '.', '*']);
    if is_path && !name.contains("://") && !Path::new(name).is_absolute() {
        return Err(JobError::new(format!("'{name}': a path that means something else where the job runs"))
            .with_hint("write it from the root, or register the table: CREATE EXTERNAL TABLE, or --table name=path"));
    }
    if is_path {
        return Ok(None);
    }
    let provider = source_as_provider(&scan.source)?;
    let listed = provider.downcast_ref::<ListingTable>();
    match listed.map(|table| table.table_paths().as_slice()) {
        Some([only]) => {
            let url: &Url = only.as_ref();
            let place = match url.to_file_path() {
                Ok(path) if url.scheme() == "file" => format!("{}{}", path.display(), if url.path().ends_with('/') { "/" } else { "" }),
                _ => url.to_string(),
            };
            Ok(Some(only.get_glob().as_ref().map_or_else(|| place.clone(), |glob| format!("{place}{glob}"))))
        }
        _ => Err(JobError::new(format!("table '{name}' does not lie in files that another session can read"))
            .with_hint("CREATE EXTERNAL TABLE .. STORED AS PARQUET LOCATION '..', or --table name=path")),
    }
}

/// Refuses a table that the job would read in another way than the session does, as by other options of its format.
async fn same_columns(session: &Session, own: &Session, table: &str) -> Result<()> {
    let schema = async |session: &Session| session.context().table_provider(table).await.map(|table| table.schema());
    let (here, there) = (schema(session).await?, schema(own).await?);
    let columns = |schema: &SchemaRef| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    if columns(&here) == columns(&there) {
        return Ok(());
    }
    Err(JobError::new(format!("table '{table}' would have other columns where the job runs, which reads its files by their endings alone"))
        .with_hint("name a file or folder that needs no options, or a view of it in the query"))
}

/// The settings of the session that are not those of any session.
fn settings(session: &Session) -> Table {
    // What a job says of itself, and what is a matter of where it runs.
    const OWN: [&str; 5] = ["mm.row_key", "mm.run_id", "mm.on_error", "mm.max_errors", "mm.cache_path"];
    let config = session.context().copied_config();
    let Some(settings) = config.options().extensions.get::<MmSettings>() else { return Table::new() };
    let defaults = MmSettings::default().entries();
    let changed = settings.entries().into_iter().zip(defaults).filter(|(own, default)| own.value != default.value);
    changed.filter_map(|(own, _)| Some((own.key.clone(), own.value?.into()))).filter(|(key, _)| !OWN.contains(&key.as_str())).collect()
}

/// The file of a job's query, as its file says; none where there is no such file yet.
pub(super) fn query_file(path: &Path) -> Option<String> {
    let file: Table = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let named = file.get("query").and_then(Value::as_str).map(str::to_string);
    named.or_else(|| Some(path.with_extension("sql").file_name()?.to_string_lossy().into_owned()))
}

fn absolute(path: &str) -> Result<String> {
    if path.contains("://") || path.starts_with("~/") {
        return Ok(path.to_string());
    }
    let whole = std::path::absolute(path).map_err(|error| JobError::new(format!("{path}: {error}")))?;
    Ok(whole.to_string_lossy().into_owned())
}

/// Whoever reads the folder sees the old file or the new one.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| JobError::new(format!("cannot write {}: {error}", path.display()));
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let written = std::fs::File::create(&unfinished).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&unfinished, path)).map_err(failed)
}
