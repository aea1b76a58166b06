//! `sensorium job export`: files for other schedulers.

use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;

use sensorium_jobs::{Job, Start, Target, export};

use super::arguments::{Export, Scheduler};
use crate::output::print_text;
use crate::run::{Failure, Result, failed};

pub(super) fn exporting(options: &Export) -> Result<ExitCode> {
    let job = Job::read(&options.job)?;
    let whole = |path: &Path| -> Result<PathBuf> { absolute(path).map_err(|error| failed(path.display())(&error)) };
    let command = std::env::current_exe().map_err(|error| failed("where is this command?")(&error))?;
    let ledger = &options.ledger.place;
    // What is written there is read by others, and on command lines by all.
    if ledger.split_once("://").and_then(|(_, rest)| rest.split_once('@')).is_some_and(|(user, _)| user.contains(':')) {
        return Err(Failure(
            "the ledger's URL has a password\n\nhint: leave it out, and give the job PGPASSWORD in its environment".into(),
        ));
    }
    let ledger = if ledger.contains("://") { PathBuf::from(ledger) } else { whole(Path::new(ledger))? };
    let start = Start { command: &command, job: &whole(&options.job)?, ledger: &ledger, image: &options.image };
    let target = match options.target {
        Scheduler::Systemd => Target::Systemd,
        Scheduler::Cron => Target::Cron,
        Scheduler::Kubernetes => Target::Kubernetes,
        Scheduler::Airflow => Target::Airflow,
    };
    for (name, text) in export(&job, target, &start)? {
        match &options.to {
            Some(folder) => {
                let path = folder.join(&name);
                let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
                written.map_err(|error| failed(format!("cannot write {}", path.display()))(&error))?;
                eprintln!("{}", path.display());
            }
            None => print_text(&format!("# {name}\n{text}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
