//! EfficientNet-Lite0: logits beside those of Pillow, numpy and ONNX Runtime's own Python package.

use crate::Outcome;
use crate::support::{Fresh, cached, ensure, numbers};

use super::largest_difference;

const CLASSES: usize = 1_000;

/// Share of logits that may be further off than 0.05. Two pictures have such: a CMYK TIFF, whose inks are converted
/// with another rounding than Pillow's, and a grey PNG with 16 bits.
const MOST_FAR: f64 = 0.001;

/// A package without id2label returns the raw logits; it is the same graph and preprocessing.
fn raw_logits() -> Result<(Fresh, tempfile::TempDir), libtest_mimic::Failed> {
    let folder = tempfile::TempDir::new()?;
    let source = cached("models/efficientnet-lite0");
    std::fs::create_dir(folder.path().join("onnx"))?;
    std::fs::copy(format!("{source}/onnx/model.onnx"), folder.path().join("onnx/model.onnx"))?;
    std::fs::copy(format!("{source}/preprocessor_config.json"), folder.path().join("preprocessor_config.json"))?;
    let description = "graph = \"onnx/model.onnx\"\ntask = \"outputs\"\n[inputs.image]\nmodality = \"image\"\npreprocessor = \"preprocessor_config.json\"\n";
    std::fs::write(folder.path().join("sensorium.toml"), description)?;
    let fresh = Fresh::with_models(&[("raw", &folder.path().to_string_lossy())])?;
    Ok((fresh, folder))
}

/// Relative paths are resolved against the folder of the reference table. At most `most_far` of the logits may be further off than 0.05, and the best class must be the same where it leads by 0.02.
fn compare(filter: &str, prefix: &str, most_far: f64) -> Outcome {
    let (fresh, _folder) = raw_logits()?;
    fresh.register("reference", "tests/fixtures/pictures.parquet")?;
    fresh.rows(&format!("SET mm.allowed_roots = '{}'", cached("data/textile")))?;
    let rows = fresh.rows(&format!(
        "SELECT mm_predict('raw', concat('{prefix}', replace(file, 'textile/', ''))).logits, arrow_cast(logits, 'FixedSizeList(1000, Float32)'), margin, file
         FROM reference WHERE {filter} ORDER BY file"
    ))?;
    let (found, expected, margins) = (numbers(rows.column(0))?, numbers(rows.column(1))?, numbers(rows.column(2))?);
    ensure(rows.num_rows() >= 100, || format!("{} rows", rows.num_rows()))?;
    let far = found.iter().zip(&expected).filter(|(a, b)| (**a - **b).abs() > 0.05).count();
    let best = |logits: &[f64]| (0..CLASSES).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
    let files = arrow::util::display::ArrayFormatter::try_new(rows.column(3), &arrow::util::display::FormatOptions::default())?;
    let mut report = Vec::new();
    for (row, (a, b)) in found.chunks_exact(CLASSES).zip(expected.chunks_exact(CLASSES)).enumerate() {
        let distance = largest_difference(a, b)?;
        if distance > 0.05 {
            report.push(format!("{} {distance:.3}", files.value(row)));
        }
        ensure(margins[row] <= 0.02 || best(a) == best(b), || {
            format!("another best class: {} (largest difference {distance})", files.value(row))
        })?;
    }
    let share = far as f64 / found.len() as f64;
    ensure(share <= most_far, || format!("{:.2}% of the logits are further off than 0.05: {report:?}", share * 100.0))
}

pub(super) fn committed() -> Outcome {
    compare("file NOT LIKE 'textile/%'", "pictures/", MOST_FAR)
}

pub(super) fn textile() -> Outcome {
    compare("file LIKE 'textile/%'", &cached("data/textile/"), MOST_FAR)
}

/// An encoder and a head in one package, beside the same two graphs run one after the other.
pub(super) fn textile_head() -> Outcome {
    let package = crate::support::textile_package()?;
    let fresh = Fresh::with_models(&[("textile", &package.path().to_string_lossy())])?;
    fresh.register("reference", "tests/fixtures/textile.parquet")?;
    fresh.rows(&format!("SET mm.allowed_roots = '{}'", cached("data/textile")))?;
    let photo = format!("concat('{}', replace(file, 'textile/', ''))", cached("data/textile/"));
    let rows = fresh.rows(&format!(
        "SELECT p.label = label, p.probabilities['global'], p.probabilities['local'], p.probabilities['nominal'], logits
         FROM (SELECT file, label, logits, mm_predict('textile', {photo}) AS p FROM reference)"
    ))?;
    let logits = numbers(rows.column(4))?;
    let mut agree = 0;
    for row in 0..rows.num_rows() {
        let sums: f64 = logits[row * 3..row * 3 + 3].iter().map(|logit| logit.exp()).sum();
        for class in 0..3 {
            let found = numbers(rows.column(1 + class))?[row];
            let expected = logits[row * 3 + class].exp() / sums;
            ensure((found - expected).abs() < 0.05, || format!("row {row}, class {class}: {found}, expected {expected}"))?;
        }
        agree += usize::from(arrow::array::AsArray::as_boolean(rows.column(0)).value(row));
    }
    // The head finds about three quarters of what the simulation put in; far fewer would mean mixed-up classes.
    ensure(rows.num_rows() == 60 && agree >= 36, || format!("{agree} of {} labels", rows.num_rows()))
}
