//! Where a model call may stand in SQL: the right answers, and no more rows through the model than need it.
//!
//! Each shape is run twice: with calls, and on a table that holds their results already.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use libtest_mimic::Failed;

use crate::support::{Fresh, cached, ensure};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("answers_and_rows", answers_and_rows),
    ("predicates_by_what_was_seen", learned_order),
    ("predicates_seen_behind_partitions", learned_behind_partitions),
    ("predicates_in_written_order", written_order),
    ("statements", statements),
];

/// A call on the result of another, and one on columns of two tables, with what they compute.
const NESTED: [&str; 2] = ["mm_predict('lin', mm_predict('lin', t.a, t.b), t.b)", "arrow_cast(2 * t.lin + 3 * t.b + 1, 'Float32')"];
const BOTH: [&str; 2] = ["mm_predict('lin', t.a, u.b)", "2 * t.a + 3 * u.b + 1"];

const ROWS: i64 = 1_000;

/// `lin` is 2a + 3b + 1, `neg` is -(2a + 3b + 1) by another model, so that their rows are counted apart.
const LIN: &str = "mm_predict('lin', t.a, t.b)";
const NEG: &str = "mm_predict('other', t.a, t.b)";

/// `{lin}` and `{neg}` are calls on the columns of `t`, `{nested}` and `{both}` see above; then the rows that each model sees. `{all}` is the table.
const SHAPES: &[(&str, &str, u64, u64)] = &[
    ("select", "SELECT id, {lin} FROM {all} t", 1_000, 0),
    ("cheap first", "SELECT id FROM {all} t WHERE id < 100 AND {lin} > 5", 100, 0),
    ("cheap last", "SELECT id FROM {all} t WHERE {lin} > 5 AND id < 100", 100, 0),
    ("another under its name", "SELECT id, a, b, p + 1 AS p FROM (SELECT id, a, b, {lin} AS p FROM {all} t)", 1_000, 0),
    ("select, where, order by", "SELECT id, {lin} FROM {all} t WHERE {lin} > 5 ORDER BY {lin}, id LIMIT 20", 1_000, 0),
    ("filter over a subquery", "SELECT id, p FROM (SELECT id, {lin} AS p FROM {all} t) WHERE p > 5 AND id < 50", 50, 0),
    ("limit", "SELECT id, {lin} FROM {all} t LIMIT 7", 7, 0),
    ("limit with offset", "SELECT id, {lin} FROM {all} t LIMIT 7 OFFSET 3", 10, 0),
    ("unused", "SELECT id FROM (SELECT id, {lin} AS p FROM {all} t)", 0, 0),
    ("unused, one of two", "SELECT id, q FROM (SELECT id, {lin} AS p, {neg} AS q FROM {all} t)", 0, 1_000),
    ("count", "SELECT count(*) FROM {all} t WHERE {lin} > 5", 1_000, 0),
    ("count without", "SELECT count(*) FROM (SELECT {lin} FROM {all} t)", 0, 0),
    ("case", "SELECT id, CASE WHEN id < 30 THEN {lin} ELSE 0 END FROM {all} t", 30, 0),
    ("case else", "SELECT id, CASE WHEN id < 30 THEN 0.0 WHEN a = 1 THEN NULL ELSE {lin} END FROM {all} t WHERE id < 60", 26, 0),
    ("case operand", "SELECT id, CASE a WHEN 1 THEN {lin} WHEN 2 THEN {neg} END FROM {all} t WHERE id < 70", 10, 10),
    ("cascade", "SELECT id, CASE WHEN {lin} BETWEEN 5 AND 9 THEN {neg} ELSE {lin} END FROM {all} t", 1_000, 342),
    ("branch and plain", "SELECT id, {lin}, CASE WHEN id < 30 THEN {lin} END FROM {all} t", 1_000, 0),
    ("two branches", "SELECT id, CASE WHEN id < 30 THEN {lin} END, CASE WHEN id > 990 THEN {lin} END FROM {all} t", 39, 0),
    ("or", "SELECT id FROM {all} t WHERE {lin} > 5 OR id < 400", 600, 0),
    ("or in select", "SELECT id, {lin} > 5 OR id < 400 FROM {all} t", 600, 0),
    ("and in select", "SELECT id, {lin} > 5 AND id < 400 FROM {all} t", 400, 0),
    ("coalesce", "SELECT id, coalesce(n, {lin}) FROM {all} t", 500, 0),
    ("coalesce of two", "SELECT id, coalesce({lin} + n, {neg}) FROM {all} t", 1_000, 500),
    ("nullif", "SELECT id, nullif(n, {lin}) FROM {all} t", 500, 0),
    ("nvl", "SELECT id, nvl(n, {lin}) FROM {all} t", 500, 0),
    ("join, one side", "SELECT t.id, u.id FROM {all} t JOIN {all} u ON t.id = u.id AND {lin} > 15 WHERE t.id < 100", 100, 0),
    ("join on a call", "SELECT t.id, u.id FROM {all} t JOIN (VALUES (6.0), (9.0)) AS u(id) ON {lin} = u.id", 1_000, 0),
    ("left join on a call", "SELECT t.id, u.x FROM {all} t LEFT JOIN (VALUES (6.0), (9.0)) AS u(x) ON {lin} = u.x", 1_000, 0),
    ("group by", "SELECT {lin}, count(*), sum(id) FROM {all} t GROUP BY {lin}", 1_000, 0),
    ("group by alias", "SELECT {lin} AS p, avg({neg}) FROM {all} t GROUP BY p HAVING avg({neg}) > -10", 1_000, 1_000),
    ("aggregate", "SELECT sum({lin}), max({lin}), min(id) FROM {all} t", 1_000, 0),
    ("aggregate filter", "SELECT sum({lin}) FILTER (WHERE id < 10), count(*) FROM {all} t", 10, 0),
    ("aggregate filter on a call", "SELECT sum(id) FILTER (WHERE {lin} > 5) FROM {all} t", 1_000, 0),
    ("window", "SELECT id, row_number() OVER (ORDER BY {lin}, id), sum({lin}) OVER (PARTITION BY a ORDER BY id) FROM {all} t", 1_000, 0),
    ("window by a call", "SELECT id, count(*) OVER (PARTITION BY {lin} > 9) FROM {all} t", 1_000, 0),
    ("distinct", "SELECT DISTINCT {lin} FROM {all} t", 1_000, 0),
    ("distinct on", "SELECT DISTINCT ON (a) a, {lin} FROM {all} t ORDER BY a, {lin}", 1_000, 0),
    ("top k of another", "SELECT id, {lin} AS p, {neg} AS q FROM {all} t ORDER BY p DESC, id LIMIT 10", 1_000, 10),
    ("filter by another", "SELECT id, q FROM (SELECT id, {lin} AS p, {neg} AS q FROM {all} t) WHERE p > 15", 1_000, 114),
    ("exists", "SELECT id FROM {all} t WHERE EXISTS (SELECT 1 FROM (VALUES (6.0)) AS u(x) WHERE u.x = {lin})", 1_000, 0),
    ("in subquery", "SELECT id FROM {all} u WHERE id IN (SELECT t.id FROM {all} t WHERE {lin} > 15 AND id < 500)", 500, 0),
    ("scalar subquery", "SELECT id, (SELECT max({lin}) FROM {all} t WHERE id < 100) FROM {all} u WHERE id < 5", 100, 0),
    ("correlated scalar", "SELECT id, (SELECT max({lin}) FROM {all} t WHERE t.id = u.id) AS m FROM {all} u WHERE id < 5", 1_000, 0),
    ("call in a condition with a subquery", "SELECT id FROM {all} t WHERE {lin} > (SELECT avg(id) / 100 FROM {all})", 1_000, 0),
    (
        "view twice",
        "WITH c AS (SELECT id, {lin} AS p FROM {all} t WHERE id < 10) SELECT x.id, x.p, y.p FROM c x JOIN c y ON x.id = y.id",
        10,
        0,
    ),
    ("except", "SELECT id, {lin} FROM {all} t EXCEPT SELECT id, 6.0 FROM {all}", 1_000, 0),
    ("values of a call", "SELECT id FROM {all} t WHERE {lin} IN (6.0, 9.0)", 1_000, 0),
    ("nested arithmetic", "SELECT id, abs({lin} - {neg}) + 1 FROM {all} t WHERE {lin} + {neg} = 0", 1_000, 1_000),
    ("nothing", "SELECT id, {lin} FROM {all} t WHERE false", 0, 0),
    ("nested calls", "SELECT id, {nested} FROM {all} t WHERE id < 20", 40, 0),
    ("nested in a predicate", "SELECT id FROM {all} t WHERE {nested} > 30 AND id < 20", 40, 0),
    ("union all", "SELECT id, {lin} FROM {all} t WHERE id < 10 UNION ALL SELECT id, {neg} FROM {all} t WHERE id > 990", 10, 9),
    (
        "correlated by both sides",
        "SELECT id FROM {all} u WHERE EXISTS (SELECT 1 FROM {all} t WHERE t.id = u.id AND {both} > 15 AND t.id < 40)",
        40,
        0,
    ),
    ("join on both sides", "SELECT t.id FROM {all} t JOIN {all} u ON t.id = u.id AND {both} > 15 WHERE t.id < 40", 40, 0),
    ("safe division", "SELECT id, CASE WHEN a <> 0 THEN CASE WHEN 6 / a > 2 THEN {lin} END END FROM {all} t WHERE id < 70", 20, 0),
];

