//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::job::{JobCommand, LedgerFile};

/// SQL over tables, texts and pictures, with models inside the query.
#[derive(Debug, Parser)]
#[command(name = "sensorium", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a query, a script, or an interactive shell
    Sql(SqlOptions),
    /// Queries that run again and again: resumable, with output that appears at once, and a ledger
    Job {
        #[command(subcommand)]
        command: JobCommand,
    },
    /// Install ONNX Runtime and the demonstration models into the cache folder, with pip
    Setup(SetupOptions),
    /// Score a loan book and inspect textile pictures, with the SQL shown
    Demo(DemoOptions),
    /// Write the reference pages below sql/
    #[command(hide = true)]
    Reference {
        /// Only check that they are up to date
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SqlOptions {
    /// Statements to run, separated by semicolons
    #[arg(short = 'c', long, value_name = "QUERY", conflicts_with = "file")]
    pub(crate) command: Option<String>,
    /// Script to run
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// File, folder or glob to query under a name
    #[arg(long, value_name = "NAME=PATH", value_parser = pair)]
    pub(crate) table: Vec<(String, String)>,
    /// Folder or URL of the model catalog
    #[arg(long, value_name = "DIR", default_value = "models", env = "SENSORIUM_MODELS")]
    pub(crate) models: String,
    /// Folder of the jobs that CREATE JOB makes and SHOW JOBS lists
    #[arg(long, value_name = "DIR", default_value = "jobs", env = "SENSORIUM_JOBS")]
    pub(crate) jobs: PathBuf,
    #[command(flatten)]
    pub(crate) ledger: LedgerFile,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Write the rows of the last query to a Parquet file instead of printing them
    #[arg(long, value_name = "FILE.parquet")]
    pub(crate) output: Option<String>,
    /// Setting for the session, such as mm.device=cpu
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// No progress bar and no timing
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SetupOptions {
    /// The library with the CUDA provider
    #[arg(long)]
    pub(crate) gpu: bool,
    /// Only ONNX Runtime, without the demonstration models and pictures
    #[arg(long)]
    pub(crate) runtime_only: bool,
    /// Python 3.10 or newer with pip
    #[arg(long, default_value = "python3", env = "SENSORIUM_PYTHON")]
    pub(crate) python: String,
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Python 3.10 or newer with pip, for the set-up
    #[arg(long, default_value = "python3", env = "SENSORIUM_PYTHON")]
    pub(crate) python: String,
    /// Setting for the session, such as mm.device=cpu
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Package of your own for parts that need one: looker (answers questions about pictures), painter (draws), clip
    #[arg(long, value_name = "NAME=FOLDER", value_parser = pair)]
    pub(crate) model: Vec<(String, String)>,
}

/// Ways to print rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// Comma-separated values with a header; nested values as JSON
    Csv,
    /// One JSON object a line
    Jsonl,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".to_string()),
    }
}
