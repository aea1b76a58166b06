//! Answers that are bad, late or endless; limits; keys.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;

use super::scripted::Server;
use super::{Asking, KEY};
use crate::Outcome;
use crate::support::{Fresh, ensure, fresh, wait};

/// Prompts with their answers, or a part of what is said of them.
const ROWS: [(&str, Result<&str, &str>); 20] = [
    ("array", Err("answered 400: as Gemini says it")),
    ("broken once", Ok("re: broken once")),
    ("broken", Err("answered 503: down")),
    ("busy", Ok("re: busy")),
    ("cut", Err("no answer from 127.0.0.1")),
    ("cut short", Ok("so far")),
    ("drip", Err("within 1500 ms")),
    ("echo", Err("answered 400: what is Bearer ***?")),
    ("elsewhere", Err("answered 307")),
    ("filtered", Err("content_filter")),
    ("fine", Ok("re: fine")),
    ("gone", Err("no answer from 127.0.0.1")),
    ("half", Err("no JSON")),
    ("hang", Err("within 1500 ms")),
    ("huge", Err("more than 1000000 bytes")),
    ("none", Err("no content")),
    ("page", Err("no JSON")),
    ("parts", Ok("in parts")),
    ("strange", Err("no choices")),
    ("fine", Ok("re: fine")),
];

const LIMITS: &str = "SET mm.endpoint_timeout_ms = 1500; SET mm.endpoint_retries = 2; SET mm.max_response_bytes = 1000000;";

fn values() -> String {
    let rows = ROWS.iter().enumerate().map(|(id, (prompt, _))| format!("({id}, '{prompt}')"));
    rows.collect::<Vec<_>>().join(", ")
}