fn table() -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[])?;
    fresh.rows("CREATE MODEL lin FROM 'tests/fixtures/tiny/affine.onnx' OPTIONS (task = 'regression')")?;
    fresh.rows("CREATE MODEL other FROM 'tests/fixtures/tiny/negative.onnx' OPTIONS (task = 'regression')")?;
    let column = |value: &dyn Fn(i64) -> Option<i64>| -> ArrayRef { Arc::new((0..ROWS).map(value).collect::<Int64Array>()) };
    let columns: [(&str, ArrayRef); 4] = [
        ("id", column(&Some)),
        ("a", column(&|id| Some(id % 7))),
        ("b", column(&|id| Some(id % 5 / 2))),
        ("n", column(&|id| (id % 2 == 0).then_some(id))),
    ];
    fresh.session.context().register_batch("data", RecordBatch::try_from_iter(columns)?)?;
    fresh.rows(&format!("CREATE TABLE done AS SELECT t.*, {LIN} AS lin, {NEG} AS neg FROM data t"))?;
    Ok(fresh)
}

fn seen(fresh: &Fresh, model: &str) -> u64 {
    fresh.session.progress().iter().filter(|progress| progress.model.starts_with(model)).map(|progress| progress.rows).sum()
}

/// The rows of an answer as sorted texts.
fn sorted(batch: &RecordBatch) -> Result<Vec<String>, Failed> {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>()?;
    let row = |row: usize| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    Ok(rows)
}

