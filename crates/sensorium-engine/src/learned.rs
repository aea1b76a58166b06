//! What earlier queries showed of predicates with models: the share of rows that they let through.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Predicates that are remembered; at one more all are forgotten, and seen again soon if they matter.
const MAX_PREDICATES: usize = 4_096;
/// Weight of what was seen before, in rows, so that a predicate whose data changes is learned anew.
const MEMORY_ROWS: f64 = 100_000.0;

/// Selectivities by the text of the predicate, which names its models by version.
#[derive(Debug, Default)]
pub(crate) struct Learned(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    rows: f64,
    kept: f64,
}

impl Learned {
    /// A predicate let `kept` of `rows` rows through.
    pub(crate) fn record(&self, predicate: &str, rows: usize, kept: usize) {
        if rows == 0 {
            return;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_PREDICATES && !seen.contains_key(predicate) {
            seen.clear();
        }
        let seen = seen.entry(predicate.to_string()).or_default();
        let fade = (MEMORY_ROWS / seen.rows.max(MEMORY_ROWS)).min(1.0);
        *seen = Seen { rows: seen.rows * fade + rows as f64, kept: seen.kept * fade + kept as f64 };
    }

    /// The share of rows that the predicate lets through, if it was seen.
    pub(crate) fn selectivity(&self, predicate: &str) -> Option<f64> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(predicate).map(|seen| seen.kept / seen.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_what_is_seen() {
        let learned = Learned::default();
        assert_eq!(learned.selectivity("p"), None);
        learned.record("p", 100, 25);
        assert_eq!(learned.selectivity("p"), Some(0.25));
        for _ in 0..100 {
            learned.record("p", 100_000, 100_000);
        }
        assert!(learned.selectivity("p").is_some_and(|share| share > 0.99));
    }

    #[test]
    fn memory_is_bounded() {
        let learned = Learned::default();
        (0..3 * MAX_PREDICATES).for_each(|number| learned.record(&number.to_string(), 1, 1));
        assert!(learned.0.lock().is_ok_and(|seen| seen.len() <= MAX_PREDICATES));
    }
}
