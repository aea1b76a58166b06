//! The inference operator at work: equal rows, cancelling, memory, what EXPLAIN ANALYZE shows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use futures::StreamExt;
use libtest_mimic::Failed;

use crate::support::{Fresh, cached, ensure, path_in, root, wait};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("cancelled_queries_leave_nothing", cancelled),
    ("equal_rows_share_a_run", equal_rows),
    ("explain_analyze_counts", explain_analyze),
    ("failures_of_equal_rows_are_all_listed", equal_failures),
    ("memory_stays_within_its_limit", memory),
    ("results_outlive_the_session", results_on_disk),
    ("texts_are_written_beside_failed_ones", written_beside_failed),
    ("texts_are_written_within_memory", written_within_memory),
    ("two_queries_share_one_model", two_queries),
    ("written_texts_are_cancelled", written_cancelled),
];

/// `rows` texts, of which `different` are different.
fn texts(rows: usize, different: usize) -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("minilm", &cached("models/minilm"))])?;
    let column: StringArray = (0..rows).map(|row| Some(format!("note {} of a customer", row * 7 % different))).collect();
    let ids: arrow::array::Int64Array = (0..rows as i64).collect();
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("note", Arc::new(column) as _)])?;
    fresh.session.context().register_batch("notes", batch)?;
    Ok(fresh)
}

fn seen(fresh: &Fresh) -> u64 {
    fresh.session.progress().iter().map(|progress| progress.rows).sum()
}

/// Over windows, over both sides of a UNION that run at once, and over statements.
fn equal_rows() -> Outcome {
    let fresh = texts(3_000, 40)?;
    fresh.rows("SET mm.window_rows = 256")?;
    let rows = fresh.rows("SELECT id, mm_embed('minilm', note) AS e FROM notes ORDER BY id")?;
    ensure(seen(&fresh) == 40, || format!("{} rows through the model for 40 different ones", seen(&fresh)))?;
    fresh.rows("SELECT mm_embed('minilm', note) FROM notes UNION ALL SELECT mm_embed('minilm', upper(note)) FROM notes UNION ALL SELECT mm_embed('minilm', upper(note)) FROM notes")?;
    ensure(seen(&fresh) == 80, || format!("{} rows through the model for 80 different ones", seen(&fresh)))?;
    let both = fresh.rows(
        "WITH c AS (SELECT id, mm_embed('minilm', lower(note)) AS e FROM notes) SELECT x.id FROM c x JOIN c y ON x.id = y.id AND x.e = y.e",
    )?;
    ensure(both.num_rows() == 3_000 && seen(&fresh) == 80, || format!("{} rows, {} through the model", both.num_rows(), seen(&fresh)))?;
    fresh.rows("SET mm.distinct = 'never'")?;
    let alone = fresh.rows("SELECT id, mm_embed('minilm', note) AS e FROM notes WHERE id < 100 ORDER BY id")?;
    ensure(seen(&fresh) == 180, || "mm.distinct = 'never' has no effect".into())?;
    for row in 0..100 {
        let (one, other) = (rows.column(1).as_fixed_size_list().value(row), alone.column(1).as_fixed_size_list().value(row));
        let pairs = crate::support::numbers(&one)?.into_iter().zip(crate::support::numbers(&other)?);
        let cosine: f64 = pairs.map(|(left, right)| left * right).sum();
        ensure(cosine > 0.99999, || format!("row {row}: cosine {cosine}"))?;
    }
    Ok(())
}

fn equal_failures() -> Outcome {
    let fresh = texts(300, 10)?;
    fresh.rows("SET mm.on_error = 'null'")?;
    fresh.rows("SET mm.max_text_bytes = 30")?;
    let query = "SELECT mm_embed('minilm', CASE WHEN id % 10 = 0 THEN repeat(note, 3) ELSE note END) AS e FROM notes";
    let rows = fresh.rows(query)?;
    ensure(rows.column(0).null_count() == 30, || format!("{} rows failed", rows.column(0).null_count()))?;
    let listed = fresh.rows("SELECT count(DISTINCT row), count(*) FROM mm_errors()")?;
    let count = |column: usize| listed.column(column).as_primitive::<arrow::datatypes::Int64Type>().value(0);
    ensure((count(0), count(1)) == (30, 30), || format!("{} rows listed", count(0)))?;
    // What failed is not kept: with another limit the same rows are fine.
    fresh.rows("SET mm.max_text_bytes = 3000")?;
    ensure(fresh.rows(query)?.column(0).null_count() == 0, || "a failure was kept".into())
}

