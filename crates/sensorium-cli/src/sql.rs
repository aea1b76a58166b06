//! `sensorium sql`: statements from the command line or a file; without either, the shell.

use std::fs;
use std::path::Path;
use std::time::Instant;

use datafusion::dataframe::DataFrameWriteOptions;
use sensorium_engine::{Session, errors_page, functions_page, settings_page, split_statements};
use sensorium_jobs::{MM_RUNS, SqlJobs};

use crate::arguments::{Format, SqlOptions};
use crate::progress::Progress;
use crate::run::{Failure, Result, failed};
use crate::{output, shell};

pub(crate) async fn run(options: SqlOptions) -> Result {
    let session = Session::open(&options.models)?;
    for (key, value) in &options.set {
        session.set(key, value).await?;
    }
    for (name, path) in &options.table {
        session.register(name, path).await?;
    }
    let jobs = SqlJobs { folder: options.jobs.clone(), ledger: options.ledger.place.clone() };
    jobs.register(&session);
    let script = match (&options.command, &options.file) {
        (Some(command), _) => command.clone(),
        (None, Some(file)) => fs::read_to_string(file).map_err(|error| failed(format!("cannot read {}", file.display()))(&error))?,
        (None, None) => return shell::run(&session, &jobs, options.format, options.quiet).await,
    };
    let statements = split_statements(&script)?;
    let last = statements.len().saturating_sub(1);
    for (index, statement) in statements.iter().enumerate() {
        match &options.output {
            Some(file) if index == last => write(&session, statement, file, options.quiet).await?,
            _ => execute(&session, &jobs, statement, options.format, options.quiet).await?,
        }
    }
    Ok(())
}

/// Runs one statement and prints its rows.
pub(crate) async fn execute(session: &Session, jobs: &SqlJobs, statement: &str, format: Format, quiet: bool) -> Result {
    let start = Instant::now();
    let progress = Progress::start(session, quiet);
    let frame = match jobs.execute(session, statement).await? {
        Some(batch) => session.context().read_batch(batch)?,
        None => session.sql(statement).await?,
    };
    if frame.schema().fields().is_empty() {
        // SET, CREATE TABLE and the like return nothing to print.
        frame.collect().await?;
        return Ok(());
    }
    let rows = output::print(frame.execute_stream().await?, format).await?;
    drop(progress);
    if !quiet {
        let rows = if rows == 1 { "1 row".to_string() } else { format!("{rows} rows") };
        eprintln!("{rows} in {:.3} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

async fn write(session: &Session, statement: &str, file: &str, quiet: bool) -> Result {
    if !file.ends_with(".parquet") {
        return Err(Failure(format!("cannot write {file}\n\nhint: --output takes a name that ends in .parquet")));
    }
    let start = Instant::now();
    let progress = Progress::start(session, quiet);
    let frame = session.sql(statement).await?;
    frame.write_parquet(file, DataFrameWriteOptions::new().with_single_file_output(true), None).await?;
    drop(progress);
    if !quiet {
        eprintln!("written to {file} in {:.3} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// `sensorium reference`: writes the pages below `sql/`, or says which are stale.
pub(crate) fn write_reference(check: bool) -> Result {
    let scratch = std::env::temp_dir().join(format!("sensorium-reference-{}", std::process::id()));
    let session = Session::open(&scratch.to_string_lossy())?;
    let functions = format!(
        "{}\n## `{}`\n\n{}\n\n    {}\n\n```sql\n{}\n```\n",
        functions_page(&session)?,
        MM_RUNS.name,
        MM_RUNS.description,
        MM_RUNS.syntax,
        MM_RUNS.example
    );
    let pages = [("functions", functions), ("settings", settings_page()), ("errors", errors_page())];
    // The empty catalog served only to list the functions.
    let _ = fs::remove_dir_all(&scratch);
    for (name, page) in pages {
        let path = Path::new("sql").join(format!("{name}.md"));
        if fs::read_to_string(&path).is_ok_and(|old| old == page) {
            continue;
        }
        if check {
            return Err(Failure(format!("{} is stale\n\nhint: run `cargo reference`", path.display())));
        }
        fs::write(&path, page).map_err(|error| failed(format!("cannot write {}", path.display()))(&error))?;
    }
    Ok(())
}
