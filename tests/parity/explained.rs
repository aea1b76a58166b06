//! Explanations beside those of Python's shap, and a trained model beside Python's onnxruntime.

use super::largest_difference;
use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};

/// Values of each column within 1e-4 of shap's, scores within 1e-5 of the graph's in Python.
pub(super) fn trees() -> Outcome {
    let fresh = Fresh::with_models(&[("trees", "tests/fixtures/explained/trees")])?;
    fresh.register("answers", "tests/fixtures/explained/reference.parquet")?;
    let rows = fresh.rows(
        "SELECT map_values(e.features), shapley, e.score, raw, e.base, base, ln(p['good'] / p['bad']) FROM (
           SELECT *, mm_explain('trees', a.*) AS e, mm_predict('trees', a.*).probabilities AS p FROM answers AS a)",
    )?;
    ensure(rows.num_rows() == 200, || format!("{} rows", rows.num_rows()))?;
    let column = |place: usize| numbers(rows.column(place));
    for (what, found, expected, tolerance) in
        [("values", 0, 1, 1e-4), ("scores", 2, 3, 1e-5), ("bases", 4, 5, 1e-5), ("predictions", 6, 3, 1e-4)]
    {
        let difference = largest_difference(&column(found)?, &column(expected)?)?;
        ensure(difference < tolerance, || format!("{what} differ by {difference}"))?;
    }
    Ok(())
}
