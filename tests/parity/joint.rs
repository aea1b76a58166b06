//! CLIP and SigLIP: transformers' own processors and models on photographs and captions, to 1e-4, and the pixels
//! of photographs to a level.

use std::path::Path;

use libtest_mimic::Failed;
use sensorium_inference::{ImportOptions, Limits, Modality, import, picture_to_tensor};
use serde_json::Value;
use tempfile::TempDir;

use super::largest_difference;
use crate::Outcome;
use crate::support::{Fresh, ensure, fresh, numbers};

const TOLERANCE: f64 = 1e-4;

pub(super) fn clip() -> Outcome {
    // The graphs of the sides alone do not have the scale, which is e^3.
    check("clip", "clip", "OPTIONS (logit_scale = 20.085537)")
}

pub(super) fn clip_of_one_graph() -> Outcome {
    check("clip_single", "clip", "")
}

pub(super) fn siglip() -> Outcome {
    check("siglip", "siglip", "")
}

/// SigLIP's folder without the graph of both sides.
fn two_graphs() -> Result<TempDir, Failed> {
    let folder = TempDir::new()?;
    let graphs = ["onnx/text_model.onnx", "onnx/vision_model.onnx"];
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"].into_iter().chain(graphs) {
        let target = folder.path().join(file);
        std::fs::create_dir_all(target.parent().ok_or("a folder")?)?;
        std::fs::copy(format!("tests/fixtures/joint/siglip/{file}"), target)?;
    }
    Ok(folder)
}

/// Nothing in it says how cosines become probabilities.
pub(super) fn unknown_scale() -> Outcome {
    let folder = two_graphs()?;
    let package = folder.path().to_string_lossy().into_owned();
    let fresh = Fresh::with_models(&[("m", &package)])?;
    let picture = "tests/fixtures/pictures/photo_chelsea.jpg";
    let error = fresh.error(&format!("SELECT mm_classify('m', '{picture}', ['a cat', 'a dog'])"))?;
    ensure(error.contains("logit_scale = 100"), || error)?;
    let options = "OPTIONS (logit_scale = 12.182494, logit_bias = -1.5)";
    fresh.rows(&format!("CREATE OR REPLACE MODEL m FROM '{package}' {options}"))?;
    let given = fresh.column(&format!("SELECT mm_classify('m', '{picture}', ['a cat', 'a dog']).score"))?;
    let whole = Fresh::with_models(&[("m", "tests/fixtures/joint/siglip")])?;
    let measured = whole.column(&format!("SELECT mm_classify('m', '{picture}', ['a cat', 'a dog']).score"))?;
    let difference = largest_difference(&numbers(&given)?, &numbers(&measured)?)?;
    ensure(difference < 1e-5, || format!("differs by {difference}"))
}

/// What would give scores that are silently wrong: padding that the model sees and nobody names, and vectors of CLIP that
/// its projection heads have not brought into one space.
pub(super) fn refused() -> Outcome {
    let cases = [("pad_", "unused_", "unknown padding"), ("\"siglip\"", "\"clip\"", "gives no vector")];
    for (from, to, message) in cases {
        let folder = two_graphs()?;
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            let path = folder.path().join(file);
            std::fs::write(&path, std::fs::read_to_string(&path)?.replace(from, to))?;
        }
        let error = fresh().error(&format!("CREATE MODEL m FROM '{}'", folder.path().display()))?;
        ensure(error.contains(message), || error)?;
    }
    Ok(())
}

