//! YAMNet's patches: features as TensorFlow makes them, through a small graph of random weights, pooled over patches.

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};
use arrow::array::AsArray;

/// TensorFlow computes in 32 bits, which shows in quiet bands.
const SCORES: f64 = 2e-5;
const EMBEDDING: f64 = 5e-5;

fn package() -> Result<TempDir, Failed> {
    let folder = TempDir::new()?;
    std::fs::copy("tests/fixtures/sound/yamnet/model.onnx", folder.path().join("model.onnx"))?;
    let description = "embedding = \"embedding\"\n[inputs.audio]\nmodality = \"audio\"\ngraph_input = \"patches\"\n\
        audio = { sampling_rate = 16000, features = { yamnet = { pooling = \"mean\" } } }\n";
    std::fs::write(folder.path().join("sensorium.toml"), description)?;
    Ok(folder)
}

/// Sounds of 1 to 14 patches in one query, so that they share batches.
pub(super) fn patches() -> Outcome {
    let answers = read_json("sound/yamnet.json")?;
    let folder = package()?;
    let fresh = Fresh::with_models(&[("m", &folder.path().to_string_lossy())])?;
    let sounds = answers["sounds"].as_array().ok_or("sounds")?;
    let values: Vec<String> =
        sounds.iter().enumerate().map(|(place, sound)| format!("({place}, '{}')", sound["file"].as_str().unwrap_or_default())).collect();
    let query =
        format!("SELECT mm_embed('m', uri), mm_predict('m', uri).scores FROM (VALUES {}) AS t(id, uri) ORDER BY id", values.join(", "));
    let found = fresh.rows(&query)?;
    for (row, sound) in sounds.iter().enumerate() {
        for (column, key, tolerance) in [(0, "embedding", EMBEDDING), (1, "scores", SCORES)] {
            let own = numbers(&found.column(column).as_fixed_size_list().value(row))?;
            let difference = largest_difference(&own, &flat(&sound[key]))?;
            ensure(difference < tolerance, || format!("{}: {key} differs by {difference}", sound["file"]))?;
        }
    }
    ensure(sounds.len() >= 6, || format!("{} sounds", sounds.len()))
}