pub(super) fn bad_answers() -> Outcome {
    let server = Server::start()?;
    let asking = Asking::new(server.port)?;
    asking.rows(&asking.create(", max_concurrency = 8"))?;
    let query = format!(
        "{LIMITS} SELECT column1 AS id, mm_try_generate('m', column2, {{max_tokens: 5}}) AS t FROM (VALUES {}) ORDER BY id",
        values()
    );
    for (row, (prompt, expected)) in asking.rows(&query)?.iter().zip(ROWS) {
        let (value, error) = (&row["t"]["value"], row["t"]["error"].as_str().unwrap_or_default());
        match expected {
            Ok(text) => {
                let reason = if prompt == "cut short" { "length" } else { "stop" };
                let is_right = value["text"] == text && value["finish_reason"] == reason && value["tokens"] == 5;
                ensure(is_right, || format!("{prompt}: {row}"))?;
            }
            Err(part) => ensure(value.is_null() && error.contains(part), || format!("{prompt}: {row}"))?,
        }
    }
    // Equal rows are one request; what may pass was tried three times, what may not, once.
    let times = |prompt: &str| server.times(prompt);
    let (once, thrice): (&[&str], &[&str]) =
        (&["fine", "echo", "huge", "strange", "elsewhere"], &["broken", "gone", "half", "hang", "cut"]);
    ensure(once.iter().all(|prompt| times(prompt) == 1), || format!("{:?}", once.map_times(&server)))?;
    ensure(thrice.iter().all(|prompt| times(prompt) == 3), || format!("{:?}", thrice.map_times(&server)))?;
    ensure(times("busy") == 2 && times("broken once") == 2, || "tried again too often".into())?;
    let asked = server.seen(|seen| seen.asked.iter().filter(|(prompt, _)| prompt == "busy").map(|(_, at)| *at).collect::<Vec<_>>());
    ensure(asked[1] - asked[0] >= Duration::from_millis(950), || "Retry-After was not waited for".into())?;
    // By mm.on_error: NULL and a row of the ledger, or the whole query.
    let nulls = format!(
        "{LIMITS} SET mm.on_error = 'null'; SELECT count(*) AS all, count(mm_generate('m', column2)) AS answered FROM (VALUES {})",
        values()
    );
    let row = asking.rows(&nulls)?;
    ensure(row[0]["all"] == 20 && row[0]["answered"] == 6, || format!("{row:?}"))?;
    let error = asking.error("SELECT mm_generate('m', column1) FROM (VALUES ('fine'), ('strange'))")?;
    ensure(error.contains("no choices") && error.contains("row"), || error.clone())?;
    // A key or quota that is refused is not asked with for each row.
    for refusal in ["quota", "for ever"] {
        let asked = server.seen(|seen| seen.asked.len());
        let prompt = format!("CASE WHEN value < 1 THEN '{refusal}' ELSE 'after {refusal} ' || value END");
        asking.rows(&format!("SET mm.on_error = 'null'; SELECT count(mm_generate('m', {prompt})) AS n FROM generate_series(400)"))?;
        let asked = server.seen(|seen| seen.asked.len()) - asked;
        ensure(asked < 100, || format!("{asked} requests behind '{refusal}'"))?;
    }
    // A failure that ends the query ends the sending, and rows that were not asked about are asked about later.
    let kept = format!("SET mm.cache_path = '{}';", asking.models().join("kept").display());
    let asked = server.seen(|seen| seen.asked.len());
    let prompt = "CASE WHEN value = 0 THEN 'strange' ELSE 'then ' || value END";
    asking.error(&format!("{kept} SELECT mm_generate('m', {prompt}) FROM generate_series(3000)"))?;
    let asked = server.seen(|seen| seen.asked.len()) - asked;
    ensure(asked < 600, || format!("{asked} requests behind a failure"))?;
    let later = format!("{kept} SELECT count(mm_generate('m', 'then ' || value)) AS n FROM generate_series(1, 300)");
    ensure(asking.rows(&later)?[0]["n"] == 300, || "rows are NULL that were not asked about".into())?;
    // Keys come in any order; a refusal and an error within an answer are errors.
    let rows =
        asking.rows("SELECT mm_try_generate('m', column1).error AS e FROM (VALUES ('refused'), ('error in answer'), ('thought'))")?;
    let expected = ["refused to answer: no: Bearer ***", "an error: overloaded", "written nothing"];
    let is_told = rows.iter().zip(expected).all(|(row, part)| row["e"].as_str().is_some_and(|error| error.contains(part)));
    ensure(is_told, || format!("{rows:?}"))?;
    // A schema is asked for, and checked.
    let schema = "{json_schema: '{\"type\": \"object\", \"properties\": {\"kind\": {\"type\": \"string\"}, \"paid\": {\"type\": \"boolean\"}}, \"required\": [\"paid\"]}'}";
    let rows = asking.rows(&format!("SELECT mm_try_generate('m', column1, {schema}) AS t FROM (VALUES ('right'), ('wrong'))"))?;
    let is_right = rows[0]["t"]["value"]["text"] == "{\"paid\":  true, \"kind\": \"a\"}"
        && rows[1]["t"]["error"].as_str().is_some_and(|error| error.contains("not of json_schema"));
    ensure(is_right, || format!("{rows:?}"))?;
    let body = server.seen(|seen| seen.bodies.last().cloned()).unwrap_or_default();
    ensure(body["response_format"]["json_schema"]["schema"]["required"][0] == "paid", || body.to_string())?;
    // Frames of a video stand in its place, as pictures.
    let (picture, video) = ("'tests/fixtures/vit_pictures/photo_coffee.png'", "'tests/fixtures/videos/baseline.mp4'");
    asking.rows(&format!(
        "SELECT mm_generate('m', {{prompt: 'before <video>then <image>', image: {picture}, video: {video}}}, {{frames: 3}})"
    ))?;
    let body = server.seen(|seen| seen.bodies.last().cloned()).unwrap_or_default();
    let parts = body["messages"][0]["content"].as_array().cloned().unwrap_or_default();
    let is_of = |part: &Value, kind: &str| {
        part["image_url"]["url"].as_str().is_some_and(|url| url.starts_with(&format!("data:image/{kind};base64,")))
    };
    let are_frames = parts.len() == 6 && parts[1..4].iter().all(|part| is_of(part, "jpeg")) && parts[1] != parts[3];
    let is_right = are_frames && parts[0]["text"] == "before " && parts[4]["text"] == "then " && is_of(&parts[5], "png");
    ensure(is_right && body.get("frames").is_none(), || format!("{:.2000}", body.to_string()))?;
    // In conversations too: where a message mentions them, else in the last one of the user.
    let videos = "['tests/fixtures/videos/short.gif', 'tests/fixtures/videos/moving.gif']";
    let messages =
        "[{role: 'user', content: '<video>and <video>'}, {role: 'assistant', content: 'A cat.'}, {role: 'user', content: 'And this?'}]";
    asking.rows(&format!("SELECT mm_generate('m', {{prompt: {messages}, image: {picture}, video: {videos}}}, {{frames: 2}})"))?;
    let body = server.seen(|seen| seen.bodies.last().cloned()).unwrap_or_default();
    let kinds = |message: usize| -> Vec<String> {
        let parts = body["messages"][message]["content"].as_array().into_iter().flatten();
        parts
            .map(|part| part["text"].as_str().map_or_else(|| part["image_url"]["url"].as_str().unwrap_or("")[..16].into(), str::to_string))
            .collect()
    };
    let frame = "data:image/jpeg;";
    ensure(kinds(0) == [frame, frame, "and ", frame, frame] && body["messages"][1]["content"] == "A cat.", || format!("{:?}", kinds(0)))?;
    ensure(kinds(2) == ["data:image/png;b", "And this?"], || format!("{:?}", kinds(2)))?;
    let parts = "[{role: 'user', content: [{type: 'text', text: 'Which? <image>'}, {type: 'video', text: NULL}]}]";
    asking.rows(&format!("SELECT mm_generate('m', {{prompt: {parts}, image: {picture}, video: {video}}}, {{frames: 1}})"))?;
    let body = server.seen(|seen| seen.bodies.last().cloned()).unwrap_or_default();
    let parts = &body["messages"][0]["content"];
    let is_right = parts[0]["text"] == "Which? " && is_of(&parts[1], "png") && is_of(&parts[2], "jpeg") && parts[3].is_null();
    ensure(is_right, || format!("{:.2000}", body.to_string()))?;
    let error = asking.rows(&format!("SELECT mm_try_generate('m', {{prompt: '<video>', video: {video}}}, {{frames: 65}}).error AS e"))?;
    ensure(
        error[0]["e"].as_str().is_some_and(|error| error.contains("65 pictures, frames of videos among them, are over the limit of 64")),
        || format!("{error:?}"),
    )
}