fn explain_analyze() -> Outcome {
    let fresh = texts(500, 20)?;
    fresh.rows("SET mm.window_rows = 256")?;
    let plan = fresh.rows("EXPLAIN ANALYZE SELECT CASE WHEN id < 400 THEN mm_embed('minilm', note) END FROM notes")?;
    let text = plan.column(1).as_string::<i32>().value(0);
    let line = text.lines().find(|line| line.contains("InferExec")).ok_or_else(|| format!("no InferExec: {text}"))?;
    // Two windows, each of which has all 20 texts.
    let parts = [
        "guard: (id@0 < 400)",
        "input_rows=400",
        "guarded_rows=100",
        "distinct_rows=40",
        "cache_hits=20",
        "model_rows=20",
        "padding_ratio=",
    ];
    parts.iter().try_for_each(|part| ensure(line.contains(part), || format!("no '{part}' in: {line}")))
}

/// Threads and open files of this process.
fn held() -> Result<(usize, usize), Failed> {
    Ok((std::fs::read_dir("/proc/self/task")?.count(), std::fs::read_dir("/proc/self/fd")?.count()))
}

/// Streams are dropped at some moment: graphs are quiet within 100 ms, and nothing is left behind.
fn cancelled() -> Outcome {
    const TIMES: u64 = 200;
    let fresh = texts(20_000, 20_000)?;
    fresh.rows("SET mm.cache_bytes = 0")?;
    fresh.rows("SELECT mm_embed('minilm', note) FROM notes LIMIT 3")?;
    let pool = Arc::clone(&fresh.session.context().runtime_env().memory_pool);
    let is_running = || fresh.session.progress().iter().any(|progress| progress.running > 0);
    let (mut before, mut late) = (None, 0);
    for time in 0..TIMES {
        wait(async {
            let frame = fresh.session.sql("SELECT mm_embed('minilm', note) FROM notes").await.map_err(|error| error.to_string())?;
            let mut stream = frame.execute_stream().await.map_err(|error| error.to_string())?;
            // From before the first batch to behind some.
            let _ = tokio::time::timeout(Duration::from_millis(time * 13 % 70), stream.next()).await;
            Ok::<_, String>(())
        })?;
        let stopped = Instant::now();
        while is_running() {
            ensure(stopped.elapsed() < Duration::from_secs(1), || format!("a graph runs {:?} after its query", stopped.elapsed()))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        late += u64::from(stopped.elapsed() > Duration::from_millis(100));
        // What was between two graphs looks whether it is wanted at its next step.
        while pool.reserved() > 0 {
            ensure(stopped.elapsed() < Duration::from_secs(10), || format!("{} bytes are still reserved", pool.reserved()))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        if time == 20 {
            before = Some(held()?);
        }
    }
    // Other tests keep the cores busy, so that one in a hundred may take longer.
    ensure(late <= TIMES / 100, || format!("{late} of {TIMES} queries ran on for more than 100 ms"))?;
    let (before, after) = (before.ok_or("no figures")?, held()?);
    // Other tests run beside this one; a thread or file for each query would still be seen.
    let fewer = |before: usize, after: usize| after < before + TIMES as usize / 2;
    ensure(fewer(before.0, after.0) && fewer(before.1, after.1), || format!("threads and files: {before:?}, then {after:?}"))?;
    let rows = fresh.rows("SELECT mm_embed('minilm', note) FROM notes LIMIT 300")?;
    ensure(rows.num_rows() == 300 && rows.column(0).null_count() == 0, || "the next query is wrong".into())
}

/// Prompts of several lengths, of which `rows` are different.
fn prompts(rows: usize) -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("gpt2", "tests/fixtures/text/gpt2")])?;
    fresh.rows("SET mm.cache_bytes = 0")?;
    let column: StringArray = (0..rows).map(|row| Some(format!("{} of note {row}", "The invoice ".repeat(row % 7)))).collect();
    fresh.session.context().register_batch("notes", RecordBatch::try_from_iter([("note", Arc::new(column) as _)])?)?;
    Ok(fresh)
}

