//! Windows of measurements: transformers' PatchTST and a convolution of PyTorch, to 1e-4.

use std::fs;

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};

const TOLERANCE: f64 = 1e-4;

/// `[[1.0, NULL], ..]`.
fn literal(window: &Value) -> String {
    let step = |step: &Value| {
        let values: Vec<String> = step
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| value.as_f64().map_or("NULL".into(), |value| format!("{value:?}::DOUBLE")))
            .collect();
        format!("[{}]", values.join(", "))
    };
    format!("[{}]", window.as_array().into_iter().flatten().map(step).collect::<Vec<_>>().join(", "))
}

/// The package of `fixture` with another `sensorium.toml`.
fn package(fixture: &str, description: &str) -> Result<TempDir, Failed> {
    let folder = TempDir::new()?;
    for file in fs::read_dir(format!("tests/fixtures/series/{fixture}"))? {
        let file = file?;
        fs::copy(file.path(), folder.path().join(file.file_name()))?;
    }
    fs::write(folder.path().join("sensorium.toml"), description)?;
    Ok(folder)
}

fn check(fresh: &Fresh, windows: &[Value], call: &str, expected: &Value) -> Outcome {
    let values: Vec<String> = windows.iter().enumerate().map(|(row, window)| format!("({row}, {})", literal(window))).collect();
    let query = format!("SELECT {call} AS found FROM (VALUES {}) AS t(id, w) ORDER BY id", values.join(", "));
    let rows = fresh.rows(&query)?;
    for row in 0..windows.len() {
        let found = match rows.column(0).data_type() {
            arrow::datatypes::DataType::FixedSizeList(..) => arrow::array::AsArray::as_fixed_size_list(rows.column(0)).value(row),
            _ => arrow::array::AsArray::as_list::<i32>(rows.column(0)).value(row),
        };
        let difference = largest_difference(&numbers(&found)?, &flat(&expected[row]))?;
        ensure(difference < TOLERANCE, || format!("{call}, window {row}: differs by {difference}"))?;
    }
    Ok(())
}

fn windows(answers: &Value) -> Vec<Value> {
    answers["windows"].as_array().cloned().unwrap_or_default()
}

/// The folder as exported takes windows of its length; others need a package that says what is done with them.
pub(super) fn patchtst() -> Outcome {
    let answers = &read_json("series.json")?["patchtst"];
    let all = windows(answers);
    let fresh = Fresh::with_models(&[("m", "tests/fixtures/series/patchtst")])?;
    let probabilities = "map_values(mm_predict('m', w).probabilities)";
    let whole: Vec<usize> = (0..all.len()).filter(|row| all[*row].as_array().is_some_and(|steps| steps.len() == 64)).collect();
    let expected = Value::Array(whole.iter().map(|row| answers["probabilities"][*row].clone()).collect());
    check(&fresh, &whole.iter().map(|row| all[*row].clone()).collect::<Vec<_>>(), probabilities, &expected)?;
    let short = all.iter().find(|window| window.as_array().is_some_and(|steps| steps.len() == 40)).ok_or("a short window")?;
    let error = fresh.error(&format!("SELECT mm_predict('m', {})", literal(short)))?;
    ensure(error.contains("40 steps are fewer than the 64") && error.contains("hint:"), || error)?;
    let labels = answers["labels"].to_string();
    let description = format!(
        "task = \"classification\"\nlabels = {labels}\nactivation = \"softmax\"\n[inputs.past_values]\nmodality = \"series\"\nobserved = \"past_observed_mask\"\n\
         series = {{ channels = 3, layout = \"channels_last\", steps = 64, shorter = \"pad_end\", longer = \"keep_last\" }}\n"
    );
    let folder = package("patchtst", &description)?;
    let fresh = Fresh::with_models(&[("m", &folder.path().to_string_lossy())])?;
    check(&fresh, &all, probabilities, &answers["probabilities"])
}

/// Windows of 5 to 200 steps in one query, padded to each other or resampled.
pub(super) fn convolution() -> Outcome {
    let answers = &read_json("series.json")?["conv"];
    let all = windows(answers);
    let describe = |more: &str| {
        format!(
            "embedding = \"embedding\"\n[inputs.values]\nmodality = \"series\"\nmask = \"mask\"\n\
             series = {{ channels = 2, layout = \"channels_first\", normalize = {{ window = {{ epsilon = 1e-5 }} }}{more} }}\n"
        )
    };
    for (more, suffix) in [("", ""), (", steps = 50, shorter = \"resample\", longer = \"resample\"", "_resampled")] {
        let folder = package("conv", &describe(more))?;
        let fresh = Fresh::with_models(&[("m", &folder.path().to_string_lossy())])?;
        check(&fresh, &all, "mm_embed('m', w)", &answers[format!("embedding{suffix}")])?;
        check(&fresh, &all, "mm_predict('m', w).logits", &answers[format!("logits{suffix}")])?;
    }
    Ok(())
}