trait Times {
    fn map_times(&self, server: &Server) -> Vec<(String, usize)>;
}

impl Times for [&str] {
    fn map_times(&self, server: &Server) -> Vec<(String, usize)> {
        self.iter().map(|prompt| ((*prompt).to_string(), server.times(prompt))).collect()
    }
}

pub(super) fn limits() -> Outcome {
    let server = Server::start()?;
    let asking = Asking::new(server.port)?;
    asking.rows(&asking.create(", max_concurrency = 3"))?;
    let query = "SELECT count(mm_generate('m', 'row ' || value)) AS n FROM generate_series(1, 40)";
    let rows = asking.rows(query)?;
    let most = server.seen(|seen| seen.most_at_once);
    // A request that is larger than all the room goes alone.
    let narrow = Server::start()?;
    let squeezed = Asking::new(narrow.port)?;
    let rows_of = |bytes: usize| -> Outcome {
        let create = squeezed.create(", max_concurrency = 8");
        let rows = squeezed.rows(&format!("SET mm.endpoint_bytes = {bytes}; SET mm.cache_bytes = 0; {create} {query}"))?;
        ensure(rows.last().is_some_and(|row| row["n"] == 40), || format!("{bytes} bytes: {rows:?}"))
    };
    rows_of(1)?;
    ensure(narrow.seen(|seen| seen.most_at_once) == 1, || "more under way than there is room for".into())?;
    rows_of(1 << 20)?;
    ensure(narrow.seen(|seen| seen.most_at_once) > 1, || "one by one with room enough".into())?;
    // What is told to one statement is told to the next.
    asking.rows(&asking.create(", max_concurrency = 1, requests_per_minute = 60").replace("MODEL m", "MODEL slow"))?;
    let start = Instant::now();
    asking.rows("SELECT mm_generate('slow', 'a'); SELECT mm_generate('slow', 'b'); SELECT mm_generate('slow', 'c'); SELECT mm_generate('slow', 'd')")?;
    ensure(start.elapsed() >= Duration::from_secs(3), || format!("4 statements within {:?}", start.elapsed()))?;
    ensure(rows[0]["n"] == 40 && (2..=3).contains(&most), || format!("{rows:?}, {most} at once"))?;
    // One each half second.
    asking.rows(&asking.create(", max_concurrency = 2, requests_per_minute = 120, input_dollars = 1.0, output_dollars = 4.0"))?;
    let start = Instant::now();
    let plan =
        asking.rows("EXPLAIN ANALYZE SELECT mm_generate('m', 'slow ' || value, {max_tokens: 7, seed: 3}) FROM generate_series(1, 7)")?;
    ensure(start.elapsed() >= Duration::from_secs(2), || format!("7 requests within {:?}", start.elapsed()))?;
    // 10 tokens at a dollar and 5 at four for a million.
    let plan = plan.iter().map(Value::to_string).collect::<String>();
    ensure(["requests=7", "cost_microdollars=210", "generated_tokens=35"].iter().all(|figure| plan.contains(figure)), || plan.clone())?;
    let body = server.seen(|seen| seen.bodies.last().cloned()).unwrap_or_default();
    let expected = serde_json::json!({"model": "llama", "messages": [{"role": "user", "content": "slow 7"}], "max_tokens": 7, "seed": 3});
    let last = server.seen(|seen| seen.bodies.contains(&expected));
    ensure(last, || body.to_string())
}

