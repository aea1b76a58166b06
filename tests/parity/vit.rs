//! A Vision Transformer: transformers' own processor and model on photographs, to 1e-4.

use serde_json::Value;

use super::{flat, largest_difference, read_json, strings};
use crate::Outcome;
use crate::support::{Fresh, ensure, numbers};

pub(super) fn vit() -> Outcome {
    let answers = read_json("vit.json")?;
    let fresh = Fresh::with_models(&[("vit", "tests/fixtures/vit")])?;
    let pictures = strings(&answers["pictures"]);
    for (place, picture) in pictures.iter().enumerate() {
        // What the model's own processor made of it: decoders of JPEG differ by a level, resizing does not add to that.
        let prepared = format!("tests/fixtures/vit_pictures/{}", picture.replace(".jpg", ".png"));
        check(&fresh, &prepared, &answers, place, 1e-4)?;
        check(&fresh, &format!("tests/fixtures/pictures/{picture}"), &answers, place, 0.05)?;
    }
    Ok(())
}

fn check(fresh: &Fresh, uri: &str, answers: &Value, place: usize, tolerance: f64) -> Outcome {
    let row = fresh.rows(&format!("SELECT p.label, map_values(p.probabilities) FROM (SELECT mm_predict('vit', '{uri}') AS p)"))?;
    let label = arrow::array::AsArray::as_string::<i32>(row.column(0)).value(0).to_string();
    ensure(Some(label.as_str()) == answers["best"][place].as_str(), || format!("{uri}: {label}"))?;
    let found = numbers(&arrow::array::AsArray::as_list::<i32>(row.column(1)).value(0))?;
    let difference = largest_difference(&found, &flat(&answers["probabilities"][place]))?;
    ensure(difference < tolerance, || format!("{uri}: probabilities differ by {difference}"))
}
