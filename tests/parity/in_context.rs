//! In-context tabular models of TabPFN's kind: PyTorch's own answers with two contexts, with one graph and with two.

use arrow::array::AsArray;
use serde_json::Value;

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, ensure, fresh, numbers};

const TOLERANCE: f64 = 1e-4;
const COLUMNS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn rows(rows: &Value, columns: &[&str]) -> String {
    let value = |value: &Value| match value {
        Value::Null => "NULL::DOUBLE".to_string(),
        Value::String(text) => format!("'{text}'"),
        number => format!("{number}::DOUBLE"),
    };
    let row = |(place, row): (usize, &Value)| {
        let values: Vec<String> = columns.iter().map(|column| value(&row[*column])).collect();
        format!("({place}, {})", values.join(", "))
    };
    let all: Vec<String> = rows.as_array().into_iter().flatten().enumerate().map(row).collect();
    format!("(VALUES {}) AS t(id, {})", all.join(", "), columns.join(", "))
}

pub(super) fn one_graph() -> Outcome {
    check("in_context")
}

pub(super) fn two_graphs() -> Outcome {
    check("in_context_split")
}

/// Classes are put in the order of the fixture's, which the graph tells apart by their numbers.
fn check(package: &str) -> Outcome {
    let answers = read_json("in_context.json")?;
    let queries = rows(&answers["queries"], &COLUMNS);
    for context in answers["contexts"].as_array().into_iter().flatten() {
        let fresh = fresh();
        let known = rows(&context["rows"], &["a", "b", "c", "d", "e", "label"]);
        let class = "CASE label WHEN 'low' THEN '1 low' WHEN 'middle' THEN '2 middle' ELSE '3 high' END AS class";
        let create = format!(
            "CREATE MODEL m FROM 'tests/fixtures/{package}' OPTIONS (label = 'class') AS SELECT a, b, c, d, e, {class} FROM {known}"
        );
        fresh.rows(&create)?;
        let query = format!(
            "SELECT map_values(p.probabilities), p.label FROM (SELECT id, mm_predict('m', a, b, c, d, e) AS p FROM {queries}) ORDER BY id"
        );
        let found = fresh.rows(&query)?;
        let (lists, labels) = (found.column(0).as_list::<i32>(), found.column(1).as_string::<i32>());
        for row in 0..found.num_rows() {
            let difference = largest_difference(&numbers(&lists.value(row))?, &flat(&context["probabilities"][row]))?;
            ensure(difference < TOLERANCE, || format!("{package}, row {row}: differs by {difference}"))?;
            let best = context["best"][row].as_str().ok_or("a label")?;
            ensure(labels.value(row).ends_with(best), || format!("{package}, row {row}: {}, expected {best}", labels.value(row)))?;
        }
    }
    Ok(())
}

pub(super) fn regression() -> Outcome {
    let answers = read_json("in_context.json")?;
    let queries = rows(&answers["queries"], &COLUMNS);
    for context in answers["contexts"].as_array().into_iter().flatten() {
        let fresh = fresh();
        let known = rows(&context["rows"], &["a", "b", "c", "d", "e", "number"]);
        fresh.rows(&format!(
            "CREATE MODEL m FROM 'tests/fixtures/in_context_value' OPTIONS (label = 'number') AS SELECT a, b, c, d, e, number FROM {known}"
        ))?;
        let found = numbers(&fresh.column(&format!("SELECT mm_predict('m', a, b, c, d, e) FROM {queries} ORDER BY id"))?)?;
        let expected = flat(&context["value"]);
        let scale = expected.iter().copied().map(f64::abs).fold(1.0, f64::max);
        let difference = largest_difference(&found, &expected)? / scale;
        ensure(difference < TOLERANCE, || format!("differs by {difference}"))?;
    }
    Ok(())
}

/// What cannot be a context is refused when the model is created.
pub(super) fn refused() -> Outcome {
    let fresh = Fresh::with_models(&[("minilm", &crate::support::cached("models/minilm"))])?;
    let package = "CREATE MODEL m FROM 'tests/fixtures/in_context'";
    let columns = "a, b, c, d, e, label";
    let one = |values: &str| format!("SELECT {columns} FROM (VALUES {values}) AS t({columns})");
    let long = "SELECT value AS a, value AS b, value AS c, value AS d, value AS e, 'x' AS label FROM generate_series(1, 200000)";
    for (statement, message) in [
        (package.to_string(), "comparison with rows whose labels are known"),
        (format!("{package} AS {}", one("(1.0, 2.0, 3.0, 4.0, 5.0, 'x')")), "which column is the label"),
        (format!("{package} OPTIONS (label = 'labl') AS {}", one("(1.0, 2.0, 3.0, 4.0, 5.0, 'x')")), "label"),
        (format!("{package} OPTIONS (label = 'label') AS {}", one("(1.0, 2.0, 3.0, 4.0, 5.0, NULL)")), "is NULL in 1 rows"),
        (format!("{package} OPTIONS (label = 'label') AS {}", one("(1.0, 2.0, 3.0, 4.0, 'red', 'x')")), "column 'e' holds"),
        (format!("{package} OPTIONS (label = 'label') AS SELECT 1.0 AS a, 'x' AS label"), "1 features for graph input"),
        (format!("{package} OPTIONS (label = 'label') AS {} WHERE false", one("(1.0, 2.0, 3.0, 4.0, 5.0, 'x')")), "0 rows"),
        (
            format!(
                "{package} OPTIONS (label = 'label') AS {}",
                one(
                    "(1.0, 2.0, 3.0, 4.0, 5.0, 'p'), (1.0, 2.0, 3.0, 4.0, 5.0, 'q'), (1.0, 2.0, 3.0, 4.0, 5.0, 'r'), (1.0, 2.0, 3.0, 4.0, 5.0, 's')"
                )
            ),
            "4 classes",
        ),
        (format!("{package} OPTIONS (label = 'label') AS {long}"), "100001 rows"),
        (format!("{package} OPTIONS (label = 'label') AS {}", one("(1.0, 2.0, 3.0, 4.0, 1e39, 'x')")), "infinite or too large"),
        (
            "CREATE MODEL n FROM 'tests/fixtures/tiny/affine.onnx' OPTIONS (task = 'regression') AS SELECT 1 AS a".to_string(),
            "AS SELECT has no effect",
        ),
    ] {
        let error = fresh.error(&statement)?;
        ensure(error.contains(message), || format!("{statement}: {error}"))?;
    }
    Ok(())
}
