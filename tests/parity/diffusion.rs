//! Stable Diffusion: the pictures that diffusers draws with the same weights and seeds, by every scheduler.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use libtest_mimic::Failed;
use sensorium_inference::{
    Cancel, Device, Draft, Filter, ImageSpec, ImportOptions, Layout, Limits, MediaAccess, PictureRules, Prediction, Request, Size, Stats,
    Wanted, drawn_pictures, import, picture_to_tensor,
};
use serde_json::Value;
use tempfile::TempDir;

use super::read_json;
use crate::Outcome;
use crate::support::{Fresh, ensure, path_in, root};

/// Of a pixel; bytes are a 255th apart.
const TOLERANCE: f64 = 1.0 / 255.0 + 2e-4;
/// Of numbers that are no bytes yet.
const CLOSE: f64 = 1e-3;
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

/// Cases without noise between steps that DDIM only has, which is not offered.
fn cases() -> Result<Vec<Value>, Failed> {
    let answers = read_json("diffusion/answers.json")?;
    let cases = answers["cases"].as_array().ok_or("no cases")?;
    Ok(cases.iter().filter(|case| case.get("eta").is_none()).cloned().collect())
}

/// All arrays of the answers, one behind the other.
fn numbers() -> Result<Vec<f32>, Failed> {
    let bytes = std::fs::read("tests/fixtures/diffusion/answers.f32")?;
    Ok(bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
}

/// An array of the answers.
fn array<'a>(place: &Value, numbers: &'a [f32]) -> Result<&'a [f32], Failed> {
    let number = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok()).ok_or("no number");
    let at = number(&place["at"])?;
    let sides = place["shape"].as_array().into_iter().flatten().map(number).collect::<Result<Vec<_>, _>>()?;
    numbers.get(at..at + sides.iter().product::<usize>()).ok_or_else(|| "no such array".into())
}

/// Before anything is rounded to bytes: what the loop ends with, and what the decoder makes of it.
pub(super) fn latents() -> Outcome {
    let (numbers, mut seen) = (numbers()?, 0);
    for case in cases()? {
        let folder = with_scheduler(&case["scheduler"], &[])?;
        let draft = import(folder.path(), &ImportOptions::default()).map_err(|error| error.to_string())?;
        let pictures: Vec<&Value> = case["pictures"].as_array().into_iter().flatten().collect();
        let prompts: ArrayRef = Arc::new(pictures.iter().map(|picture| picture["prompt"].as_str()).collect::<StringArray>());
        let start: ArrayRef = Arc::new(StringArray::from(vec!["tests/fixtures/diffusion/image.png"; pictures.len()]));
        for (row, picture) in pictures.iter().enumerate() {
            let mut draft = draft.clone();
            let rules = rules_of(&mut draft)?;
            let size = |name: &str| case[name].as_u64().and_then(|size| usize::try_from(size).ok()).ok_or("no size");
            rules.guidance = case["guidance_scale"].as_f64().unwrap_or(7.5);
            (rules.steps, rules.width, rules.height) = (size("num_inference_steps")?, size("width")?, size("height")?);
            rules.seed = picture["seed"].as_u64().ok_or("no seed")?;
            rules.negative_prompt = picture["negative_prompt"].as_str().unwrap_or_default().into();
            rules.strength = case["strength"].as_f64().unwrap_or(rules.strength);
            let given = if case.get("strength").is_some() { vec![Arc::clone(&start)] } else { Vec::new() };
            for batch_rows in [1, 4] {
                let limits = Limits { device: Device::Cpu, batch_rows, ..Limits::default() };
                let request = Request {
                    inputs: &[vec![Arc::clone(&prompts)], given.clone()],
                    rows: pictures.len(),
                    wanted: Wanted::Prediction,
                    access: &MediaAccess::default(),
                    limits: &limits,
                    stop_at_failure: true,
                    statement: 0,
                    cancel: &Cancel::default(),
                    stats: &Stats::default(),
                };
                let drawn = drawn_pictures(&draft, &request).map_err(|error| error.to_string())?;
                let found = [("latents", drawn[row].latents.clone()), ("pixels", drawn[row].colours())];
                for (name, found) in &found {
                    let expected = array(&picture[*name], &numbers)?;
                    ensure(found.len() == expected.len(), || format!("{}, picture {row}: {} {name}", case["name"], found.len()))?;
                    let off = found.iter().zip(expected).map(|(own, expected)| f64::from(own - expected).abs()).fold(0.0, f64::max);
                    let close = found.iter().all(|value| value.is_finite()) && off < CLOSE;
                    ensure(close, || format!("{}, picture {row}: {name} differ by {off}", case["name"]))?;
                }
            }
            seen += 1;
        }
    }
    ensure(seen > 40, || format!("{seen} pictures only"))
}

fn rules_of(draft: &mut Draft) -> Result<&mut PictureRules, Failed> {
    match &mut draft.manifest.prediction {
        Prediction::Picture { diffusion } => Ok(&mut diffusion.rules),
        _ => Err("a model that draws nothing".into()),
    }
}

pub(super) fn schedulers() -> Outcome {
    let (cases, numbers) = (cases()?, numbers()?);
    let mut seen = 0;
    for case in &cases {
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
    let expected = array(expected, numbers)?;
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
    for (scaling, is_made, expected) in [("0.0", false, "scaling_factor = 0"), ("1e-300", true, "one of the pixels is NaN or infinite")] {
        let folder = with_scheduler(&scheduler, &[])?;
        let config = folder.path().join("vae_decoder/config.json");
        std::fs::write(&config, std::fs::read_to_string(&config)?.replacen("0.18215", scaling, 1))?;
        let fresh = crate::support::fresh();
        let create = format!("CREATE MODEL sd FROM '{}'", path_in(&folder, ""));
        let draw = "SELECT mm_generate_image('sd', 'a boat', {steps: 1, width: 16, height: 16})";
        let error = match is_made {
            true => fresh.rows(&create).and_then(|_| fresh.error(draw))?,
            false => fresh.error(&create)?,
        };
        ensure(error.contains(expected), || format!("scaling_factor {scaling}: {error}"))?;
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
