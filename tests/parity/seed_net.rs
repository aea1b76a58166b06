//! The two-input network, exported from PyTorch, on vector columns.

use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};

use super::largest_difference;

pub(super) fn on_vectors() -> Outcome {
    let fresh = Fresh::with_models(&[("seed", "tests/fixtures/seed_net/model.onnx")])?;
    fresh.rows("CREATE MODEL judge FROM 'tests/fixtures/seed_net/model.onnx' OPTIONS (task = 'classification', labels = ['no', 'yes'], activation = 'softmax')")?;
    fresh.register("vectors", "tests/fixtures/seed_net/reference.parquet")?;
    let rows = fresh.rows(
        "SELECT mm_predict('seed', image, text).logits, logits,
                mm_predict('judge', {text: text, image: image}).probabilities['yes'], probability[2] FROM vectors",
    )?;
    ensure(rows.num_rows() == 200, || format!("{} rows", rows.num_rows()))?;
    for (found, expected) in [(0, 1), (2, 3)] {
        let difference = largest_difference(&numbers(rows.column(found))?, &numbers(rows.column(expected))?)?;
        ensure(difference <= 1e-5, || format!("largest difference {difference}"))?;
    }
    Ok(())
}
