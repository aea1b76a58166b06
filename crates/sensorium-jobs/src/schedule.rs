//! When a job runs.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use serde::Deserialize;

use crate::error::{JobError, Result};

/// Times in the notation of cron, on the clock of a time zone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// Name in the IANA database, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What is done about runs that were missed.
    #[serde(default)]
    pub catch_up: CatchUp,
}

fn utc() -> String {
    "UTC".into()
}

/// What is done about runs that were missed, while nothing was there to start them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// The last of them is made up for.
    #[default]
    Last,
    /// Each of them is.
    All,
    /// None is.
    None,
}

impl Schedule {
    /// The times, as they are computed with.
    ///
    /// # Errors
    /// For what is no cron pattern or no time zone.
    pub fn pattern(&self) -> Result<(Cron, Tz)> {
        let cron = Cron::from_str(&self.cron).map_err(|error| {
            JobError::new(format!("schedule.cron: '{}': {error}", self.cron))
                .with_hint("minute hour day month weekday, as \"0 2 * * *\" for two at night")
        })?;
        let zone = Tz::from_str(&self.time_zone).map_err(|_| {
            JobError::new(format!("schedule.time_zone: no such zone: '{}'", self.time_zone))
                .with_hint("such as \"Europe/Berlin\" or \"UTC\"")
        })?;
        Ok((cron, zone))
    }

    /// The first time after `moment`.
    ///
    /// # Errors
    /// For a pattern that no time fits, such as the 31st of February.
    pub fn next(&self, moment: DateTime<Utc>) -> Result<DateTime<Tz>> {
        let (cron, zone) = self.pattern()?;
        let local = moment.with_timezone(&zone);
        cron.find_next_occurrence(&local, false).map_err(|error| JobError::new(format!("schedule.cron: '{}': {error}", self.cron)))
    }
}
