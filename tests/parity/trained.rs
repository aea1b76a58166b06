//! Packages that `CREATE MODEL .. AS SELECT` wrote, beside Python's onnxruntime on the graphs in them.

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};

/// A linear, a tree and a network head, late fusion, stacking, a network over modalities, encoders in front: all rows within 1e-5 of
/// the size of what is predicted.
pub(super) fn packages() -> Outcome {
    let answers = read_json("trained/answers.json")?;
    for (model, sizes) in
        [("linear", 1.0), ("trees", 100.0), ("network", 1.0), ("late", 1.0), ("stacked", 100.0), ("hybrid", 1.0), ("encoders", 1.0)]
    {
        let expected: Vec<f64> = answers[model].as_array().into_iter().flatten().flat_map(flat).collect();
        let fresh = Fresh::with_models(&[(model, &format!("tests/fixtures/trained/{model}"))])?;
        fresh.register("people", "tests/fixtures/trained/rows.parquet")?;
        let is_number = sizes > 1.0;
        let predicted = format!("mm_predict('{model}', people.*)");
        let figures = if is_number { predicted } else { format!("map_values({predicted}.probabilities)") };
        let found = numbers(&fresh.column(&format!("SELECT {figures} FROM people"))?)?;
        let difference = largest_difference(&found, &expected)? / sizes;
        ensure(found.len() >= 240 && difference < 1e-5, || format!("{model} differs by {difference} in {} numbers", found.len()))?;
    }
    Ok(())
}
