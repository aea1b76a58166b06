//! The two-input network with a text and an image encoder in front of it, in one package.

use crate::Outcome;
use crate::support::{Fresh, ensure, link_package, numbers};

const DESCRIPTION: &str = "graph = \"head.onnx\"
[encoders.photo]
package = \"vision\"
graph_input = \"image\"
[encoders.note]
package = \"language\"
graph_input = \"text\"
";

pub(super) fn with_encoders() -> Outcome {
    let package = tempfile::TempDir::new()?;
    std::fs::copy("tests/fixtures/fused/head.onnx", package.path().join("head.onnx"))?;
    std::fs::write(package.path().join("sensorium.toml"), DESCRIPTION)?;
    link_package("efficientnet-lite0", &package.path().join("vision"))?;
    link_package("minilm", &package.path().join("language"))?;
    let fresh = Fresh::with_models(&[("fused", &package.path().to_string_lossy())])?;
    fresh.register("pairs", "tests/fixtures/fused/reference.parquet")?;
    let photo = "concat('../pictures/', photo)";
    let rows = fresh.rows(&format!("SELECT mm_predict('fused', {{photo: {photo}, note: note}}).logits, logits FROM pairs"))?;
    let (found, expected) = (numbers(rows.column(0))?, numbers(rows.column(1))?);
    ensure(found.len() == 60, || format!("{} logits", found.len()))?;
    let far = found.iter().zip(&expected).filter(|(a, b)| (**a - **b).abs() > 0.05).count();
    let best_is_same =
        found.chunks_exact(2).zip(expected.chunks_exact(2)).all(|(a, b)| (b[0] - b[1]).abs() < 0.2 || (a[0] > a[1]) == (b[0] > b[1]));
    ensure(far <= 1 && best_is_same, || format!("{far} of 60 logits are further off than 0.05: {found:?} {expected:?}"))
}
