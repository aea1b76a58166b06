//! Stable Diffusion: the pictures that diffusers draws with the same weights and seeds, by every scheduler.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use libtest_mimic::Failed;
use sensorium_inference::{Filter, ImageSpec, Layout, Limits, Size, picture_to_tensor};
use serde_json::Value;
use tempfile::TempDir;

use super::read_json;
use crate::Outcome;
use crate::support::{Fresh, ensure, path_in, root};

/// Of a pixel; bytes are a 255th apart.
const TOLERANCE: f64 = 1.0 / 255.0 + 2e-4;
const MODEL: &str = "tests/fixtures/diffusion/model";

/// The model with another scheduler.
fn with_scheduler(scheduler: &Value, without: &[&str]) -> Result<TempDir, Failed> {
    let folder = TempDir::new_in(root().join("tests"))?;
    copy(Path::new(MODEL), folder.path(), without)?;
    std::fs::write(folder.path().join("scheduler/scheduler_config.json"), scheduler.to_string())?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path, without: &[&str]) -> Outcome {
    for entry in from.read_dir()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target)?;
            copy(&entry.path(), &target, without)?;
        } else if !without.iter().any(|name| entry.file_name() == *name) {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn asked(folder: &TempDir, pictures: &[&Value]) -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("sd", &path_in(folder, ""))])?;
    let ids: ArrayRef = Arc::new((0..pictures.len() as i64).collect::<Int64Array>());
    let prompts: ArrayRef = Arc::new(pictures.iter().map(|picture| picture["prompt"].as_str()).collect::<StringArray>());
    fresh.session.context().register_batch("prompts", RecordBatch::try_from_iter([("id", ids), ("prompt", prompts)])?)?;
    Ok(fresh)
}

pub(super) fn schedulers() -> Outcome {
    let answers = read_json("diffusion/answers.json")?;
    let numbers: Vec<f32> = std::fs::read("tests/fixtures/diffusion/answers.f32")?
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let cases = answers["cases"].as_array().ok_or("no cases")?;
    let mut seen = 0;
    for case in cases.iter().filter(|case| case.get("eta").is_none()) {
        let pictures: Vec<&Value> = case["pictures"].as_array().into_iter().flatten().collect();
        let folder = with_scheduler(&case["scheduler"], &[])?;
        let fresh = asked(&folder, &pictures)?;
        for (row, picture) in pictures.iter().enumerate() {
            let guidance = case["guidance_scale"].as_f64().unwrap_or(7.5);
            let mut options = format!("steps: {}, guidance: {guidance:?}, seed: {}", case["num_inference_steps"], picture["seed"]);
            let mut init = String::new();
            match case["strength"].as_f64() {
                Some(strength) => {
                    options.push_str(&format!(", strength: {strength}"));
                    init = ", 'tests/fixtures/diffusion/image.png'".into();
                }
                None => options.push_str(&format!(", width: {}, height: {}", case["width"], case["height"])),
            }
            if let Some(negative) = picture["negative_prompt"].as_str().filter(|_| guidance > 1.0) {
                options.push_str(&format!(", negative_prompt: '{negative}'"));
            }
            let query = format!("SELECT mm_generate_image('sd', prompt{init}, {{{options}}}) FROM prompts ORDER BY id");
            for batch in [1, 4] {
                fresh.rows(&format!("SET mm.batch_rows = {batch}"))?;
                fresh.rows(&format!("SET mm.cache_bytes = {}", 0))?;
                let found = fresh.column(&query)?;
                check(found.as_binary::<i32>().value(row), &picture["pixels"], &numbers, &format!("{}, picture {row}", case["name"]))?;
            }
            seen += 1;
        }
    }
    ensure(seen > 40, || format!("{seen} pictures only"))
}

fn check(png: &[u8], expected: &Value, numbers: &[f32], what: &str) -> Outcome {
    let size = |place: usize| expected["shape"][place].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let (height, width) = (size(0), size(1));
    let at = expected["at"].as_u64().and_then(|at| usize::try_from(at).ok()).ok_or("no place")?;
    let size = Size { height: u32::try_from(height)?, width: u32::try_from(width)? };
    // Nothing is resized: a picture of another size would be cut or framed in black.
    let spec = ImageSpec {
        resize: None,
        filter: Filter::Nearest,
        crop: Some(size),
        scale: 1.0 / 255.0,
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
        layout: Layout::Nhwc,
    };
    let found = picture_to_tensor(png, &spec, &Limits::default()).map_err(|error| error.to_string())?;
    let expected = &numbers[at..at + height * width * 3];
    ensure(found.len() == expected.len(), || format!("{what}: {} values", found.len()))?;
    let differences = found.iter().zip(expected).map(|(own, expected)| f64::from(own - expected).abs());
    let most = differences.clone().fold(0.0, f64::max);
    // Rounding to bytes takes up to half a step.
    let mean = differences.sum::<f64>() / expected.len() as f64;
    ensure(most <= TOLERANCE && mean < 0.0015, || format!("{what}: differs by {most}, {mean} on average"))
}

/// Folders without tokenizer.json, as Optimum writes them, cut texts in the same way; what is not known is refused.
pub(super) fn folders() -> Outcome {
    let answers = read_json("diffusion/answers.json")?;
    let texts: Vec<&Value> = answers["texts"].as_array().into_iter().flatten().collect();
    let rows: Vec<Value> = texts.iter().map(|text| serde_json::json!({ "prompt": text["text"] })).collect();
    let rows: Vec<&Value> = rows.iter().collect();
    let scheduler: Value = serde_json::from_str(&std::fs::read_to_string(format!("{MODEL}/scheduler/scheduler_config.json"))?)?;
    let query = "SELECT mm_generate_image('sd', prompt, {steps: 1, guidance: 1}) FROM prompts ORDER BY id";
    let (fast, slow) = (with_scheduler(&scheduler, &[])?, with_scheduler(&scheduler, &["tokenizer.json"])?);
    let (fast, slow) = (asked(&fast, &rows)?.column(query)?, asked(&slow, &rows)?.column(query)?);
    ensure(fast == slow && fast.null_count() == 0, || "other pictures by the tokenizer that is made of two files".into())?;
    for (change, expected) in [
        (serde_json::json!({ "_class_name": "LMSDiscreteScheduler" }), "_class_name = 'LMSDiscreteScheduler'"),
        (serde_json::json!({ "_class_name": "PNDMScheduler" }), "skip_prk_steps = false"),
        (serde_json::json!({ "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++" }), "algorithm_type"),
        (serde_json::json!({ "_class_name": "DDIMScheduler", "thresholding": true }), "thresholding"),
        (serde_json::json!({ "_class_name": "EulerDiscreteScheduler", "beta_schedule": "laplace" }), "beta_schedule = 'laplace'"),
    ] {
        let folder = with_scheduler(&change, &[])?;
        let fresh = crate::support::fresh();
        let error = fresh.error(&format!("CREATE MODEL sd FROM '{}'", path_in(&folder, "")))?;
        ensure(error.contains(expected), || format!("{change}: {error}"))?;
    }
    // Python writes what is no JSON.
    let folder = with_scheduler(&scheduler, &[])?;
    let endless = std::fs::read_to_string(folder.path().join("scheduler/scheduler_config.json"))?.replacen(
        '{',
        "{\"lambda_min_clipped\": -Infinity,",
        1,
    );
    std::fs::write(folder.path().join("scheduler/scheduler_config.json"), endless)?;
    asked(&folder, &rows[..1]).map(|_| ())
}
