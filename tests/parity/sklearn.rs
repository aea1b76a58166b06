//! scikit-learn and LightGBM models of the loan book, beside their own predictions.

use arrow::array::AsArray;

use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};

use super::largest_difference;

const TOLERANCE: f64 = 1e-5;

/// The loan book with a row number, joined to a reference.
fn loans(fresh: &Fresh, reference: &str) -> Outcome {
    fresh.register("book", "examples/data/credit_data.parquet")?;
    fresh.register("reference", reference)?;
    fresh.rows("SET datafusion.execution.target_partitions = 1")?;
    fresh.rows("CREATE VIEW loans AS SELECT *, row_number() OVER () - 1 AS row FROM book")?;
    Ok(())
}

fn close(found: &[f64], expected: &[f64]) -> Outcome {
    let difference = largest_difference(found, expected)?;
    ensure(found.len() == 4_454 && difference <= TOLERANCE, || format!("{} rows, largest difference {difference}", found.len()))
}

fn credit(fresh: &Fresh, call: &str) -> Outcome {
    loans(fresh, "tests/fixtures/sklearn/credit_gb.parquet")?;
    let rows = fresh.rows(&format!(
        "SELECT p.probabilities['bad'], probability_bad, p.label = label, p.score = CASE p.label WHEN 'bad' THEN p.probabilities['bad'] ELSE p.probabilities['good'] END FROM
         (SELECT row, {call} AS p FROM loans) JOIN reference USING (row) ORDER BY row"
    ))?;
    close(&numbers(rows.column(0))?, &numbers(rows.column(1))?)?;
    let all = |index: usize| rows.column(index).as_boolean().iter().all(|same| same == Some(true));
    ensure(all(2) && all(3), || "labels or scores differ".to_string())
}

pub(super) fn gradient_boosting() -> Outcome {
    credit(&Fresh::with_models(&[("credit", "examples/models/credit")])?, "mm_predict('credit', loans.*)")
}

/// A bare file: no input is optional, so absent values are written as the pipeline wants them.
pub(super) fn zipmap() -> Outcome {
    let numeric = ["Seniority", "Time", "Age", "Expenses", "Income", "Assets", "Debt", "Amount", "Price"];
    let texts = ["Home", "Marital", "Records", "Job"];
    let number = |name: &&str| format!("{name}: coalesce(CAST(\"{name}\" AS DOUBLE), 'NaN')");
    let text = |name: &&str| format!("{name}: coalesce(\"{name}\", '')");
    let fields: Vec<String> = numeric.iter().map(number).chain(texts.iter().map(text)).collect();
    let fresh = Fresh::with_models(&[("credit", "tests/fixtures/sklearn/credit_gb_zipmap.onnx")])?;
    credit(&fresh, &format!("mm_predict('credit', {{{}}})", fields.join(", ")))
}

const MATRIX: &str = "\"Seniority\", \"Time\", \"Age\", \"Expenses\", \"Income\", \"Assets\", \"Debt\", \"Amount\", \"Price\"";

fn with_nan() -> String {
    MATRIX.split(", ").map(|name| format!("coalesce(CAST({name} AS DOUBLE), 'NaN')")).collect::<Vec<_>>().join(", ")
}

pub(super) fn lightgbm() -> Outcome {
    let fresh = Fresh::with_models(&[("lgbm", "tests/fixtures/sklearn/lgbm.onnx")])?;
    loans(&fresh, "tests/fixtures/sklearn/lgbm.parquet")?;
    let rows = fresh.rows(&format!(
        "SELECT p.probabilities[1], probability_1 FROM (SELECT row, mm_predict('lgbm', {}) AS p FROM loans) JOIN reference USING (row) ORDER BY row",
        with_nan()
    ))?;
    close(&numbers(rows.column(0))?, &numbers(rows.column(1))?)
}

pub(super) fn integer_labels() -> Outcome {
    let fresh = Fresh::with_models(&[("logistic", "tests/fixtures/sklearn/logistic_int.onnx")])?;
    loans(&fresh, "tests/fixtures/sklearn/logistic_int.parquet")?;
    let rows = fresh.rows(&format!(
        "SELECT p.probabilities[1], probability_1, p.label = label FROM
         (SELECT row, mm_predict('logistic', {}) AS p FROM loans) JOIN reference USING (row) ORDER BY row",
        with_nan()
    ))?;
    close(&numbers(rows.column(0))?, &numbers(rows.column(1))?)?;
    ensure(rows.column(2).as_boolean().iter().all(|same| same == Some(true)), || "labels differ".to_string())
}

pub(super) fn regression() -> Outcome {
    let fresh = Fresh::with_models(&[("amount", "tests/fixtures/sklearn/amount_gb.onnx")])?;
    loans(&fresh, "tests/fixtures/sklearn/amount_gb.parquet")?;
    let inputs = fresh.rows("DESCRIBE MODEL amount")?;
    ensure(inputs.num_rows() > 2, || "no inputs".to_string())?;
    let nan = |name: &str| format!("coalesce(CAST({name} AS DOUBLE), 'NaN')");
    let columns = MATRIX.split(", ").filter(|name| *name != "\"Amount\"").map(nan).collect::<Vec<_>>().join(", ");
    let rows = fresh.rows(&format!(
        "SELECT CAST(p AS DOUBLE) / amount, 1.0 FROM (SELECT row, mm_predict('amount', {columns}) AS p FROM loans) JOIN reference USING (row) ORDER BY row"
    ))?;
    close(&numbers(rows.column(0))?, &numbers(rows.column(1))?)
}
