//! Figures over a million rows beside those of scikit-learn, however the rows are parted.

use arrow::array::AsArray;
use serde_json::Value;

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, ensure, fresh, numbers};

const ROWS: &str = "SELECT *, 1e6 + score AS amount, 1e6 + score + (label::int - 0.5) * score AS guess,
    CASE WHEN later THEN score * score ELSE score END AS moved,
    CASE WHEN later THEN least(i % 5, 3) ELSE i % 5 END AS kind,
    arrow_cast(CASE WHEN later THEN least(i % 5, 3) ELSE i % 5 END, 'Utf8') AS kind_name
  FROM (SELECT *, i * 104729 % 1000 < 600 * score + 100 AS label FROM (
    SELECT i, i * 7919 % 10007 / 10007.0::double AS score, i * 7919 % 1000003 / 1000003.0::double AS fine, 1 + i % 7 AS weight,
      i % 5 AS name, (i + CASE WHEN i % 3 = 0 THEN 1 ELSE 0 END) % 5 AS said, i % 3 = 0 AS later
    FROM (SELECT value AS i FROM generate_series(0, 999999))))";
const TOLERANCE: f64 = 1e-9;

/// The call over weighted rows: the weight stands behind the two columns.
fn weighted(call: &str) -> String {
    match call.split_once(", {") {
        Some((columns, options)) => format!("{columns}, weight, {{{options}"),
        None => call.replacen(')', ", weight)", 1),
    }
}

pub(super) fn figures() -> Outcome {
    let answers = read_json("metrics.json")?;
    for (partitions, kind) in [(1, "plain"), (2, "weighted"), (16, "plain"), (16, "weighted")] {
        let fresh = fresh();
        fresh.rows(&format!("SET datafusion.execution.target_partitions = {partitions}"))?;
        let expected = answers[kind]["figures"].as_object().ok_or("no figures")?;
        let call = |call: &String| if kind == "weighted" { weighted(call) } else { call.clone() };
        let calls: Vec<String> = expected.keys().map(call).collect();
        let row = fresh.rows(&format!("SELECT {} FROM ({ROWS})", calls.join(", ")))?;
        for ((call, wanted), column) in expected.iter().zip(row.columns()) {
            let difference = largest_difference(&numbers(column)?, &flat(&Value::Array(vec![wanted.clone()])))?;
            ensure(difference <= TOLERANCE, || format!("{kind} {call} over {partitions} partitions differs by {difference}"))?;
        }
    }
    Ok(())
}

pub(super) fn tables() -> Outcome {
    let answers = read_json("metrics.json")?;
    let fresh = fresh();
    for (kind, columns) in [("plain", ""), ("weighted", ", weight")] {
        let answers = &answers[kind];
        let query = format!("SELECT score, label{columns} FROM ({ROWS})");
        compare(&fresh, &format!("SELECT mean_score, rate, weight FROM mm_calibration(({query}))"), &answers["calibration"])?;
        let query = format!("SELECT fine, label{columns} FROM ({ROWS}) WHERE i < 200");
        compare(&fresh, &format!("SELECT * FROM mm_roc(({query})) WHERE threshold < 2"), &answers["roc_of_200"])?;
        let query = format!("SELECT score, label{columns} FROM ({ROWS})");
        let points = format!("SELECT count(*) FROM mm_roc(({query}), {{points: 1000000}})");
        let found = fresh.rows(&points)?;
        let found = found.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0);
        ensure(Some(found) == answers["roc_points"].as_i64(), || format!("{kind}: {found} points instead of {}", answers["roc_points"]))?;
        let query = format!("SELECT said, name{columns} FROM ({ROWS})");
        let found = numbers(fresh.rows(&format!("SELECT weight FROM mm_confusion(({query})) ORDER BY label, prediction"))?.column(0))?;
        let wanted: Vec<f64> =
            answers["confusion"].as_array().into_iter().flatten().flat_map(flat).filter(|weight| *weight != 0.0).collect();
        ensure(found == wanted, || format!("{kind}: {found:?} instead of {wanted:?}"))?;
    }
    Ok(())
}

fn compare(fresh: &Fresh, query: &str, wanted: &Value) -> Outcome {
    let rows = fresh.rows(query)?;
    let columns = rows.columns().iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
    let found: Vec<f64> = (0..rows.num_rows()).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    let wanted: Vec<f64> = wanted.as_array().into_iter().flatten().flat_map(flat).collect();
    let difference = largest_difference(&found, &wanted)?;
    ensure(difference <= TOLERANCE, || format!("{query} differs by {difference}"))
}
