//! Models that are asked about media among the words of their prompt: what transformers writes about the same pictures and sounds.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder};
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
    let batch = RecordBatch::try_from_iter([("id", ids), ("prompt", prompts), ("images", images), ("audio", audio)])?;
    fresh.session.context().register_batch("rows", batch)?;
    Ok(fresh)
}

fn written(model: &str, arguments: &str) -> Outcome {
    let answers = read_json(&format!("vision_language/{model}.json"))?;
    in_all_batches(model, &answers, || asked(model, &answers["greedy"]), arguments, &ASKED)
}