/// No log, plan or file has the key.
pub(super) fn untold() -> Outcome {
    let server = Server::start()?;
    let asking = Asking::new(server.port)?;
    asking.rows(&asking.create(""))?;
    let statements = [
        "DESCRIBE MODEL m",
        "SELECT * FROM mm_models()",
        "EXPLAIN VERBOSE SELECT mm_generate('m', 'fine')",
        "EXPLAIN ANALYZE SELECT mm_generate('m', column1) FROM (VALUES ('fine'), ('well'))",
        "SET mm.on_error = 'null'; SELECT mm_generate('m', 'echo' || value) FROM generate_series(0)",
        "SET mm.on_error = 'null'; SELECT mm_generate('m', column1) FROM (VALUES ('echo')); SELECT * FROM mm_errors()",
        "SELECT mm_receipt('m', column1) FROM (VALUES ('fine'))",
    ];
    for statement in statements {
        asking.rows(statement)?;
    }
    for level in ["trace", "debug"] {
        let mut command = asking.command("SELECT mm_generate('m', column1) FROM (VALUES ('fine'), ('gone'), ('echo'))");
        super::told_nothing(&command.env("RUST_LOG", level).env("RUST_BACKTRACE", "full").output()?)?;
    }
    search(asking.models())?;
    let error = asking.error("SELECT mm_generate('m', 'echo')")?;
    ensure(error.contains("***"), || error.clone())
}

fn search(folder: &Path) -> Outcome {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path)?;
        } else {
            let bytes = std::fs::read(&path)?;
            ensure(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), || format!("the key is in {}", path.display()))?;
        }
    }
    Ok(())
}

