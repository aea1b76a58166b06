//! Models whose encoder reads and whose decoder writes: what transformers writes about the same pictures and behind the same prompts.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use libtest_mimic::Failed;
use serde_json::Value;

use super::read_json;
use super::text::{closed, in_all_batches};
use crate::Outcome;
use crate::support::{Fresh, ensure};

const ASKED: [(&str, &str); 3] = [
    ("greedy", "{max_tokens: 16}"),
    ("beams", "{max_tokens: 10, beams: 4}"),
    ("no_repeats", "{max_tokens: 16, no_repeat_ngram_size: 2, repetition_penalty: 1.3}"),
];

pub(super) fn t5() -> Outcome {
    written("t5", "prompt")
}

pub(super) fn vit_gpt2() -> Outcome {
    written("vit_gpt2", "coalesce(prompt, ''), picture")
}

pub(super) fn blip() -> Outcome {
    written("blip", "coalesce(prompt, ''), picture")?;
    // Without a prompt it writes a text of its own; a picture that is not there is nothing to write about.
    let fresh = asked("blip", &read_json("captioners/blip.json")?["greedy"])?;
    let same = "SELECT bool_and(mm_generate('m', {image: picture}, {max_tokens: 16}) = mm_generate('m', '', picture, {max_tokens: 16})), \
                count(mm_generate('m', prompt, picture, {max_tokens: 16})) = count(prompt), \
                count(mm_generate('m', 'a', CASE WHEN id > 2 THEN picture END, {max_tokens: 1})) = count(*) - 3 FROM rows";
    let found = fresh.rows(same)?;
    let are_true =
        found.columns().iter().all(|column| column.as_any().downcast_ref() == Some(&arrow::array::BooleanArray::from(vec![true])));
    ensure(are_true, || format!("{found:?}"))
}

pub(super) fn blip_vqa() -> Outcome {
    written("blip_vqa", "prompt, picture")
}

fn asked(model: &str, rows: &Value) -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("m", &format!("tests/fixtures/captioners/{model}"))])?;
    let rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    let texts = |name: &str| -> ArrayRef { Arc::new(rows.iter().map(|row| row[name].as_str()).collect::<StringArray>()) };
    let ids: ArrayRef = Arc::new((0..rows.len() as i64).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([("id", ids), ("prompt", texts("prompt")), ("picture", texts("picture"))])?;
    fresh.session.context().register_batch("rows", batch)?;
    Ok(fresh)
}

fn written(model: &str, arguments: &str) -> Outcome {
    let answers = read_json(&format!("captioners/{model}.json"))?;
    let asked = || asked(model, &answers["greedy"]);
    in_all_batches(model, &answers, asked, arguments, &ASKED)?;
    closed(model, &answers, asked, arguments)
}
