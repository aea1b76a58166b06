//! What people see of jobs: one page for all, one for each job and each run.

mod all_jobs;
mod one_job;
mod one_run;

pub(crate) use all_jobs::all_jobs;
pub(crate) use one_job::one_job;
pub(crate) use one_run::one_run;

use crate::ledger::{Outcome, RunRecord};

/// A figure of a run that is done.
fn of(run: &RunRecord, figure: impl Fn(&Outcome) -> String) -> String {
    run.outcome.as_ref().map_or_else(String::new, figure)
}

/// Seconds as one reads them.
fn duration(seconds: f64) -> String {
    match seconds {
        short if short < 100.0 => format!("{short:.1} s"),
        longer if longer < 6_000.0 => format!("{:.0} min", longer / 60.0),
        long => format!("{:.1} h", long / 3_600.0),
    }
}

/// A count with its thousands apart.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The day and the minute of a time that the ledger has written.
fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_easy_to_read() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!([0.04, 99.9, 600.0, 36_000.0].map(duration), ["0.0 s", "99.9 s", "10 min", "10.0 h"]);
        assert_eq!(minute("2026-11-28T02:00:01.123Z"), "2026-11-28 02:00");
    }
}
