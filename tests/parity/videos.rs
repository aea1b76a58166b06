//! Videos: VideoMAE of transformers on animations and films, and frames as ffmpeg decodes them.

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, ensure, fresh, numbers};
use arrow::array::AsArray;

/// Animations are decoded exactly; films differ by a level or so, as conversions from YCbCr do.
const EXACT: f64 = 1e-4;
/// Where frames of WebP are laid over each other, a pixel may be a level darker (image-webp's blending).
const WEBP: f64 = 2e-3;
const FILM: f64 = 0.05;

pub(super) fn video_mae() -> Outcome {
    let answers = read_json("video.json")?;
    let error = fresh().error("CREATE MODEL m FROM 'tests/fixtures/video'")?;
    ensure(error.contains("which 8 frames") && error.contains("sampling = 'uniform'"), || error)?;
    let fresh = fresh();
    fresh.rows("CREATE MODEL m FROM 'tests/fixtures/video' OPTIONS (sampling = 'uniform')")?;
    let mut seen = 0;
    for video in answers["videos"].as_array().into_iter().flatten() {
        let name = video["video"].as_str().ok_or("a name")?;
        if name.contains("mjpeg") {
            continue;
        }
        let query =
            format!("SELECT p.label, map_values(p.probabilities) FROM (SELECT mm_predict('m', 'tests/fixtures/videos/{name}') AS p)");
        let found = fresh.rows(&query)?;
        let tolerance = match video["exact"].as_bool() {
            Some(true) if name.ends_with(".webp") => WEBP,
            Some(true) => EXACT,
            _ => FILM,
        };
        let difference = largest_difference(&numbers(&found.column(1).as_list::<i32>().value(0))?, &flat(&video["probabilities"]))?;
        ensure(difference < tolerance, || format!("{name}: probabilities differ by {difference}"))?;
        ensure(Some(found.column(0).as_string::<i32>().value(0)) == video["best"].as_str(), || format!("{name}: another class"))?;
        seen += 1;
    }
    ensure(seen >= 6, || format!("{seen} videos were looked at"))
}

/// A model of pictures on frames, whose vectors are pooled: the mean over frames is that of the frames one by one.
pub(super) fn pooled_frames() -> Outcome {
    let folder = tempfile::TempDir::new()?;
    std::fs::copy("tests/fixtures/tiny/grey_parts.onnx", folder.path().join("model.onnx"))?;
    let image = "image = { resize = { height = 6, width = 8 }, filter = \"box\", scale = 1.0, mean = [0.0], std = [1.0] }";
    let of = |video: &str| {
        format!(
            "embedding = \"parts\"\n[inputs.video]\nmodality = \"video\"\ngraph_input = \"picture\"\n{image}\nvideo = {{ {video}, pooling = \"mean\" }}\n"
        )
    };
    let mut vectors = Vec::new();
    for (frames, sampling) in
        [(24, "sampling = \"uniform\""), (24, "sampling = { every_seconds = 0.0833 }"), (100, "sampling = { every_seconds = 0.0833 }")]
    {
        std::fs::write(folder.path().join("sensorium.toml"), of(&format!("frames = {frames}, {sampling}")))?;
        let fresh = Fresh::with_models(&[("grey", &folder.path().to_string_lossy())])?;
        let found = fresh.rows("SELECT mm_embed('grey', 'tests/fixtures/videos/baseline.mp4')")?;
        vectors.push(numbers(&found.column(0).as_fixed_size_list().value(0))?);
    }
    // A short film has one key frame, its first; an animation has none.
    std::fs::write(folder.path().join("sensorium.toml"), of("frames = 8, sampling = \"key_frames\""))?;
    let fresh = Fresh::with_models(&[("grey", &folder.path().to_string_lossy())])?;
    let key = fresh.rows("SELECT mm_embed('grey', 'tests/fixtures/videos/high.mp4')")?;
    ensure(key.num_rows() == 1, || "no vector of a key frame".into())?;
    let error = fresh.error("SELECT mm_embed('grey', 'tests/fixtures/videos/moving.gif')")?;
    ensure(error.contains("0 key frames"), || error)?;
    for other in &vectors[1..] {
        let difference = largest_difference(&vectors[0], other)?;
        ensure(difference < 0.5, || format!("frames at times differ from all frames by {difference} levels"))?;
    }
    Ok(())
}
