//! The interactive shell: multi-line statements, history.

use std::fs;
use std::path::PathBuf;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use sensorium_engine::{Session, split_statements};
use sensorium_inference::cache_dir;
use sensorium_jobs::SqlJobs;

use crate::arguments::Format;
use crate::output::print_error;
use crate::run::{Result, failed};
use crate::sql::execute;

const PROMPT: &str = "sensorium> ";
const MORE: &str = "      ...> ";
const HELP: &str = "Statements end with a semicolon.
  SHOW MODELS;                      the models of the catalog
  DESCRIBE MODEL name;              its inputs and outputs
  SELECT * FROM 'file.parquet';     a file as a table
  SHOW TABLES;  SHOW ALL;           tables; settings
  SHOW JOBS;  SELECT * FROM mm_runs();  queries that run again and again, and their runs
  \\q                                leave";

pub(crate) async fn run(session: &Session, jobs: &SqlJobs, format: Format, quiet: bool) -> Result {
    let mut editor = DefaultEditor::new().map_err(|error| failed("cannot open the terminal")(&error))?;
    let history = history_file();
    if let Some(file) = &history {
        // The first shell of a machine has no history yet.
        let _ = editor.load_history(file);
    }
    if !quiet {
        eprintln!("sensorium {}, \\h for help, \\q to leave", env!("CARGO_PKG_VERSION"));
    }
    let mut pending = String::new();
    loop {
        let prompt = if pending.is_empty() { PROMPT } else { MORE };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                pending.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed("cannot read the line")(&error)),
        };
        match line.trim() {
            "\\q" | "exit" | "quit" if pending.is_empty() => break,
            "\\h" | "help" if pending.is_empty() => {
                eprintln!("{HELP}");
                continue;
            }
            "" if pending.is_empty() => continue,
            _ => {}
        }
        pending.push_str(&line);
        pending.push('\n');
        if line.trim_end().ends_with(';') {
            let script = std::mem::take(&mut pending);
            // A line that cannot be remembered can still be run.
            let _ = editor.add_history_entry(script.trim());
            run_script(session, jobs, &script, format, quiet).await;
        }
    }
    if let Some(file) = history {
        let _ = editor.save_history(&file);
    }
    Ok(())
}

/// Runs what was typed; Ctrl-C stops the statement, an error the rest of the line.
async fn run_script(session: &Session, jobs: &SqlJobs, script: &str, format: Format, quiet: bool) {
    let statements = match split_statements(script) {
        Ok(statements) => statements,
        Err(error) => return print_error(&error.into()),
    };
    for statement in statements {
        tokio::select! {
            result = execute(session, jobs, &statement, format, quiet) => {
                if let Err(error) = result {
                    return print_error(&error);
                }
            }
            _ = tokio::signal::ctrl_c() => return eprintln!("stopped"),
        }
    }
}

fn history_file() -> Option<PathBuf> {
    let folder = cache_dir().ok()?;
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
