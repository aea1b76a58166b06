//! Models that write texts: what transformers writes behind the same prompts, greedily, with beams, with rules and by chance.

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type};
use libtest_mimic::Failed;
use serde_json::Value;

use super::{read_json, strings};
use crate::Outcome;
use crate::support::{Fresh, ensure, root};

/// Of the log-probability of a token.
const TOLERANCE: f64 = 1e-4;
/// Texts that are drawn for each way of drawing.
const DRAWN: usize = 400;

const ASKED: [(&str, &str); 4] = [
    ("greedy", "{max_tokens: 24}"),
    ("beams", "{max_tokens: 12, beams: 4}"),
    ("long_beams", "{max_tokens: 12, beams: 3, length_penalty: 2.0, early_stopping: true}"),
    ("no_repeats", "{max_tokens: 24, no_repeat_ngram_size: 2, repetition_penalty: 1.3}"),
];

pub(super) fn llama() -> Outcome {
    written("llama")?;
    let answers = read_json("text/llama.json")?;
    let fresh = asked("llama", prompts_of(&answers))?;
    let options = "{max_tokens: 24, system: 'The ledger has each amount on one day. Which supplier sent the invoice, and was it paid?'}";
    check(&fresh.rows(&query(options))?, &answers["system"], "llama, behind a system message")
}

/// Graphs that are cut before their scores, whose weights lie in a file beside them or have 4 bits.
pub(super) fn cut_graphs() -> Outcome {
    let folder = tempfile::TempDir::new()?;
    for name in ["external", "int4"] {
        let package = folder.path().join(name);
        std::fs::create_dir(&package)?;
        for file in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            std::fs::copy(root().join("tests/fixtures/text/llama").join(file), package.join(file))?;
        }
        std::fs::copy(root().join(format!("tests/fixtures/cut/{name}.onnx")), package.join("model.onnx"))?;
    }
    std::fs::copy(root().join("tests/fixtures/cut/external.onnx_data"), folder.path().join("external/external.onnx_data"))?;
    let opened = |name: &str, answers: &Value| opened(&folder.path().join(name).to_string_lossy(), prompts_of(answers));
    let answers = read_json("text/llama.json")?;
    in_all_batches("external", &answers, || opened("external", &answers), "prompt", &ASKED[..1])?;
    let answers = read_json("cut/int4.json")?;
    // ONNX Runtime's own products with 4 bits differ a little by the number of rows.
    closed("int4", &answers, || opened("int4", &answers), "prompt")
}

pub(super) fn gpt2() -> Outcome {
    written("gpt2")
}

/// A session with the model and its prompts.
fn asked(model: &str, prompts: Vec<String>) -> Result<Fresh, Failed> {
    opened(&format!("tests/fixtures/text/{model}"), prompts)
}

fn opened(package: &str, prompts: Vec<String>) -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("m", package)])?;
    let ids: arrow::array::Int64Array = (0..prompts.len() as i64).collect();
    let prompts: StringArray = prompts.into_iter().map(Some).collect();
    let batch = RecordBatch::try_from_iter([("id", std::sync::Arc::new(ids) as _), ("prompt", std::sync::Arc::new(prompts) as _)])?;
    fresh.session.context().register_batch("rows", batch)?;
    Ok(fresh)
}

fn written(model: &str) -> Outcome {
    let answers = read_json(&format!("text/{model}.json"))?;
    let asked = || asked(model, prompts_of(&answers));
    in_all_batches(model, &answers, asked, "prompt", &ASKED)?;
    closed(model, &answers, asked, "prompt")
}

/// Ways of writing, by the name of their answers, with what a call says.
pub(super) type Ways<'a> = &'a [(&'a str, &'a str)];

/// Compares what the model `m` of `asked` writes with `answers`: all rows at once, in batches that rows leave and enter, and each by
/// itself. `arguments` are those of a call on the table `rows`.
pub(super) fn in_all_batches(
    model: &str,
    answers: &Value,
    asked: impl Fn() -> Result<Fresh, Failed>,
    arguments: &str,
    ways: Ways<'_>,
) -> Outcome {
    for batch_rows in [0, 1, 3] {
        let fresh = asked()?;
        fresh.rows(&format!("SET mm.batch_rows = {batch_rows}"))?;
        for (name, options) in ways {
            let query = format!(
                "SELECT t.text, t.finish_reason, t.tokens, t.logprob FROM \
                 (SELECT id, mm_try_generate('m', {arguments}, {options}).value AS t FROM rows) ORDER BY id"
            );
            check(&fresh.rows(&query)?, &answers[*name], &format!("{model}, {name}, batches of {batch_rows}"))?;
        }
    }
    Ok(())
}

