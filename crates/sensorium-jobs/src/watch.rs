//! A clock that may be set while the scheduler goes by it.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

/// A clock that is set forward by less has skipped times, which are made up for; by more, it was wrong before (cron(8) of Debian).
const CORRECTION: TimeDelta = TimeDelta::hours(3);

/// Since when somebody has looked at the clock.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    /// When the first look was: a job without runs has missed nothing before it.
    pub began: DateTime<Utc>,
    /// Times from here on were not missed.
    pub since: DateTime<Utc>,
}

impl From<DateTime<Utc>> for Watched {
    fn from(since: DateTime<Utc>) -> Self {
        Self { began: since, since }
    }
}

/// Looks at the clock, for a schedule.
#[derive(Debug)]
pub(crate) struct Watch {
    watched: Watched,
    time: DateTime<Utc>,
    steady: Instant,
}

impl Watch {
    /// Begins to look, at a time and at an instant of a clock that nobody sets.
    pub(crate) fn new(time: DateTime<Utc>, steady: Instant) -> Self {
        Self { watched: time.into(), time, steady }
    }

    /// A clock that was set back takes the beginnings with it. Where one was corrected, or has gone on while the machine slept, times
    /// before that are missed ones.
    pub(crate) fn look(&mut self, time: DateTime<Utc>, steady: Instant) -> Watched {
        let passed = TimeDelta::from_std(steady.saturating_duration_since(self.steady)).unwrap_or(TimeDelta::MAX);
        let skipped = (time - self.time).checked_sub(&passed).unwrap_or(TimeDelta::zero());
        if skipped >= CORRECTION || time < self.watched.since {
            self.watched.since = time;
        }
        self.watched.began = self.watched.began.min(time);
        (self.time, self.steady) = (time, steady);
        self.watched
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        format!("2026-11-25T{text}:00Z").parse().expect("a time")
    }

    #[test]
    fn hours_of_work_are_no_leap() {
        let start = Instant::now();
        let mut watch = Watch::new(time("01:00"), start);
        assert_eq!(watch.look(time("09:00"), start + Duration::from_secs(8 * 3600)).since, time("01:00"));
    }

    #[test]
    fn what_a_short_leap_skips_was_not_missed() {
        let start = Instant::now();
        let mut watch = Watch::new(time("01:00"), start);
        assert_eq!(watch.look(time("03:30"), start + Duration::from_secs(1)).since, time("01:00"));
        let corrected = watch.look(time("06:45"), start + Duration::from_secs(2));
        assert_eq!((corrected.began, corrected.since), (time("01:00"), time("06:45")));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_hold_up_what_comes() {
        let start = Instant::now();
        let mut watch = Watch::new(time("20:00"), start);
        let later = |watch: &mut Watch, text, seconds| {
            let watched = watch.look(time(text), start + Duration::from_secs(seconds));
            (watched.began, watched.since)
        };
        assert_eq!(later(&mut watch, "02:00", 1), (time("02:00"), time("02:00")));
        assert_eq!(later(&mut watch, "02:01", 61), (time("02:00"), time("02:00")));
    }
}