fn answers_and_rows() -> Outcome {
    let fresh = table()?;
    let mut wrong = Vec::new();
    for (name, shape, lin, neg) in SHAPES {
        let with_calls = shape.replace("{lin}", LIN).replace("{neg}", NEG).replace("{all}", "data");
        let with_calls = with_calls.replace("{nested}", NESTED[0]).replace("{both}", BOTH[0]);
        let without = shape.replace("{lin}", "t.lin").replace("{neg}", "t.neg").replace("{all}", "done");
        let without = without.replace("{nested}", NESTED[1]).replace("{both}", BOTH[1]);
        let before = (seen(&fresh, "lin"), seen(&fresh, "other"));
        let found = fresh.rows(&with_calls).map_err(|error| format!("{name}: {with_calls}: {error:?}"))?;
        let through = (seen(&fresh, "lin") - before.0, seen(&fresh, "other") - before.1);
        let expected = fresh.rows(&without)?;
        if !name.starts_with("limit") && sorted(&found)? != sorted(&expected)? {
            wrong.push(format!("{name}: other rows than without calls"));
        }
        if found.num_rows() != expected.num_rows() {
            wrong.push(format!("{name}: {} rows, expected {}", found.num_rows(), expected.num_rows()));
        }
        if through != (*lin, *neg) {
            wrong.push(format!("{name}: {through:?} rows through the models, expected {:?}", (lin, neg)));
        }
    }
    ensure(wrong.is_empty(), || wrong.join("\n"))
}

/// Rows that went through both models while a statement ran.
fn through(fresh: &Fresh, sql: &str) -> Result<(u64, u64), Failed> {
    let before = (seen(fresh, "lin"), seen(fresh, "other"));
    fresh.rows(sql)?;
    Ok((seen(fresh, "lin") - before.0, seen(fresh, "other") - before.1))
}

