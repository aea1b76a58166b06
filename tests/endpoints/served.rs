//! llama.cpp's own server, with the model of `fixtures/text/llama`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;

use super::{Asking, KEY};
use crate::Outcome;
use crate::support::{ensure, environment, root};

/// A wheel of everything, without dependencies.
const SERVER: &str = "xllamacpp==2026.10.11549";

/// The server; it ends when its input does.
struct Served {
    child: Child,
    port: u16,
}

impl Served {
    fn start() -> Result<Self, Failed> {
        let python = environment("served", &["--no-deps", SERVER], SERVER)?;
        let mut command = Command::new(python);
        command.args(["tests/reference/served.py", "tests/fixtures/served/llama.gguf", "0", KEY]).current_dir(root());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Ok(Self { child, port: port.ok_or_else(|| format!("the server does not begin: {line}"))? })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn llama_cpp() -> Outcome {
    let served = Served::start()?;
    let asking = Asking::new(served.port)?;
    asking.rows(&asking.create(", max_concurrency = 4, logprobs = true"))?;
    let prompts = "(VALUES (1, 'Which supplier sent this invoice?'), (2, 'The invoice'), (3, NULL), (4, 'The invoice'))";
    let query = format!(
        "SELECT column1 AS id, mm_try_generate('m', column2, {{max_tokens: 12, temperature: 0, seed: 1}}) AS t FROM {prompts} ORDER BY id"
    );
    let rows = asking.rows(&query)?;
    let text = |row: usize| rows[row]["t"]["value"]["text"].as_str().unwrap_or_default();
    let is_right = !text(0).is_empty() && text(1) == text(3) && text(0) != text(1) && rows[2]["t"]["value"].is_null();
    let logprob = rows[0]["t"]["value"]["logprob"].as_f64().unwrap_or(0.0);
    ensure(is_right && logprob < 0.0 && rows[0]["t"]["value"]["tokens"].as_u64() <= Some(12), || format!("{rows:?}"))?;
    // A conversation, a system message, a stop text.
    let asked = "SELECT mm_generate('m', [{role: 'user', content: 'The invoice'}], {max_tokens: 12, temperature: 0}) AS own, \
                 mm_generate('m', 'The invoice', {max_tokens: 12, temperature: 0, system: 'Be brief.'}) AS briefed";
    let row = &asking.rows(asked)?[0];
    ensure(row["own"] == text(1) && row["briefed"] != text(1), || row.to_string())?;
    // Pictures and sounds, as files, as bytes and written anew; a picture that cannot be read is its row's affair.
    let about = "SELECT mm_generate('m', 'What is this? <image>', column1, {max_tokens: 8, temperature: 0}) AS t FROM (VALUES \
                 ('tests/fixtures/vit_pictures/photo_coffee.png'), ('tests/fixtures/vit_pictures/photo_rocket.png'), ('tests/fixtures/pictures/webp_exif_8.webp'))";
    let rows = asking.rows(about)?;
    ensure(rows.len() == 3 && rows.iter().all(|row| row["t"].is_string()) && rows[0] != rows[1], || format!("{rows:?}"))?;
    let heard =
        "SELECT mm_try_generate('m', {prompt: 'What is said?', audio: ['tests/fixtures/sounds/voice_0.flac']}, {max_tokens: 4}) AS t";
    let rows = asking.rows(heard)?;
    ensure(rows[0]["t"]["value"]["text"].is_string(), || format!("{rows:?}"))?;
    let broken = "SELECT mm_try_generate('m', 'What is this?', column1, {max_tokens: 4}).error AS e FROM (VALUES ('tests/fixtures/hostile/missing.png'), ('tests/fixtures/vit_pictures/photo_coffee.png'))";
    let rows = asking.rows(broken)?;
    ensure(rows[0]["e"].is_string() && rows[1].get("e").is_none_or(Value::is_null), || format!("{rows:?}"))?;
    // An answer of a schema.
    let schema = "{max_tokens: 60, seed: 5, json_schema: {type: 'object', properties: {paid: {type: 'boolean'}, kind: {enum: ['a', 'b']}}, required: ['paid', 'kind'], additionalProperties: false}}";
    let rows = asking.rows(&format!("SELECT mm_generate('m', 'Is it paid?', {schema}) AS t"))?;
    let answer: Value = serde_json::from_str(rows[0]["t"].as_str().unwrap_or_default())?;
    ensure(answer["paid"].is_boolean() && (answer["kind"] == "a" || answer["kind"] == "b"), || answer.to_string())?;
    // Vectors, with a text that is too long among them.
    let create = asking.create(", task = 'embedding'").replace("MODEL m", "MODEL e");
    asking.rows(&create)?;
    let rows = asking.rows("SELECT arrow_typeof(mm_embed('e', 'a')) AS t, mm_similarity(mm_embed('e', 'The invoice'), mm_embed('e', 'The ' || 'invoice')) AS s")?;
    ensure(rows[0]["t"].as_str().is_some_and(|kind| kind.starts_with("FixedSizeList(32")) && rows[0]["s"].as_f64() > Some(0.9999), || {
        format!("{rows:?}")
    })?;
    let long = "SET mm.on_error = 'null'; SELECT count(mm_embed('e', CASE WHEN value = 7 THEN repeat('invoice ', 400) ELSE 'note ' || value END)) AS n FROM generate_series(1, 100)";
    ensure(asking.rows(long)?[0]["n"] == 99, || "one text takes others with it".into())?;
    // The key is looked at.
    let output = asking.command("SELECT mm_generate('m', 'fine')").env("SENSORIUM_TEST_KEY", "another").output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(error.contains("answered 401") && error.contains("SENSORIUM_TEST_KEY"), || error.clone())
}
