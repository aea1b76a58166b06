//! The command line of `sensorium job`.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Plan a job without running it, and say how it would be parted
    Validate {
        /// The job's TOML file
        job: PathBuf,
        /// Run date; today where it is left out
        #[arg(long)]
        date: Option<NaiveDate>,
        /// Folder or URL of the model catalog
        #[arg(long, value_name = "DIR", env = "SENSORIUM_MODELS")]
        models: Option<String>,
    },
    /// Run a job for a date; nothing is done where that is done
    Run(Run),
    /// Run a job for each date of a span
    Backfill(Backfill),
    /// Run what is due of the jobs in a folder, until SIGTERM or Ctrl-C
    Serve(Serve),
    /// Run the rows of a finished run that failed once more, and put what they give in their places
    Retry {
        /// The job's TOML file
        job: PathBuf,
        /// Name of the run
        run: String,
        #[command(flatten)]
        common: Common,
    },
    /// Make rows of a finished run again with the versions of its models, and compare them and its files with what was written down
    Verify {
        /// The job's TOML file
        job: PathBuf,
        /// Name of the run
        run: String,
        /// Rows that are made again
        #[arg(long, default_value_t = 1_000)]
        sample: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Write a job for the scheduler that is there already
    Export(Export),
    /// Jobs in a folder, with their next time and last run
    List {
        /// Folder of job files
        #[arg(default_value = ".")]
        folder: PathBuf,
        #[command(flatten)]
        ledger: LedgerFile,
    },
    /// The last runs
    Status {
        /// Name of a job; all where it is left out
        job: Option<String>,
        /// So many runs
        #[arg(long, default_value_t = 20)]
        last: u64,
        #[command(flatten)]
        ledger: LedgerFile,
    },
    /// What a run has said
    Logs {
        /// Name of the run
        run: String,
        #[command(flatten)]
        ledger: LedgerFile,
    },
    /// A run as one HTML page: figures, times, checks, failed rows, query, log
    Report {
        /// Name of the run
        run: String,
        /// File to write it to; it is printed where it is left out
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        ledger: LedgerFile,
    },
    /// The rows of a run that failed
    Failures {
        /// Name of the run
        run: String,
        /// So many rows
        #[arg(long, default_value_t = 100)]
        last: u64,
        #[command(flatten)]
        ledger: LedgerFile,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The job's TOML file
    pub(super) job: PathBuf,
    /// Run date; today where it is left out
    #[arg(long)]
    pub(super) date: Option<NaiveDate>,
    /// Do a date again that is done, and replace its output
    #[arg(long)]
    pub(super) force: bool,
    /// Run the dates whose time has come in the last hour, and those that the job makes up for; nothing otherwise
    #[arg(long, conflicts_with_all = ["date", "force"])]
    pub(super) if_due: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Backfill {
    /// The job's TOML file
    pub(super) job: PathBuf,
    /// First run date
    #[arg(long)]
    pub(super) from: NaiveDate,
    /// Last run date
    #[arg(long)]
    pub(super) to: NaiveDate,
    /// Do dates again that are done, and replace their output
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Folder of job files
    #[arg(default_value = ".")]
    pub(super) folder: PathBuf,
    /// Address of the read-only pages and of /metrics; 127.0.0.1:8643, if it is free, where it is left out
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Who starts the job
    #[arg(value_enum)]
    pub(super) target: Scheduler,
    /// The job's TOML file
    pub(super) job: PathBuf,
    /// Folder to write the files to; they are printed where it is left out
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// Image of a container with the command, for kubernetes
    #[arg(long, default_value = "sensorium:latest")]
    pub(super) image: String,
    #[command(flatten)]
    pub(super) ledger: LedgerFile,
}

/// Schedulers that jobs are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheduler {
    /// A service and a timer
    Systemd,
    /// A line of a crontab
    Cron,
    /// A CronJob
    Kubernetes,
    /// A DAG
    Airflow,
}

/// What all runs take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(super) ledger: LedgerFile,
    /// Folder or URL of the model catalog
    #[arg(long, value_name = "DIR", env = "SENSORIUM_MODELS")]
    pub(super) models: Option<String>,
    /// No progress bar, no lines, no events
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// What is said on standard error; text in a terminal, else json, where it is left out
    #[arg(long, value_enum)]
    pub(super) log: Option<Log>,
}

/// How a run tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// A progress bar, and lines
    Text,
    /// A JSON object for each event
    Json,
}

/// Where the ledger is.
#[derive(Debug, Args)]
pub(crate) struct LedgerFile {
    /// File of the ledger, or a PostgreSQL database as postgres://user@host/database
    #[arg(
        id = "ledger",
        long = "ledger",
        value_name = "FILE",
        default_value = "jobs.sqlite",
        env = "SENSORIUM_LEDGER",
        hide_env_values = true
    )]
    pub(crate) place: String,
}