/// Caches of few rows fit at once: the others wait, two queries for each other too, and their texts are the same.
fn written_within_memory() -> Outcome {
    let fresh = prompts(60)?;
    let query = "SELECT note, mm_generate('gpt2', note, {max_tokens: 40}) AS text FROM notes ORDER BY note";
    let expected = fresh.rows(query)?;
    for bytes in [140_000, 300_000] {
        fresh.rows(&format!("SET mm.kv_cache_bytes = {bytes}"))?;
        ensure(fresh.rows(query)? == expected, || format!("other texts within {bytes} bytes"))?;
        let both = format!("SELECT count(*) FROM ({query}) AS one JOIN ({}) AS other ON one.note = other.note", query.replace("40", "39"));
        let counted = fresh.column(&both)?;
        ensure(counted.as_primitive::<arrow::datatypes::Int64Type>().value(0) == 60, || "rows were lost".into())?;
    }
    Ok(())
}

/// Prompts that the graph fails on take no others with them, whoever reads them first; rows that have ended neither.
fn written_beside_failed() -> Outcome {
    let folder = tempfile::TempDir::new_in(root().join("tests"))?;
    for entry in std::fs::read_dir("tests/fixtures/text/gpt2")? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    let config = std::fs::read_to_string(folder.path().join("config.json"))?;
    // The graph knows 128 places.
    std::fs::write(folder.path().join("config.json"), config.replace("\"n_positions\": 128", "\"n_positions\": 4096"))?;
    let fresh = Fresh::with_models(&[("gpt2", &path_in(&folder, "")), ("true", "tests/fixtures/text/gpt2")])?;
    fresh.rows("SET mm.cache_bytes = 0")?;
    let notes = "SELECT value AS id, CASE WHEN value < 6 THEN repeat('The invoice ', 100 + value) ELSE 'note ' || value END AS note FROM generate_series(40)";
    let failed = "SELECT count(t.error), count(t.value) FROM (SELECT mm_try_generate('gpt2', note, {max_tokens: 4}) AS t FROM notes)";
    fresh.rows(&format!("CREATE VIEW notes AS {notes}"))?;
    let counted = fresh.rows(failed)?;
    let count = |column: usize| counted.column(column).as_primitive::<arrow::datatypes::Int64Type>().value(0);
    ensure((count(0), count(1)) == (6, 35), || format!("{} failed, {} were written", count(0), count(1)))?;
    // One ends where its places do, while the others go on.
    let ends = "SELECT mm_generate('true', CASE id WHEN 9 THEN repeat('The invoice ', 60) ELSE note END, {max_tokens: 40}) AS text FROM notes WHERE id > 8 ORDER BY id";
    let together = fresh.rows(ends)?;
    fresh.rows("SET mm.batch_rows = 1")?;
    ensure(fresh.rows(ends)? == together, || "other texts one by one".into())
}

