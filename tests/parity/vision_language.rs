//! Models that are asked about media among the words of their prompt: what transformers writes about the same pictures and sounds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
use libtest_mimic::Failed;
use serde_json::Value;

use super::text::in_all_batches;
use super::{read_json, strings};
use crate::Outcome;
use crate::support::{Fresh, ensure};

const ASKED: [(&str, &str); 3] = [
    ("greedy", "{max_tokens: 16}"),
    ("beams", "{max_tokens: 10, beams: 3}"),
    ("no_repeats", "{max_tokens: 16, no_repeat_ngram_size: 2, repetition_penalty: 1.3}"),
];

pub(super) fn llava() -> Outcome {
    written("llava", "{prompt: prompt, image: images}")?;
    // Prompts of several lengths with pictures, behind a start that is read once: each as by itself.
    let fresh = asked("llava", &read_json("vision_language/llava.json")?["greedy"])?;
    let system = "You are an assistant who answers questions about invoices and parts briefly.";
    let query =
        format!("SELECT mm_generate('m', {{prompt: prompt, image: images}}, {{max_tokens: 12, system: '{system}'}}) FROM rows ORDER BY id");
    fresh.rows("SET mm.cache_bytes = 0")?;
    let together = fresh.column(&query)?;
    fresh.rows("SET mm.batch_rows = 1")?;
    ensure(fresh.column(&query)? == together, || "other texts one by one".into())
}

pub(super) fn idefics() -> Outcome {
    written("idefics", "{prompt: prompt, image: images}")
}

pub(super) fn gemma3n() -> Outcome {
    written("gemma3n", "prompt, images, audio")
}

/// Frames stand in the places of videos, among pictures and sounds, as if they were pictures.
pub(super) fn videos() -> Outcome {
    let answers = read_json("vision_language/videos.json")?;
    for (model, arguments) in [
        // As many frames as there are by default.
        ("llava", "prompt, images, videos, {max_tokens: 16}"),
        ("gemma3n", "prompt, images, audio, videos, {max_tokens: 16, frames: 5}"),
        ("idefics", "{prompt: prompt, image: images, video: videos}, {max_tokens: 16, frames: 3}"),
    ] {
        let rows = &answers[model];
        for batch_rows in [0, 1, 3] {
            let fresh = asked(model, rows)?;
            fresh.rows(&format!("SET mm.batch_rows = {batch_rows}"))?;
            let found = fresh.column(&format!("SELECT mm_generate('m', {arguments}) FROM rows ORDER BY id"))?;
            let rows = rows.as_array().ok_or("no rows")?;
            ensure(found.len() == rows.len() && found.len() >= 5, || format!("{model}: {} rows", found.len()))?;
            for (own, row) in found.as_string::<i32>().iter().zip(rows) {
                ensure(own == row["text"].as_str(), || {
                    format!("{model}, batches of {batch_rows}, {}: {own:?} for {}", row["prompt"], row["text"])
                })?;
            }
        }
    }
    conversations()
}

/// The same in any words: messages in parts, a model's own marker, nothing mentioned; another question is another answer.
fn conversations() -> Outcome {
    let (cat, video) = ("'tests/fixtures/vit_pictures/photo_chelsea.png'", "'tests/fixtures/videos/moving.gif'");
    for (model, own) in [("llava", "<image>"), ("gemma3n", "<image_soft_token>")] {
        let fresh = Fresh::with_models(&[("m", &format!("tests/fixtures/vision_language/{model}"))])?;
        let ask = |prompt: &str, frames: usize| {
            let query = format!(
                "SELECT t.text || round(t.logprob, 3) FROM (SELECT \
                 mm_try_generate('m', {{prompt: {prompt}, image: {cat}, video: {video}}}, {{max_tokens: 12, frames: {frames}}}).value AS t)"
            );
            Ok::<_, Failed>(fresh.column(&query)?.as_string::<i32>().value(0).to_string())
        };
        let part = |kind: &str| format!("{{type: '{kind}', text: NULL}}");
        let said = "{type: 'text', text: 'Which?'}";
        let user = |content: &str| format!("[{{role: 'user', content: {content}}}]");
        let after = [
            "'<image><video>Which?'".to_string(),
            format!("'{own}<video>Which?'"),
            "'<video>Which?'".to_string(),
            "'Which?'".to_string(),
            user("'<image><video>Which?'"),
            user("'Which?'"),
            user(&format!("[{}, {}, {said}]", part("image"), part("video"))),
            user(&format!("[{}, {said}]", part("video"))),
            user(&format!("[{said}]")),
        ];
        let before = [
            "'<video><image>Which?'".to_string(),
            "'<image>Which?'".to_string(),
            user("'<video><image>Which?'"),
            user(&format!("[{}, {}, {said}]", part("video"), part("image"))),
            user(&format!("[{}, {said}]", part("image"))),
        ];
        let mut texts = Vec::new();
        for same in [&after[..], &before[..]] {
            let found = same.iter().map(|prompt| ask(prompt, 4)).collect::<Result<Vec<_>, _>>()?;
            ensure(found.iter().all(|text| *text == found[0]), || format!("{model}: {:?}", same.iter().zip(&found).collect::<Vec<_>>()))?;
            texts.push(found[0].clone());
        }
        texts.push(ask(&after[0], 5)?);
        ensure(texts[0] != texts[1] && texts[0] != texts[2], || format!("{model}: the same of other pictures: {texts:?}"))?;
    }
    Ok(())
}

fn asked(model: &str, rows: &Value) -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("m", &format!("tests/fixtures/vision_language/{model}"))])?;
    let rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    let lists = |media: &dyn Fn(&Value) -> Vec<String>| -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in &rows {
            media(row).iter().for_each(|uri| lists.values().append_value(uri));
            lists.append(true);
        }
        Arc::new(lists.finish())
    };
    let ids: ArrayRef = Arc::new((0..rows.len() as i64).collect::<Int64Array>());
    let prompts: ArrayRef = Arc::new(rows.iter().map(|row| row["prompt"].as_str()).collect::<StringArray>());
    let images = lists(&|row| strings(&row["images"]));
    let audio = lists(&|row| row["audio"].as_str().map(str::to_string).into_iter().collect());
    let videos = lists(&|row| strings(&row["videos"]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("prompt", prompts), ("images", images), ("audio", audio), ("videos", videos)])?;
    fresh.session.context().register_batch("rows", batch)?;
    Ok(fresh)
}

fn written(model: &str, arguments: &str) -> Outcome {
    let answers = read_json(&format!("vision_language/{model}.json"))?;
    in_all_batches(model, &answers, || asked(model, &answers["greedy"]), arguments, &ASKED)
}