/// Compares the probabilities of closed answers to the prompts of `asked`, as `in_all_batches` does it with texts.
pub(super) fn closed(model: &str, answers: &Value, asked: impl Fn() -> Result<Fresh, Failed>, arguments: &str) -> Outcome {
    for batch_rows in [0, 1, 3] {
        let fresh = asked()?;
        fresh.rows(&format!("SET mm.batch_rows = {batch_rows}"))?;
        for set in ["apart", "nested"] {
            let labels = strings(&answers["labels"][set]);
            let listed: Vec<String> = labels.iter().map(|label| format!("'{label}'")).collect();
            let query = format!(
                "SELECT c.label, c.score, map_values(c.probabilities) FROM \
                 (SELECT id, mm_classify('m', {arguments}, [{}]) AS c FROM rows) ORDER BY id",
                listed.join(", ")
            );
            let found = fresh.rows(&query)?;
            let expected: Vec<Vec<f64>> =
                answers["closed"].as_array().into_iter().flatten().map(|row| softmax(&numbers(&row[set]))).collect();
            ensure(found.num_rows() == expected.len() && !expected.is_empty(), || format!("{model}, {set}: {} rows", found.num_rows()))?;
            for (row, expected) in expected.iter().enumerate() {
                let own = found.column(2).as_list::<i32>().value(row);
                let own = own.as_primitive::<Float32Type>().values();
                let what = || format!("{model}, {set}, batches of {batch_rows}, row {row}: {own:?} for {expected:?}");
                let is_near = |(own, expected): (&f32, &f64)| (f64::from(*own) - expected).abs() < TOLERANCE;
                ensure(own.len() == expected.len() && own.iter().zip(expected).all(is_near), what)?;
                let best = (0..own.len()).max_by(|one, other| own[*one].total_cmp(&own[*other])).unwrap_or(0);
                ensure(found.column(0).as_string::<i32>().value(row) == labels[best], what)?;
                ensure(found.column(1).as_primitive::<Float32Type>().value(row) == own[best], what)?;
            }
        }
    }
    Ok(())
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

fn prompts_of(answers: &Value) -> Vec<String> {
    answers["prompts"].as_array().into_iter().flatten().filter_map(|one| one["prompt"].as_str()).map(str::to_string).collect()
}

fn query(options: &str) -> String {
    format!(
        "SELECT t.text, t.finish_reason, t.tokens, t.logprob FROM \
         (SELECT id, mm_try_generate('m', prompt, {options}).value AS t FROM rows) ORDER BY id"
    )
}

fn check(found: &RecordBatch, expected: &Value, what: &str) -> Outcome {
    let expected: Vec<&Value> = expected.as_array().into_iter().flatten().collect();
    ensure(found.num_rows() == expected.len(), || format!("{what}: {} rows", found.num_rows()))?;
    let (texts, reasons) = (found.column(0).as_string::<i32>(), found.column(1).as_string::<i32>());
    let (tokens, logprobs) = (found.column(2).as_primitive::<Int32Type>(), found.column(3).as_primitive::<Float64Type>());
    for (row, expected) in expected.into_iter().enumerate() {
        let what = || format!("{what}, row {row}: {:?} {} for {expected}", texts.value(row), reasons.value(row));
        ensure(expected["text"] == texts.value(row) && expected["finish_reason"] == reasons.value(row), what)?;
        let written = expected["tokens"].as_array().map_or(0, Vec::len);
        let own = usize::try_from(tokens.value(row))? + usize::from(reasons.value(row) == "stop");
        ensure(own == written, what)?;
        let difference = (logprobs.value(row) - expected["logprob"].as_f64().ok_or("a number")?).abs();
        ensure(difference < TOLERANCE * written as f64, || format!("{}: log-probability differs by {difference}", what()))?;
    }
    Ok(())
}

/// What is drawn is drawn as often as it should be, and nothing else.
pub(super) fn drawn() -> Outcome {
    let answers = read_json("text/llama.json")?;
    let prompt = strings(&Value::Array(vec![answers["prompts"][1]["prompt"].clone()]));
    let fresh = asked("llama", prompt)?;
    let ways = [
        ("top_k", "temperature: 0.7, top_k: 5, top_p: 1.0"),
        ("top_p", "temperature: 1.5, top_k: 0, top_p: 0.8"),
        ("min_p", "temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.2"),
    ];
    for (name, options) in ways {
        let likely: Vec<(f64, f64)> = answers["sampled"][name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some((one[0].as_f64()?, one[1].as_f64()?)))
            .collect();
        let mut counts = vec![0_usize; likely.len()];
        for seed in 0..DRAWN {
            let query = format!("SELECT mm_try_generate('m', prompt, {{max_tokens: 1, seed: {seed}, {options}}}).value.logprob FROM rows");
            let logprob = fresh.column(&query)?.as_primitive::<Float64Type>().value(0);
            let place = likely.iter().position(|(_, expected)| (expected - logprob).abs() < TOLERANCE);
            counts[place.ok_or_else(|| format!("{name}: drew a token of log-probability {logprob}, which it should not"))?] += 1;
        }
        // Four standard deviations.
        for ((share, _), count) in likely.iter().zip(&counts) {
            let (expected, spread) = (share * DRAWN as f64, (share * (1.0 - share) * DRAWN as f64).sqrt());
            let is_usual = (*count as f64 - expected).abs() <= 4.0 * spread + 1.0;
            ensure(is_usual, || format!("{name}: drawn {counts:?} times, likely {likely:?}"))?;
        }
    }
    Ok(())
}