/// A text that nobody wants any more is not written to its end.
fn written_cancelled() -> Outcome {
    const TIMES: u64 = 40;
    let fresh = prompts(20_000)?;
    let pool = Arc::clone(&fresh.session.context().runtime_env().memory_pool);
    let rows = || fresh.session.progress().iter().map(|progress| progress.rows).sum::<u64>();
    let mut late = 0;
    for time in 0..TIMES {
        wait(async {
            let query = "SELECT mm_generate('gpt2', note, {max_tokens: 60}) FROM notes";
            let frame = fresh.session.sql(query).await.map_err(|error| error.to_string())?;
            let mut stream = frame.execute_stream().await.map_err(|error| error.to_string())?;
            let _ = tokio::time::timeout(Duration::from_millis(20 + time * 13 % 150), stream.next()).await;
            Ok::<_, String>(())
        })?;
        let stopped = Instant::now();
        while pool.reserved() > 0 {
            ensure(stopped.elapsed() < Duration::from_secs(10), || format!("{} bytes are still reserved", pool.reserved()))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        late += u64::from(stopped.elapsed() > Duration::from_millis(100));
    }
    // Other tests keep the cores busy.
    ensure(late <= TIMES / 10, || format!("{late} of {TIMES} queries ran on for more than 100 ms"))?;
    let before = rows();
    std::thread::sleep(Duration::from_millis(300));
    ensure(rows() == before && before < 20_000 * TIMES / 2, || format!("{} rows were written, then {}", before, rows()))?;
    let texts = fresh.column("SELECT mm_generate('gpt2', note, {max_tokens: 3}) FROM notes LIMIT 100")?;
    ensure(texts.len() == 100 && texts.null_count() == 0, || "the next query is wrong".into())
}

/// Another session finds the results of the first by the content of texts and pictures, and by the model's own.
fn results_on_disk() -> Outcome {
    let (results, pictures) = (tempfile::TempDir::new()?, tempfile::TempDir::new()?);
    let place = |name: &str| pictures.path().join(name).to_string_lossy().into_owned();
    for (index, name) in ["photo_coffee.jpg", "photo_clock_motion.jpg"].iter().enumerate() {
        std::fs::copy(format!("tests/fixtures/pictures/{name}"), place(&format!("{index}.jpg")))?;
    }
    let (text, photo) = (
        "SELECT id, mm_embed('minilm', note) AS e FROM notes ORDER BY id".to_string(),
        format!("SELECT mm_predict('effnet', uri).label AS l FROM (VALUES ('{}'), ('{}')) AS t(uri)", place("0.jpg"), place("1.jpg")),
    );
    let open = || -> Result<Fresh, Failed> {
        let fresh = texts(300, 300)?;
        fresh.rows(&format!("CREATE MODEL effnet FROM '{}'", cached("models/efficientnet-lite0")))?;
        fresh.rows(&format!("SET mm.cache_path = '{}'", results.path().display()))?;
        fresh.rows(&format!("SET mm.allowed_roots = '{}'", pictures.path().display()))?;
        Ok(fresh)
    };
    let first = open()?;
    let (vectors, labels) = (first.rows(&text)?, first.rows(&photo)?);
    ensure(seen(&first) == 302, || format!("{} rows through the models at first", seen(&first)))?;
    let second = open()?;
    ensure(second.rows(&text)? == vectors && second.rows(&photo)? == labels, || "other results from disk".into())?;
    ensure(seen(&second) == 0, || format!("{} rows through the models for results on disk", seen(&second)))?;
    // The same name with another picture behind it.
    std::fs::copy("tests/fixtures/pictures/photo_clock_motion.jpg", place("0.jpg"))?;
    ensure(open()?.rows(&photo)? != labels, || "the picture's old result".into())?;
    second.rows("SET mm.cache_disk_bytes = 1000")?;
    second.rows("SELECT mm_embed('minilm', upper(note)) FROM notes")?;
    second.rows("SET mm.cache_path = '/proc/no such folder'")?;
    let error = second.error(&text)?;
    ensure(error.contains("mm.cache_path"), || error)
}

/// The model is loaded once, and both get their own answers.
fn two_queries() -> Outcome {
    let fresh = texts(2_000, 2_000)?;
    fresh.rows("SET mm.cache_bytes = 0")?;
    let count = |rows: &str| format!("SELECT count(e) AS n FROM (SELECT mm_embed('minilm', note) AS e FROM notes WHERE {rows})");
    let run = |sql: String| {
        let session = fresh.session.clone();
        async move { session.sql(&sql).await?.collect().await }
    };
    let (one, other) = wait(async { futures::join!(run(count("id < 700")), run(count("id >= 700"))) });
    let number = |batches: Vec<RecordBatch>| batches[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0);
    let counts = (number(one?), number(other?));
    ensure(counts == (700, 1_300), || format!("{counts:?} rows"))?;
    let progress = fresh.session.progress();
    ensure(progress.len() == 1 && progress[0].rows == 2_000, || format!("{progress:?}"))
}

/// 100 MB of texts pass an operator that may hold 8 MB; a row that does not fit is the pool's own error.
fn memory() -> Outcome {
    let fresh = texts(1_000, 1_000)?;
    fresh.rows("SET datafusion.runtime.memory_limit = '8M'")?;
    fresh.rows("SET mm.distinct = 'never'")?;
    fresh.rows("CREATE MODEL count FROM 'tests/fixtures/tiny/text_length.onnx' OPTIONS (task = 'regression')")?;
    let query = "SELECT sum(mm_predict('count', repeat(note, 4000))) AS n FROM notes";
    let rows = fresh.rows(query)?;
    ensure(rows.num_rows() == 1, || "no answer".into())?;
    fresh.rows("SET datafusion.execution.batch_size = 1000")?;
    fresh.rows("SET datafusion.runtime.memory_limit = '1K'")?;
    let error = fresh.error("SELECT id, mm_predict('count', big) FROM (SELECT id, repeat(note, 4000) AS big FROM notes)")?;
    ensure(error.contains("InferExec"), || error)
}