/// Photographs prepared here, beside those that the model's own processor prepared: at most one level of 255 apart.
fn pixels(folder: &str, family: &str, pictures: &[String]) -> Outcome {
    let draft = import(Path::new(&format!("tests/fixtures/joint/{folder}")), &ImportOptions::default())?;
    let spec = draft.manifest.inputs.iter().find_map(|input| match &input.modality {
        Modality::Image(spec) => Some(spec.clone()),
        _ => None,
    });
    let spec = spec.ok_or("a picture input")?;
    let level = f64::from(spec.scale) / spec.std.iter().copied().map(f64::from).fold(1.0, f64::min);
    let tensor = |path: String| -> Result<Vec<f64>, Failed> {
        let values = picture_to_tensor(&std::fs::read(path)?, &spec, &Limits::default())?;
        Ok(values.into_iter().map(f64::from).collect())
    };
    for name in pictures {
        let expected = tensor(format!("tests/fixtures/joint/{family}_pictures/{}", name.replace(".jpg", ".png")))?;
        let difference = largest_difference(&tensor(format!("tests/fixtures/pictures/{name}"))?, &expected)? / level;
        ensure(difference < 1.01, || format!("{folder}, {name}: {difference} levels apart"))?;
    }
    Ok(())
}

fn check(folder: &str, family: &str, options: &str) -> Outcome {
    let answers: Value = serde_json::from_str(&std::fs::read_to_string(format!("tests/fixtures/joint/{family}.json"))?)?;
    let strings = |key: &str| -> Vec<String> {
        answers[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(|text| text.replace('\'', "''")).collect()
    };
    let flat = |key: &str| -> Vec<f64> {
        answers[key]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|row| row.as_array().into_iter().flatten())
            .filter_map(Value::as_f64)
            .collect()
    };
    let (pictures, texts) = (strings("pictures"), strings("texts"));
    let fresh = fresh();
    fresh.rows(&format!("CREATE MODEL m FROM 'tests/fixtures/joint/{folder}' {options}"))?;
    let rows = |values: &[String], start: &str| -> String {
        values.iter().enumerate().map(|(id, value)| format!("({id}, '{start}{value}')")).collect::<Vec<_>>().join(", ")
    };
    let prepared: Vec<String> = pictures.iter().map(|name| name.replace(".jpg", ".png")).collect();
    let pictures_sql = format!("(VALUES {}) AS p(id, uri)", rows(&prepared, &format!("tests/fixtures/joint/{family}_pictures/")));
    let texts_sql = format!("(VALUES {}) AS t(id, note)", rows(&texts, ""));
    pixels(folder, family, &pictures)?;
    let compare = |what: &str, sql: &str, expected: &[f64]| -> Outcome {
        let found = numbers(&fresh.column(sql)?)?;
        let difference = largest_difference(&found, expected)?;
        ensure(difference < TOLERANCE, || format!("{folder}, {what}: differs by {difference}"))
    };
    compare("texts", &format!("SELECT mm_embed('m', {{text: note}}) FROM {texts_sql} ORDER BY id"), &flat("text_embeds"))?;
    compare("pictures", &format!("SELECT mm_embed('m', {{image: uri}}) FROM {pictures_sql} ORDER BY id"), &flat("image_embeds"))?;
    let labels = texts.iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", ");
    let classes = format!("mm_classify('m', uri, [{labels}])");
    let probabilities = flat("probabilities");
    compare("classes", &format!("SELECT map_values({classes}.probabilities) FROM {pictures_sql} ORDER BY id"), &probabilities)?;
    let best: Vec<f64> = probabilities.chunks_exact(texts.len()).map(|row| row.iter().copied().fold(0.0, f64::max)).collect();
    compare("scores", &format!("SELECT {classes}.score FROM {pictures_sql} ORDER BY id"), &best)?;
    // The logits are the cosines on a line.
    let cosines: Vec<f64> = {
        let (images, words) = (flat("image_embeds"), flat("text_embeds"));
        let width = images.len() / pictures.len();
        let dot = |image: &[f64], word: &[f64]| image.iter().zip(word).map(|(a, b)| a * b).sum::<f64>();
        images.chunks_exact(width).flat_map(|image| words.chunks_exact(width).map(move |word| dot(image, word))).collect()
    };
    let pairs = format!("SELECT mm_similarity('m', uri, note) FROM {pictures_sql} CROSS JOIN {texts_sql} ORDER BY p.id, t.id");
    compare("similarities", &pairs, &cosines)
}
