//! How far a query is, for people who wait: rows of each model, rows a second and where the time goes.

use std::time::{Duration, Instant};

use sensorium_inference::ModelProgress;

use crate::session::Session;

/// Queries shorter than this are not worth a word.
const QUIET_PERIOD: Duration = Duration::from_millis(700);
/// What times are told of.
const STEPS: [&str; 6] = ["fetch", "decode", "tokenize", "queue", "device", "scatter"];

/// One query, from its start on.
#[derive(Debug, Clone)]
pub struct Watch {
    session: Session,
    start: Instant,
    before: Vec<ModelProgress>,
}

impl Watch {
    /// The query begins now.
    pub fn start(session: &Session) -> Self {
        Self { session: session.clone(), start: Instant::now(), before: session.progress() }
    }

    /// A line for each model that has run, and for what else goes on; none before the query has taken long enough.
    pub fn lines(&self) -> Option<Vec<String>> {
        let elapsed = self.start.elapsed();
        if elapsed < QUIET_PERIOD {
            return None;
        }
        let models = self.session.progress();
        let before = |model: &ModelProgress| self.before.iter().find(|other| other.model == model.model);
        let models = models.iter().filter_map(|model| line(model, before(model), elapsed.as_secs_f64()));
        Some(self.session.activity().into_iter().chain(models).collect())
    }
}

/// One model since `before`; nothing if it has not run.
fn line(now: &ModelProgress, before: Option<&ModelProgress>, seconds: f64) -> Option<String> {
    // A model that was loaded anew counts from the start.
    let rows = now.rows.saturating_sub(before.map_or(0, |before| before.rows));
    let of = |progress: &ModelProgress, name: &str| progress.figures.iter().find(|(own, _)| *own == name).map_or(0, |(_, figure)| *figure);
    let grown = |name: &str| of(now, name).saturating_sub(before.map_or(0, |before| of(before, name)));
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
    let mut parts = vec![format!("{rows} rows, {:.0}/s", rows as f64 / seconds)];
    let hits = grown("cache_hits") + grown("disk_cache_hits");
    if hits > 0 {
        parts.push(format!("{hits} from the cache"));
    }
    let padded = grown("padded_tokens");
    if padded > 0 {
        parts.push(format!("padding {:.0}%", percent(padded.saturating_sub(grown("tokens")), padded)));
    }
    let times: Vec<(&str, u64)> = STEPS.iter().map(|step| (*step, grown(&format!("{step}_time")))).collect();
    let all = times.iter().map(|(_, time)| time).sum();
    let shares = times.iter().map(|(step, time)| (step, percent(*time, all))).filter(|(_, share)| *share >= 1.0);
    parts.extend(shares.map(|(step, share)| format!("{step} {share:.0}%")));
    (rows + hits > 0).then(|| format!("{}: {}", now.model, parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(rows: u64, figures: &[(&'static str, u64)]) -> ModelProgress {
        ModelProgress { model: "m@1".into(), rows, running: 0, figures: figures.to_vec() }
    }

    #[test]
    fn a_line_says_what_has_come_since() {
        let before = progress(10, &[("cache_hits", 1), ("device_time", 100)]);
        let figures =
            [("cache_hits", 3), ("tokens", 90), ("padded_tokens", 100), ("device_time", 1_000), ("decode_time", 100), ("fetch_time", 1)];
        let line = line(&progress(30, &figures), Some(&before), 2.0);
        assert_eq!(line.as_deref(), Some("m@1: 20 rows, 10/s, 2 from the cache, padding 10%, decode 10%, device 90%"));
    }

    #[test]
    fn a_model_that_did_not_run_has_no_line() {
        assert_eq!(line(&progress(10, &[]), Some(&progress(10, &[])), 1.0), None);
    }
}
