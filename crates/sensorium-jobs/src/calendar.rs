//! Times of cron in the notation of systemd's timers.
//!
//! Source: systemd.time(7), "Calendar Events"; crontab(5).

use crate::error::{JobError, Result};

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The calendar events of a cron pattern of five fields. Cron takes a day that fits either of its two fields where both say something, so
/// that there are two events then.
///
/// # Errors
/// For what systemd has no words for.
pub(crate) fn calendar_events(cron: &str, zone: &str) -> Result<Vec<String>> {
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(foreign(cron, "it has other fields than minute, hour, day, month and weekday"));
    };
    let number = |text: &str| text.parse::<u8>().ok().map(|number| format!("{number:02}"));
    let month_name = |text: &str| {
        let place = MONTHS.iter().position(|month| text.eq_ignore_ascii_case(month));
        place.map(|place| format!("{:02}", place + 1)).or_else(|| number(text))
    };
    let weekday_name = |text: &str| {
        let named = WEEKDAYS.iter().find(|weekday| text.eq_ignore_ascii_case(weekday));
        named.or_else(|| WEEKDAYS.get(text.parse::<usize>().ok()?)).map(|name| (*name).to_string())
    };
    let wrong = || foreign(cron, "systemd has no such times");
    let (minute, hour) = (field(minute, "00", &number).ok_or_else(wrong)?, field(hour, "00", &number).ok_or_else(wrong)?);
    let (date, month) = (field(day, "01", &number).ok_or_else(wrong)?, field(month, "01", &month_name).ok_or_else(wrong)?);
    let weekday = if *weekday == "*" { None } else { Some(field(weekday, "", &weekday_name).ok_or_else(wrong)?) };
    let time = format!("{hour}:{minute}:00 {zone}");
    Ok(match weekday {
        None => vec![format!("*-{month}-{date} {time}")],
        Some(weekday) if *day == "*" => vec![format!("{weekday} *-{month}-* {time}")],
        Some(weekday) => vec![format!("*-{month}-{date} {time}"), format!("{weekday} *-{month}-* {time}")],
    })
}

fn foreign(cron: &str, why: &str) -> JobError {
    JobError::new(format!("schedule.cron: '{cron}' cannot be written for systemd: {why}"))
        .with_hint("`sensorium job serve` runs it as it is")
}

/// A field: lists, ranges and steps, `start` being what `*` counts from.
fn field(text: &str, start: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let part = |part: &str| -> Option<String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u8>().ok()?)),
            None => (part, None),
        };
        let range = match (range, range.split_once('-')) {
            ("*", _) if step.is_some() && !start.is_empty() => start.to_string(),
            ("*", _) if step.is_none() => "*".to_string(),
            (_, Some((from, to))) => format!("{}..{}", value(from)?, value(to)?),
            (single, None) => value(single)?,
        };
        match step {
            // Weekdays have no steps.
            Some(_) if start.is_empty() => None,
            Some(step) => Some(format!("{range}/{step}")),
            None => Some(range),
        }
    };
    Some(text.split(',').map(part).collect::<Option<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(cron: &str) -> Vec<String> {
        calendar_events(cron, "UTC").expect("events")
    }

    #[test]
    fn fields_become_dates_and_times() {
        assert_eq!(events("0 2 * * *"), ["*-*-* 02:00:00 UTC"]);
        assert_eq!(events("*/15 8-18 * * 1-5"), ["Mon..Fri *-*-* 08..18:00/15:00 UTC"]);
        assert_eq!(events("30 5 1,15 JAN-mar *"), ["*-01..03-01,15 05:30:00 UTC"]);
        assert_eq!(events("5 4 * * 0,6"), ["Sun,Sat *-*-* 04:05:00 UTC"]);
        assert_eq!(events("0 12-20/2 */10 * *"), ["*-*-01/10 12..20/2:00:00 UTC"]);
    }

    #[test]
    fn either_day_is_enough_for_cron() {
        assert_eq!(events("0 2 1 * MON"), ["*-*-01 02:00:00 UTC", "Mon *-*-* 02:00:00 UTC"]);
    }

    #[test]
    fn what_systemd_cannot_say_is_refused() {
        for cron in ["0 2 L * *", "0 2 * * 5#2", "0 0 2 * * *", "0 2 * * */2"] {
            assert!(calendar_events(cron, "UTC").is_err(), "{cron}");
        }
    }
}
