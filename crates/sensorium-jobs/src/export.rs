//! A job for the scheduler that is there already.

use std::path::Path;

use crate::calendar::calendar_events;
use crate::error::{JobError, Result};
use crate::job_file::Job;
use crate::schedule::{CatchUp, Schedule};

/// Who starts the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A service and a timer.
    Systemd,
    /// A line of a crontab, by which the command looks each minute whether it is time.
    Cron,
    /// A `CronJob`.
    Kubernetes,
    /// A DAG of one task.
    Airflow,
}

/// How the job is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'s> {
    /// The `sensorium` command, with its path.
    pub command: &'s Path,
    /// The job file, with its path.
    pub job: &'s Path,
    /// The ledger, with its path.
    pub ledger: &'s Path,
    /// The image of a container with the command, for Kubernetes.
    pub image: &'s str,
}

/// Exit code of a run with rows that failed, which is none that failed.
const REJECTED: u8 = 3;

/// Name and text of each file.
///
/// # Errors
/// For a job without a schedule, a path with characters that the target cannot quote, and times that it has no words for.
pub fn export(job: &Job, target: Target, start: &Start<'_>) -> Result<Vec<(String, String)>> {
    let schedule = job.file.schedule.as_ref().ok_or_else(|| {
        JobError::new(format!("job {} has no schedule", job.name)).with_hint("[schedule] cron = \"0 2 * * *\" in its file")
    })?;
    schedule.pattern()?;
    for path in [start.command, start.job, start.ledger] {
        let is_quotable =
            path.to_str().is_some_and(|text| !text.chars().any(|character| character.is_control() || "\"'\\%$`".contains(character)));
        if !is_quotable {
            return Err(JobError::new(format!("{}: a path with quotes or other special characters", path.display())).with_hint("move it"));
        }
    }
    let arguments = format!("job run \"{}\" --ledger \"{}\" --quiet", start.job.display(), start.ledger.display());
    let command = format!("\"{}\" {arguments}", start.command.display());
    Ok(match target {
        Target::Systemd => systemd(job, schedule, &format!("{command} --if-due"))?,
        Target::Cron => vec![(format!("{}.crontab", job.name), cron(job, schedule, &command))],
        Target::Kubernetes => vec![(format!("{}.yaml", job.name), kubernetes(job, schedule, &format!("{command} --if-due"), start.image))],
        Target::Airflow => vec![(format!("{}.py", job.name), airflow(job, schedule, &command))],
    })
}

/// One line, whatever stands in the file.
fn described(job: &Job) -> String {
    let text = if job.file.description.is_empty() { format!("Sensorium job {}", job.name) } else { job.file.description.clone() };
    text.chars().map(|character| if character.is_control() || "\"\\%".contains(character) { ' ' } else { character }).collect()
}

fn systemd(job: &Job, schedule: &Schedule, command: &str) -> Result<Vec<(String, String)>> {
    let name = format!("sensorium-{}", job.name);
    let events: String =
        calendar_events(&schedule.cron, &schedule.time_zone)?.iter().map(|event| format!("OnCalendar={event}\n")).collect();
    let description = described(job);
    let persistent = schedule.catch_up != CatchUp::None;
    let service =
        format!("[Unit]\nDescription={description}\n\n[Service]\nType=oneshot\nExecStart={command}\nSuccessExitStatus={REJECTED}\n");
    let timer = format!(
        "[Unit]\nDescription={description}\n\n[Timer]\n{events}Persistent={persistent}\nAccuracySec=1s\nUnit={name}.service\n\n[Install]\nWantedBy=timers.target\n"
    );
    Ok(vec![(format!("{name}.service"), service), (format!("{name}.timer"), timer)])
}

fn cron(job: &Job, schedule: &Schedule, command: &str) -> String {
    // Not every cron knows time zones, and one that does not would start the job at another hour without a word.
    format!(
        "# {}: {} {}, which the command looks at each minute\n* * * * * {command} --if-due\n",
        described(job),
        schedule.cron,
        schedule.time_zone
    )
}

fn kubernetes(job: &Job, schedule: &Schedule, command: &str, image: &str) -> String {
    let name = job.name.to_lowercase().replace('_', "-");
    format!(
        "# {description}
# Job file, models, ledger and sink must lie on volumes, or in an object store.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: \"{cron}\"
  timeZone: \"{zone}\"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 3
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: sensorium
              image: \"{image}\"
              # The exit code {REJECTED} is a run with rows that failed: they are in the ledger, and another attempt would not mend them.
              command: [\"/bin/sh\", \"-c\", '{command} || [ $? -eq {REJECTED} ]']
",
        description = described(job),
        cron = schedule.cron,
        zone = schedule.time_zone,
    )
}

fn airflow(job: &Job, schedule: &Schedule, command: &str) -> String {
    let catch_up = if schedule.catch_up == CatchUp::All { "True" } else { "False" };
    format!(
        "\"\"\"{description}.\"\"\"

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable

with DAG(
    dag_id=\"sensorium_{name}\",
    schedule=CronTriggerTimetable(\"{cron}\", timezone=\"{zone}\"),
    start_date=pendulum.datetime(2026, 1, 1, tz=\"{zone}\"),
    catchup={catch_up},
    max_active_runs=1,
):
    # The exit code {REJECTED} is a run with rows that failed, which are in the ledger.
    BashOperator(
        task_id=\"run\",
        bash_command='{command} --date {{{{ dag_run.logical_date.in_timezone(\"{zone}\").to_date_string() }}}} || [ $? -eq {REJECTED} ]',
    )
",
        description = described(job),
        name = job.name,
        cron = schedule.cron,
        zone = schedule.time_zone,
    )
}
