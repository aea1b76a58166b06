//! Silero VAD: its own package's segments of speech, and none in noise, silence and a tone.

use libtest_mimic::Failed;

use super::read_json;
use crate::Outcome;
use crate::support::{Fresh, cached, ensure, numbers, path_in};

/// A sample, which is what its own package gives.
const TOLERANCE: f64 = 1.0 / 16_000.0 + 1e-9;

/// Recordings travel with the examples.
fn path_of(name: &str) -> String {
    if name.starts_with("speech/") { format!("examples/data/{name}") } else { format!("tests/fixtures/{name}") }
}

pub(super) fn silero_vad() -> Outcome {
    let answers = read_json("voice_activity.json")?;
    let fresh = Fresh::with_models(&[("vad", &cached("models/silero-vad"))])?;
    let sounds = answers["sounds"].as_object().ok_or("sounds")?;
    let mut speaking = 0;
    let folder = tempfile::TempDir::new_in("tests/fixtures")?;
    let whole = path_in(&folder, "book.wav");
    std::fs::write(&whole, super::sounds::book(1)?)?;
    // One of the fixture's sounds is several files behind each other.
    let path_of = |name: &str| if name.contains('*') { whole.clone() } else { path_of(name) };
    for (name, expected) in sounds {
        let path = path_of(name);
        let segments = |key: &str| -> Result<Vec<f64>, Failed> {
            numbers(&fresh.column(&format!("SELECT s['{key}'] FROM (SELECT unnest(mm_predict('vad', '{path}').segments) AS s)"))?)
        };
        let (starts, ends) = (segments("start")?, segments("end")?);
        let wanted = expected["samples"].as_array().cloned().unwrap_or_default();
        ensure(starts.len() == wanted.len(), || format!("{name}: {} segments, expected {}", starts.len(), wanted.len()))?;
        for (place, wanted) in wanted.iter().enumerate() {
            let sample = |place: usize| wanted[place].as_f64().map(|sample| sample / 16_000.0).ok_or("a sample");
            let apart = (starts[place] - sample(0)?).abs().max((ends[place] - sample(1)?).abs());
            ensure(apart <= TOLERANCE, || format!("{name}: {} to {} differs by {apart} s", starts[place], ends[place]))?;
        }
        let score = numbers(&fresh.column(&format!("SELECT mm_predict('vad', '{path}').score"))?)?[0];
        let highest = super::flat(&expected["probabilities"]).into_iter().fold(0.0, f64::max);
        ensure((score - highest).abs() < 1e-4, || format!("{name}: {score}, expected {highest}"))?;
        speaking += usize::from(!wanted.is_empty());
    }
    ensure(speaking == 8, || format!("{speaking} sounds with speech were looked at"))?;
    // All at once, where they share batches.
    let all: Vec<String> = sounds.keys().map(|name| path_of(name)).collect();
    let values: Vec<String> = all.iter().map(|path| format!("('{path}')")).collect();
    let together = fresh.rows(&format!("SELECT mm_predict('vad', uri).seconds FROM (VALUES {}) AS t(uri)", values.join(", ")))?;
    let together = numbers(together.column(0))?;
    for (path, seconds) in all.iter().zip(together) {
        let alone = numbers(&fresh.column(&format!("SELECT mm_predict('vad', '{path}').seconds"))?)?[0];
        ensure((alone - seconds).abs() < 1e-9, || format!("{path}: {seconds} s among others, {alone} s alone"))?;
    }
    Ok(())
}
