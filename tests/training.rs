//! Models that are fitted to the rows of a query.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::support::{Fresh, cached, ensure, fresh, path_in, wait};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("a_cancelled_training_leaves_nothing", cancelled),
    ("texts_are_encoded_once", encoded_once),
    ("texts_and_pictures_together", together),
];

fn count(fresh: &Fresh, name: &str) -> Result<i64, libtest_mimic::Failed> {
    let found = fresh.rows(&format!("SELECT count(*) FROM mm_models() WHERE name = '{name}'"))?;
    Ok(found.column(0).as_primitive::<Int64Type>().value(0))
}

/// A training whose statement is dropped stops, and no version appears.
fn cancelled() -> Outcome {
    let fresh = fresh();
    fresh.rows("CREATE TABLE many AS SELECT value % 97 AS a, sin(value) AS b, cos(value * 7) AS c, value * 31 % 5 > 2 AS y FROM generate_series(1, 60000)")?;
    for head in ["trees", "mlp", "linear"] {
        let statement = format!("CREATE MODEL m OPTIONS (label = 'y', head = '{head}', folds = 50) AS SELECT * FROM many");
        let session = fresh.session.clone();
        let dropped = wait(async move { tokio::time::timeout(Duration::from_millis(800), session.sql(&statement)).await.is_err() });
        ensure(dropped, || format!("{head}: it was done before it could be cancelled"))?;
        let start = Instant::now();
        while !fresh.session.activity().is_empty() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        ensure(fresh.session.activity().is_empty(), || format!("{head}: still at work: {:?}", fresh.session.activity()))?;
        let versions = count(&fresh, "m")?;
        ensure(versions == 0, || format!("{head}: {versions} versions"))?;
    }
    Ok(())
}

fn rows_of(fresh: &Fresh, model: &str) -> u64 {
    fresh.session.progress().iter().filter(|progress| progress.model == model).map(|progress| progress.rows).sum()
}

const TEXTS: &str =
    "SELECT 'note number ' || value || ' about ' || CASE WHEN value % 2 = 0 THEN 'a broken wheel' ELSE 'a sunny day' END AS note,
    value % 9 AS size, CASE WHEN value % 2 = 0 THEN 'repair' ELSE 'none' END AS action FROM generate_series(1, 60)";

/// A second training on the same rows finds their vectors in the cache.
fn encoded_once() -> Outcome {
    let fresh = Fresh::with_models(&[("minilm", &cached("models/minilm"))])?;
    let train = |seed: u64| {
        format!("CREATE OR REPLACE MODEL m OPTIONS (label = 'action', text = 'minilm', head = 'linear', seed = {seed}) AS {TEXTS}")
    };
    fresh.rows(&train(1))?;
    let first = rows_of(&fresh, "minilm@1");
    ensure(first == 60, || format!("{first} texts reached the encoder"))?;
    fresh.rows(&train(2))?;
    let second = rows_of(&fresh, "minilm@1");
    ensure(second == first, || format!("{} texts were encoded again", second - first))?;
    let right = fresh.rows(&format!("SELECT mm_accuracy(mm_predict('m', t.*), action) > 0.95 FROM ({TEXTS}) AS t"))?;
    ensure(right.column(0).as_boolean().value(0), || "the label is in the text and was not found".into())
}

/// Numbers, texts and pictures, some of which are absent; what is written out is the same model elsewhere.
fn together() -> Outcome {
    let fresh = Fresh::with_models(&[("minilm", &cached("models/minilm")), ("effnet", &cached("models/efficientnet-lite0"))])?;
    let folder = cached("data/textile");
    fresh.rows(&format!("SET mm.allowed_roots = '{folder}'"))?;
    let parts = format!(
        "SELECT value % 5 AS size, 'a note of ' || value || ' words or so' AS note,
           CASE WHEN value % 3 > 0 THEN '{folder}/' || CASE WHEN value % 2 = 0 THEN 'nominal' ELSE 'global' END || '/' || file END AS photo,
           CASE WHEN value % 2 = 0 THEN 'good' ELSE 'bad' END AS quality
         FROM (SELECT value, 'textile_' || lpad(value::varchar, 4, '0') || '.jpg' AS file FROM generate_series(1, 40))"
    );
    let files = std::fs::read_dir(format!("{folder}/global"))?.count().min(std::fs::read_dir(format!("{folder}/nominal"))?.count());
    ensure(files >= 40, || format!("{files} pictures"))?;
    let exported = tempfile::TempDir::new()?;
    fresh.rows(&format!(
        "CREATE MODEL parts OPTIONS (label = 'quality', text = 'minilm', image = 'effnet', optional = ['photo'], fusion = 'late', head = 'linear', folds = 2) AS {parts}"
    ))?;
    let answers = fresh.rows(&format!(
        "SELECT count(mm_predict('parts', {{size: size, note: note, photo: photo}})), count(mm_predict('parts', {{size: size, note: note, photo: NULL}})) FROM ({parts})"
    ))?;
    for column in answers.columns() {
        let rows = column.as_primitive::<Int64Type>().value(0);
        ensure(rows == 40, || format!("{rows} answers"))?;
    }
    fresh.rows(&format!("EXPORT MODEL parts TO '{}'", path_in(&exported, "parts")))?;
    fresh.rows(&format!("CREATE MODEL again FROM '{}'", path_in(&exported, "parts")))?;
    let same = fresh.rows("SELECT count(DISTINCT sha256) FROM mm_models() WHERE name IN ('parts', 'again')")?;
    ensure(same.column(0).as_primitive::<Int64Type>().value(0) == 1, || "another model came back".into())
}