/// Statements that write or are prepared run calls on the same rows as a SELECT does.
fn statements() -> Outcome {
    let fresh = table()?;
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("scores.parquet").to_string_lossy().into_owned();
    fresh.rows("CREATE TABLE scores (id BIGINT, p FLOAT)")?;
    fresh.rows(&format!("PREPARE few(BIGINT) AS SELECT id, {LIN} AS p FROM data t WHERE {LIN} > 5 AND id < $1"))?;
    fresh.rows(&format!("CREATE VIEW scored AS SELECT id, {LIN} AS p FROM data t"))?;
    let cases = [
        (format!("INSERT INTO scores SELECT id, {LIN} FROM data t WHERE id < 50"), 50),
        (format!("COPY (SELECT id, {LIN} AS p FROM data t WHERE id < 40) TO '{file}'"), 40),
        (format!("CREATE TABLE kept AS SELECT id, {LIN} AS p FROM data t WHERE {LIN} > 0 AND id < 30"), 30),
        ("EXECUTE few(20)".to_string(), 20),
        ("EXECUTE few(10)".to_string(), 10),
        ("SELECT * FROM scored WHERE id < 15".to_string(), 15),
        (format!("EXPLAIN SELECT {LIN} FROM data t"), 0),
    ];
    for (sql, rows) in cases {
        let found = through(&fresh, &sql)?;
        ensure(found == (rows, 0), || format!("{sql}: {found:?} rows through the models, expected {rows}"))?;
    }
    for table in ["scores", &format!("'{file}'"), "kept"] {
        let wrong = fresh.rows(&format!("SELECT s.id FROM {table} s JOIN done d ON s.id = d.id WHERE s.p <> d.lin"))?;
        let rows = fresh.rows(&format!("SELECT id FROM {table}"))?;
        ensure(wrong.num_rows() == 0 && rows.num_rows() > 0, || format!("{table} holds other scores"))?;
    }
    Ok(())
}

/// The models cost about the same; the one whose predicate rejects more goes first, once that was seen.
fn learned_order() -> Outcome {
    let fresh = table()?;
    let query = format!("SELECT id FROM data t WHERE {LIN} > -1 AND {NEG} < -15");
    let _in_either_order = through(&fresh, &query)?;
    let later = through(&fresh, &query)?;
    ensure(later == (114, 1_000), || format!("{later:?} rows through the models afterwards"))?;
    fresh.rows("SET mm.keep_predicate_order = true")?;
    let kept = through(&fresh, &query)?;
    ensure(kept == (1_000, 1_000), || format!("{kept:?} rows through the models in written order"))
}

/// A predicate is seen also where its rows are handed to other partitions first. One that rejects nothing then goes behind
/// a model that takes thousands of times as long.
fn learned_behind_partitions() -> Outcome {
    let fresh = table()?;
    fresh.rows(&format!("CREATE MODEL minilm FROM '{}'", cached("models/minilm")))?;
    let plan = |query: &str| -> Result<String, Failed> {
        let plan = fresh.rows(&format!("EXPLAIN {query}"))?;
        Ok(plan.column(1).as_string::<i32>().value(1).to_string())
    };
    let cheap = format!("SELECT id FROM data t WHERE {LIN} > -1");
    ensure(plan(&cheap)?.contains("RepartitionExec"), || "no partitions to see behind".into())?;
    fresh.rows(&cheap)?;
    let both = plan(&format!("{cheap} AND mm_similarity(mm_embed('minilm', CAST(id AS VARCHAR)), [1.0]) > 2"))?;
    let place = |model: &str| both.find(model).ok_or_else(|| Failed::from(both.clone()));
    ensure(place("(lin@1")? < place("(minilm@1")?, || both.clone())
}

fn written_order() -> Outcome {
    let fresh = table()?;
    fresh.rows("SET mm.keep_predicate_order = true")?;
    let before = (seen(&fresh, "lin"), seen(&fresh, "other"));
    fresh.rows(&format!("SELECT id FROM data t WHERE {NEG} < -15 AND {LIN} > 15"))?;
    let through = (seen(&fresh, "lin") - before.0, seen(&fresh, "other") - before.1);
    ensure(through == (114, 1_000), || format!("{through:?} rows through the models"))?;
    let plan = fresh.rows(&format!("EXPLAIN SELECT id FROM data t WHERE {NEG} < -15 AND {LIN} > 15"))?;
    let texts = plan.column(1).as_any().downcast_ref::<StringArray>().ok_or("no text")?;
    ensure(texts.value(0).contains("Infer: __mm_"), || texts.value(0).to_string())
}
