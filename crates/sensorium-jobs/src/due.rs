//! Which runs are due: a function of schedules, of what the ledger knows, and of the time.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use croner::errors::CronError;

use crate::error::{JobError, Result};
use crate::job_file::Job;
use crate::ledger::{Ledger, RunState};
use crate::schedule::{CatchUp, Schedule};
use crate::watch::Watched;

/// Dates that are made up for at most, the last ones.
const MOST_DATES: usize = 366;

/// The dates of a job that are due at `now`, the earliest first. `watched` is when the scheduler began to look.
///
/// A date is due once its time has come, unless it has a run. Of those that were missed, the job's `catch_up` says which are made
/// up for, back to its last run; runs of dates to come, which a clock that was ahead has made, do not count. A run whose process has ended
/// in the middle is due again.
///
/// # Errors
/// For a schedule that makes no sense, and where the ledger cannot be read.
pub fn due(job: &Job, ledger: &Ledger, watched: impl Into<Watched>, now: DateTime<Utc>) -> Result<Vec<NaiveDate>> {
    let Some(schedule) = &job.file.schedule else { return Ok(Vec::new()) };
    let runs = ledger.runs(Some(&job.name), MOST_DATES as u64)?;
    let (watched, zone) = (watched.into(), schedule.pattern()?.1);
    let today = now.with_timezone(&zone).date_naive();
    let last = runs.iter().map(|run| run.run_date).filter(|date| *date <= today).max();
    let mut dates: Vec<NaiveDate> = runs.iter().filter(|run| run.state == RunState::Running).map(|run| run.run_date).collect();
    let times = schedule.between(start(zone, last, watched), now)?;
    let (missed, own): (Vec<_>, Vec<_>) = times.into_iter().partition(|time| *time < watched.since);
    let made_up_for = match schedule.catch_up {
        CatchUp::All => missed.as_slice(),
        CatchUp::Last => &missed[missed.len().saturating_sub(1)..],
        CatchUp::None => &[],
    };
    let of = |time: &DateTime<Utc>| time.with_timezone(&zone).date_naive();
    dates.extend(made_up_for.iter().chain(&own).map(of).filter(|date| runs.iter().all(|run| run.run_date != *date)));
    dates.sort_unstable();
    dates.dedup();
    Ok(dates)
}

/// Where to look for times from: behind the last run, or since when there is somebody to look.
fn start(zone: Tz, last: Option<NaiveDate>, watched: Watched) -> DateTime<Utc> {
    let Some(last) = last else { return watched.began };
    midnight_after(last, zone).map_or(watched.since, |midnight| midnight.to_utc().min(watched.since))
}

fn midnight_after(date: NaiveDate, zone: Tz) -> Option<DateTime<Tz>> {
    date.succ_opt()?.and_hms_opt(0, 0, 0)?.and_local_timezone(zone).earliest()
}

