//! Plans with model calls in another process.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result as PlanResult;
use datafusion::physical_plan::collect;
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use libtest_mimic::Failed;
use sensorium_engine::Session;
use tempfile::TempDir;

use crate::support::{ensure, wait};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[("plans_run_in_another_process", elsewhere), ("another_model_is_refused", another_model)];

const MODELS: &str = "SENSORIUM_TEST_CODEC_MODELS";
const KIND: &str = "SENSORIUM_TEST_CODEC_KIND";
const KINDS: [&str; 2] = ["logical", "physical"];

/// Guards, nested calls, a subquery, a join on a call, an observed filter, constant calls, a search.
const QUERIES: [&str; 7] = [
    "SELECT id, CASE WHEN id < 5 THEN mm_predict('lin', a, b) WHEN id > 12 THEN mm_predict('lin', b, a) END AS p FROM t ORDER BY id",
    "SELECT id FROM t WHERE mm_predict('lin', mm_predict('lin', a, b), b) > 20 AND id < 15 ORDER BY id",
    "SELECT x.id, y.id FROM t x JOIN t y ON mm_predict('lin', x.a, x.b) = y.id ORDER BY 1, 2",
    "SELECT sum(p) FROM (SELECT mm_predict('lin', a, b) AS p FROM t UNION ALL SELECT mm_predict('lin', a, b) FROM t)",
    "SELECT id, (mm_try_predict('lin', a, b)).value AS v, mm_similarity(mm_embed('vector', [a, b]), [1]) AS s FROM t WHERE a > 0 ORDER BY id",
    "SELECT id, mm_classify('clip', picture, ['a cat', 'a cup']).label AS l, mm_embed('clip', {text: 'a cat'}) AS v FROM (SELECT id, 'tests/fixtures/pictures/photo_chelsea.jpg' AS picture FROM t) ORDER BY id",
    "SELECT id, score FROM mm_search('clip', {text: 'a cat'}, (SELECT id, mm_embed('clip', {text: CAST(id AS VARCHAR)}) AS v FROM t), v, 3) ORDER BY score DESC",
];

/// What the child process does: reads a plan, runs it, prints its rows.
pub(crate) fn worker() -> Option<ExitCode> {
    let (models, kind) = (std::env::var(MODELS).ok()?, std::env::var(KIND).ok()?);
    let run = || -> Result<String, Failed> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)?;
        let session = Session::open(&models)?;
        Ok(wait(execute(&session, &kind, &bytes))?)
    };
    Some(match run() {
        Ok(rows) => {
            let _ = std::io::stdout().write_all(rows.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", error.message().unwrap_or_default());
            ExitCode::FAILURE
        }
    })
}

async fn execute(session: &Session, kind: &str, bytes: &[u8]) -> PlanResult<String> {
    let (context, codec) = (session.context(), session.codec());
    let batches = if kind == "logical" {
        let plan = logical_plan_from_bytes_with_extension_codec(bytes, &context.task_ctx(), codec.as_ref())?;
        context.execute_logical_plan(plan).await?.collect().await?
    } else {
        let plan = physical_plan_from_bytes_with_extension_codec(bytes, &context.task_ctx(), codec.as_ref())?;
        collect(plan, context.task_ctx()).await?
    };
    Ok(pretty_format_batches(&batches)?.to_string())
}

async fn encode(session: &Session, kind: &str, query: &str) -> PlanResult<(Vec<u8>, String)> {
    let frame = session.sql(query).await?;
    let own = pretty_format_batches(&frame.clone().collect().await?)?.to_string();
    let codec = session.codec();
    let bytes = if kind == "logical" {
        logical_plan_to_bytes_with_extension_codec(&frame.into_optimized_plan()?, codec.as_ref())?
    } else {
        physical_plan_to_bytes_with_extension_codec(Arc::clone(&frame.create_physical_plan().await?), codec.as_ref())?
    };
    Ok((bytes.to_vec(), own))
}

/// A session over models in `folder` with the table `t`.
fn session(folder: &str, package: &str) -> Result<Session, Failed> {
    let session = Session::open(folder)?;
    let statements = [
        format!("CREATE MODEL lin FROM '{package}' OPTIONS (task = 'regression')"),
        "CREATE MODEL vector FROM 'tests/packages/embedding'".to_string(),
        "CREATE MODEL clip FROM 'tests/fixtures/joint/clip_single'".to_string(),
        format!("COPY (SELECT value AS id, value % 7 AS a, value % 3 AS b FROM generate_series(0, 19)) TO '{folder}/t.parquet'"),
    ];
    for statement in statements {
        wait(async { session.sql(&statement).await?.collect().await })?;
    }
    wait(session.register("t", &format!("{folder}/t.parquet")))?;
    Ok(session)
}

fn in_child(models: &str, kind: &str, bytes: &[u8]) -> Result<std::process::Output, Failed> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(MODELS, models)
        .env(KIND, kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(bytes)?;
    Ok(child.wait_with_output()?)
}

fn elsewhere() -> Outcome {
    let folder = TempDir::new()?;
    let place = folder.path().to_string_lossy().into_owned();
    let session = session(&place, "tests/fixtures/tiny/affine.onnx")?;
    for kind in KINDS {
        for query in QUERIES {
            let (bytes, own) = wait(encode(&session, kind, query)).map_err(|error| format!("{kind}: {query}\n{error}"))?;
            let output = in_child(&place, kind, &bytes)?;
            let (rows, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            ensure(output.status.success() && rows == own, || format!("{kind}: {query}\n{error}\n{rows}\n{own}"))?;
        }
    }
    Ok(())
}

/// Where the same name and number mean other bytes, scores would be silently wrong.
fn another_model() -> Outcome {
    let (folder, other) = (TempDir::new()?, TempDir::new()?);
    let (place, elsewhere) = (folder.path().to_string_lossy().into_owned(), other.path().to_string_lossy().into_owned());
    let own = session(&place, "tests/fixtures/tiny/affine.onnx")?;
    session(&elsewhere, "tests/fixtures/tiny/negative.onnx")?;
    let (bytes, _) = wait(encode(&own, "physical", QUERIES[0]))?;
    let output = in_child(&elsewhere, "physical", &bytes)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure(!output.status.success() && error.contains("model lin@1 has another content in this catalog"), || error)
}