pub(super) fn refused() -> Outcome {
    let server = Server::start()?;
    let asking = Asking::new(server.port)?;
    let host = &asking.host;
    asking.rows(&asking.create(""))?;
    let asked = server.seen(|seen| seen.asked.len());
    let cases = [
        ("SET mm.allowed_hosts = ''; EXPLAIN SELECT mm_generate('m', 'fine')".to_string(), "does not allow requests to 127.0.0.1"),
        ("SET mm.allowed_hosts = '127.0.0.1:1'; EXPLAIN SELECT mm_generate('m', 'fine')".into(), "SET mm.allowed_hosts = '127.0.0.1'"),
        (format!("CREATE MODEL n FROM 'openai+http://user:pass@{host}/v1' OPTIONS (model = 'x')"), "do not belong into an address"),
        (format!("CREATE MODEL n FROM 'openai+http://{host}/v1?key=abc' OPTIONS (model = 'x')"), "do not belong into an address"),
        (format!("CREATE MODEL n FROM 'openai+http://{host}/v1'"), "which model of the endpoint is meant"),
        (
            format!("CREATE MODEL n FROM 'openai+http://{host}/v1' OPTIONS (model = 'x', max_concurency = 2)"),
            "did you mean 'max_concurrency'?",
        ),
        (format!("CREATE MODEL n FROM 'openai+http://{host}/v1' OPTIONS (model = 'x', max_concurrency = 0)"), "from 1 to 4096"),
        ("EXPORT MODEL m TO '/tmp/nowhere'".into(), "it runs at an endpoint"),
        (
            format!("CREATE MODEL n FROM 'openai+http://{host}/v1' OPTIONS (model = 'x', key_env = 'gsk_12')"),
            "not the name of an environment variable",
        ),
        (
            format!("CREATE MODEL n FROM 'openai+http://{host}/v1' OPTIONS (model = 'x', key_env = 'sk-12 34')"),
            "not the name of an environment variable",
        ),
        (
            format!("CREATE MODEL n FROM 'openai+http://{host}/v1' OPTIONS (model = 'x', key_env = 'SENSORIUM_NO_SUCH_KEY')"),
            "SENSORIUM_NO_SUCH_KEY is not set",
        ),
        ("CREATE MODEL n FROM 'openai+http://example.com/v1' OPTIONS (model = 'x', key_env = 'SENSORIUM_TEST_KEY')".into(), "in the clear"),
        ("CREATE MODEL n FROM 'openai+ftp://example.com/v1' OPTIONS (model = 'x')".into(), "neither http nor https"),
        ("SELECT mm_generate('m', 'fine', {beams: 3})".into(), "option of no model at an endpoint: beams"),
        ("SELECT mm_generate('m', 'fine', {top_p: 7})".into(), "top_p"),
        ("SELECT mm_prompt('m', 'fine')".into(), "the endpoint's affair"),
        ("SELECT mm_embed('m', 'fine')".into(), "gives no embedding"),
    ];
    for (sql, expected) in cases {
        let error = asking.error(&sql)?;
        ensure(error.contains(expected), || format!("{sql}: {error}"))?;
    }
    ensure(server.seen(|seen| seen.asked.len()) == asked, || "something was asked".into())
}

/// Who does not want an answer any more does not wait for it.
pub(super) fn cancelled() -> Outcome {
    const TIMES: usize = 10;
    let server = Server::start()?;
    let Fresh { session, .. } = &fresh();
    let host = format!("127.0.0.1:{}", server.port);
    let run = |sql: String| wait(async { session.sql(&sql).await?.collect().await });
    run(format!("SET mm.allowed_hosts = '{host}'"))?;
    run(format!("CREATE MODEL m FROM 'openai+http://{host}/v1' OPTIONS (model = 'llama')"))?;
    let mut late = 0;
    for time in 0..TIMES {
        let stopped = wait(async {
            let query = format!(
                "SELECT mm_generate('m', CASE WHEN value % 2 = 0 THEN 'hang' ELSE 'row {time} ' || value END) FROM generate_series(3000)"
            );
            let mut stream = session.sql(&query).await?.execute_stream().await?;
            let _ = tokio::time::timeout(Duration::from_millis(60 + 20 * time as u64), stream.next()).await;
            let stopped = Instant::now();
            drop(stream);
            Ok::<_, datafusion::error::DataFusionError>(stopped)
        })?;
        let pool = &session.context().runtime_env().memory_pool;
        while pool.reserved() > 0 {
            ensure(stopped.elapsed() < Duration::from_secs(10), || "a query goes on".into())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        late += usize::from(stopped.elapsed() > Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(200));
    let asked = server.seen(|seen| seen.asked.len());
    std::thread::sleep(Duration::from_millis(300));
    let more = server.seen(|seen| seen.asked.len()) - asked;
    // Other tests keep the cores busy.
    ensure(late <= 1 && more == 0, || format!("{late} were late, {more} requests afterwards"))
}
