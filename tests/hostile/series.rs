//! Windows of measurements that are too short, too long, or full of gaps.

use arrow::array::{Array, AsArray};

use super::contains;
use crate::Outcome;
use crate::support::{Fresh, ensure};

pub(super) fn mixed_lengths() -> Outcome {
    let fresh = Fresh::with_models(&[("patches", "tests/fixtures/series/patchtst")])?;
    let steps = |count: usize, last: &str| {
        format!(
            "[{}]",
            (0..count)
                .map(|step| if step + 1 == count { last.to_string() } else { format!("[{step}.0, 1.0, 2.0]") })
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    let good = steps(64, "[1.0, 2.0, 3.0]");
    let cases = [
        (steps(63, "[1.0, 2.0, 3.0]"), "63 steps are fewer than the 64 that the model takes"),
        (steps(65, "[1.0, 2.0, 3.0]"), "65 steps are more than the 64 that the model takes"),
        (steps(64, "[1.0, 2.0]"), "step 63 has 2 numbers, expected 3"),
        (steps(64, "[1.0, 'Infinity'::DOUBLE, 2.0]"), "step 63, channel 1 is infinite"),
        (steps(64, "[1.0, 1e300, 2.0]"), "is too large"),
    ];
    for (window, message) in &cases {
        let error = fresh.error(&format!("SELECT mm_predict('patches', w) FROM (VALUES ({good}), ({window})) AS t(w)"))?;
        contains(&error, &["row 1", "input", message])?;
    }
    fresh.rows("SET mm.on_error = 'null'")?;
    let values: Vec<String> = cases.iter().map(|(window, _)| format!("({window}), ({good})")).collect();
    let rows = fresh.rows(&format!("SELECT mm_predict('patches', w).label AS label FROM (VALUES {}) AS t(w)", values.join(", ")))?;
    ensure((0..rows.num_rows()).all(|row| rows.column(0).is_null(row) == (row % 2 == 0)), || "a wrong row is NULL".into())?;
    let listed = fresh.rows("SELECT message FROM mm_errors() ORDER BY row")?;
    for (row, (_, message)) in cases.iter().enumerate() {
        contains(listed.column(0).as_string::<i32>().value(row), &[message])?;
    }
    fresh.rows("SET mm.on_error = 'fail'")?;
    fresh.rows("SET mm.max_series_steps = 10")?;
    contains(
        &fresh.error(&format!("SELECT mm_predict('patches', {good})"))?,
        &["64 steps are over the limit of 10", "SET mm.max_series_steps"],
    )
}