impl Schedule {
    /// The times from `from` to `to`, the last of them where they are many.
    fn between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>> {
        let (cron, zone) = self.pattern()?;
        let mut times = std::collections::VecDeque::new();
        let mut moment = from.with_timezone(&zone);
        let mut is_inclusive = true;
        loop {
            match cron.find_next_occurrence(&moment, is_inclusive) {
                Ok(next) if next <= to => {
                    times.push_back(next.to_utc());
                    if times.len() > MOST_DATES {
                        times.pop_front();
                    }
                    // A date has one run.
                    let tomorrow = midnight_after(next.date_naive(), zone).filter(|midnight| *midnight > next);
                    (moment, is_inclusive) = tomorrow.map_or((next, false), |midnight| (midnight, true));
                }
                Ok(_) | Err(CronError::TimeSearchLimitExceeded) => return Ok(times.into()),
                Err(error) => return Err(JobError::new(format!("schedule.cron: '{}': {error}", self.cron))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ledger::RunRecord;

    fn job(schedule: &str) -> Job {
        let file = format!("key = ['id']\nsink = {{ path = 'out' }}\nschedule = {{ {schedule} }}");
        Job { name: "j".into(), folder: PathBuf::new(), file: toml::from_str(&file).expect("a job"), sql: String::new() }
    }

    fn ledger(runs: &[(&str, RunState)]) -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&folder.path().join("l.sqlite").to_string_lossy()).expect("a ledger");
        for (date, state) in runs {
            let record = RunRecord {
                run: format!("j-{date}"),
                job: "j".into(),
                run_date: date.parse().expect("a date"),
                generation: 1,
                state: *state,
                started_at: (*date).into(),
                fingerprint: String::new(),
                query: String::new(),
                parameters: String::new(),
                models: vec![],
                environment: String::new(),
                outcome: None,
                error: None,
            };
            ledger.begin(&record).expect("a run");
        }
        (folder, ledger)
    }

    fn found(schedule: &str, runs: &[(&str, RunState)], since: &str, now: &str) -> Vec<String> {
        let (_folder, ledger) = ledger(runs);
        let time = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let dates = due(&job(schedule), &ledger, time(since), time(now)).expect("dates");
        dates.iter().map(ToString::to_string).collect()
    }

    const AT_TWO: &str = "cron = '0 2 * * *', time_zone = 'Europe/Berlin'";

    #[test]
    fn a_date_is_due_at_its_minute_on_the_clock_of_its_zone() {
        // Two o'clock in Berlin is one o'clock UTC in winter.
        assert_eq!(found(AT_TWO, &[], "2026-11-24T12:00:00Z", "2026-11-25T00:59:59Z"), [""; 0]);
        assert_eq!(found(AT_TWO, &[], "2026-11-24T12:00:00Z", "2026-11-25T01:00:00Z"), ["2026-11-25"]);
        assert_eq!(found(AT_TWO, &[("2026-11-25", RunState::Done)], "2026-11-24T12:00:00Z", "2026-11-25T01:00:01Z"), [""; 0]);
        assert_eq!(found(AT_TWO, &[("2026-11-25", RunState::Failed)], "2026-11-24T12:00:00Z", "2026-11-25T01:00:01Z"), [""; 0]);
    }

    #[test]
    fn an_hour_that_is_left_out_or_comes_twice_is_one_run() {
        // Clocks go from two to three on 29 March 2026 and back from three to two on 25 October.
        let half_past_two = "cron = '30 2 * * *', time_zone = 'Europe/Berlin'";
        assert_eq!(found(half_past_two, &[], "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), ["2026-03-29"]);
        assert_eq!(found(half_past_two, &[], "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), ["2026-10-25"]);
    }

    #[test]
    fn missed_dates_are_made_up_for_as_the_job_says() {
        let runs = [("2026-11-20", RunState::Done)];
        let of =
            |catch_up: &str| found(&format!("{AT_TWO}, catch_up = '{catch_up}'"), &runs, "2026-11-24T12:00:00Z", "2026-11-25T12:00:00Z");
        assert_eq!(of("all"), ["2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25"]);
        assert_eq!(of("last"), ["2026-11-24", "2026-11-25"]);
        assert_eq!(of("none"), ["2026-11-25"]);
    }

    #[test]
    fn a_date_is_due_once_however_often_its_time_comes() {
        let often = "cron = '*/5 * * * *', catch_up = 'all'";
        let dates = found(often, &[("2026-11-20", RunState::Done)], "2026-11-24T12:00:00Z", "2026-11-24T12:10:00Z");
        assert_eq!(dates, ["2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24"]);
    }

    #[test]
    fn a_job_without_runs_makes_up_for_what_a_sleep_has_missed() {
        let (_folder, ledger) = ledger(&[]);
        let time = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let watched = Watched { began: time("2026-11-20T12:00:00Z"), since: time("2026-11-24T07:00:00Z") };
        let of = |catch_up: &str| {
            due(&job(&format!("{AT_TWO}, catch_up = '{catch_up}'")), &ledger, watched, time("2026-11-24T07:00:01Z")).expect("dates").len()
        };
        assert_eq!((of("all"), of("last"), of("none")), (4, 1, 0));
    }

    #[test]
    fn a_run_of_a_date_to_come_hides_none_that_were_missed() {
        let runs = [("2026-11-20", RunState::Done), ("2026-12-10", RunState::Done)];
        let all = format!("{AT_TWO}, catch_up = 'all'");
        assert_eq!(found(&all, &runs, "2026-11-22T12:00:00Z", "2026-11-22T12:00:01Z"), ["2026-11-21", "2026-11-22"]);
    }

    #[test]
    fn a_run_that_was_cut_off_is_due_again() {
        let runs = [("2026-11-24", RunState::Running)];
        assert_eq!(found(AT_TWO, &runs, "2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z"), ["2026-11-24"]);
    }
}
