//! Frames of Rust's Polars: every type in and out over the same memory, lazy frames batch by batch, queries as lazy frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::DataFusionError;
use futures::StreamExt;
use libtest_mimic::Failed;
use sensorium_engine::root_message;
use sensorium_polars::polars::prelude::*;
use sensorium_polars::{Input, PolarsSession};

use crate::support::{Fresh, ensure, wait};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("first_rows_stop_the_engine", first_rows),
    ("lazy_frames_are_read_batch_by_batch", lazy_frames),
    ("memory_is_shared", shared_memory),
    ("order_is_kept", order),
    ("predicates_mean_the_same", predicates),
    ("projections_and_predicates_reach_the_engine", pushed_down),
    ("types_in_and_out", types),
    ("what_arrow_lacks_is_refused", refused),
];

const SUM: &str = "SELECT *, mm_predict('add', n, 1).sum AS sum FROM t";

fn session() -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("add", "tests/fixtures/tiny/add.onnx")])?;
    fresh.rows("SET mm.cache_bytes = 0")?;
    fresh.rows("SELECT mm_predict('add', 1, 1)")?;
    Ok(fresh)
}

fn failed(error: &DataFusionError) -> Failed {
    Failed::from(root_message(error))
}

fn query(fresh: &Fresh, sql: &str, frame: impl Into<Input>) -> Result<DataFrame, Failed> {
    wait(fresh.session.query_frame(sql, vec![("t", frame.into())])).map_err(|error| failed(&error))
}

fn scan(fresh: &Fresh, sql: &str, frame: impl Into<Input>) -> Result<LazyFrame, Failed> {
    wait(fresh.session.scan_query(sql, vec![("t", frame.into())])).map_err(|error| failed(&error))
}

/// Rows that reach the model meanwhile.
fn rows_run(fresh: &Fresh, act: impl FnOnce() -> PolarsResult<DataFrame>) -> Result<(DataFrame, u64), Failed> {
    let seen = || fresh.session.progress().iter().map(|model| model.rows).sum::<u64>();
    let before = seen();
    let frame = act()?;
    Ok((frame, seen() - before))
}

fn same(what: &str, found: &DataFrame, expected: &DataFrame) -> Outcome {
    ensure(found.schema() == expected.schema(), || format!("{what}: {:?} for {:?}", found.schema(), expected.schema()))?;
    ensure(found.equals_missing(expected), || format!("{what}: {found} for {expected}"))
}

/// Two rows with values, and one without.
fn columns() -> PolarsResult<Vec<Column>> {
    let numbers = Series::new("i".into(), [Some(1_i64), None, Some(100)]);
    let texts = Series::new("s".into(), [Some("red"), None, Some("a text that is longer than twelve bytes")]);
    let colours = Series::new("s".into(), [Some("red"), None, Some("green")]);
    let to = |name: &str, series: &Series, dtype: &DataType| series.cast(dtype).map(|series| series.with_name(name.into()));
    let mut all = vec![
        numbers.clone(),
        texts.clone(),
        Series::new("truth".into(), [Some(true), None, Some(false)]),
        Series::new("f64".into(), [Some(-0.0_f64), None, Some(f64::NAN)]),
        Series::new("bytes".into(), [Some(b"\x00\xff".as_slice()), None, Some(b"bytes that are longer than twelve")]),
        Series::new_null("null".into(), 3),
    ];
    let by_numbers = [
        ("i8", DataType::Int8),
        ("i16", DataType::Int16),
        ("i32", DataType::Int32),
        ("u8", DataType::UInt8),
        ("u16", DataType::UInt16),
        ("u32", DataType::UInt32),
        ("u64", DataType::UInt64),
        ("f16", DataType::Float16),
        ("f32", DataType::Float32),
        ("date", DataType::Date),
        ("time", DataType::Time),
        ("ms", DataType::Datetime(TimeUnit::Milliseconds, None)),
        ("us", DataType::Datetime(TimeUnit::Microseconds, TimeZone::opt_try_new(Some("Europe/Berlin"))?)),
        ("ns", DataType::Datetime(TimeUnit::Nanoseconds, TimeZone::opt_try_new(Some("UTC"))?)),
        ("long", DataType::Duration(TimeUnit::Milliseconds)),
        ("short", DataType::Duration(TimeUnit::Nanoseconds)),
        ("decimal", DataType::Decimal(38, 4)),
    ];
    for (name, dtype) in &by_numbers {
        all.push(to(name, &numbers, dtype)?);
    }
    all.push(to("category", &colours, &DataType::from_categories(Categories::global()))?);
    all.push(to("enum", &colours, &DataType::from_frozen_categories(FrozenCategories::new(["red", "green"])?))?);
    let lists = DataFrame::new(3, vec![numbers.clone().into(), texts.clone().into()])?.lazy().select([
        concat_list([col("i"), col("i") + lit(1)])?.alias("list"),
        concat_list([col("s"), col("s")])?.alias("texts"),
        as_struct(vec![col("i"), concat_list([col("s")])?.alias("inner")]).alias("struct"),
    ]);
    all.extend(lists.collect()?.columns().iter().map(|column| column.as_materialized_series().clone()));
    let pairs =
        all.iter().find(|series| series.name() == "list").map(|list| to("array", list, &DataType::Array(Box::new(DataType::Int64), 2)));
    all.extend(pairs.transpose()?);
    Ok(all.into_iter().map(Column::from).collect())
}

fn types() -> Outcome {
    let fresh = session()?;
    let whole = DataFrame::new(3, columns()?)?;
    let mut chunked = whole.clone();
    chunked.vstack_mut(&whole.slice(1, 2))?;
    for (what, given) in [("whole", whole.clone()), ("empty", whole.slice(0, 0)), ("slice", whole.slice(1, 1)), ("chunked", chunked)] {
        same(what, &query(&fresh, "SELECT * FROM t", &given)?, &given)?;
        same(what, &query(&fresh, "SELECT * FROM t", given.clone().lazy())?, &given)?;
        same(what, &scan(&fresh, "SELECT * FROM t", &given)?.collect()?, &given)?;
    }
    Ok(())
}

fn refused() -> Outcome {
    let fresh = session()?;
    let wide = DataFrame::new(1, vec![Series::new("wide".into(), [1_i128]).into()])?;
    let error =
        wait(fresh.session.query_frame("SELECT * FROM t", vec![("t", wide.into())])).err().ok_or("128 bits have become something")?;
    let message = root_message(&error);
    ensure(message.contains("'wide'") && message.contains("hint: cast it"), || message)
}

fn shared_memory() -> Outcome {
    let fresh = session()?;
    let numbers: Vec<f64> = (0..1_000_000).map(f64::from).collect();
    let texts: Vec<String> = (0..1_000_000).map(|number| format!("a text of some length: {number}")).collect();
    let given = DataFrame::new(1_000_000, vec![Series::new("n".into(), &numbers).into(), Series::new("s".into(), &texts).into()])?;
    let addresses = |frame: &DataFrame| -> PolarsResult<(usize, usize)> {
        let numbers = frame.column("n")?.f64()?.downcast_iter().next().map_or(0, |chunk| chunk.values().as_ptr() as usize);
        let texts = frame.column("s")?.str()?.downcast_iter().next().map_or(0, |chunk| chunk.views().as_ptr() as usize);
        Ok((numbers, texts))
    };
    let found = query(&fresh, "SELECT * FROM t", &given)?;
    same("shared", &found, &given)?;
    let (ours, theirs) = (addresses(&found)?, addresses(&given)?);
    ensure(ours == theirs && ours.0 > 0, || format!("{ours:?} for {theirs:?}"))
}

/// Rows with the numbers from 0 on.
fn counted(rows: i64) -> PolarsResult<DataFrame> {
    DataFrame::new(usize::try_from(rows).unwrap_or(0), vec![Series::new("n".into(), (0..rows).collect::<Vec<_>>()).into()])
}

fn order() -> Outcome {
    let fresh = session()?;
    let given = counted(400_000)?;
    let expected = given.clone().lazy().filter((col("n") % lit(3)).neq(lit(0))).collect()?;
    for input in [Input::from(&given), Input::from(given.clone().lazy())] {
        let found = query(&fresh, "SELECT n FROM t WHERE n % 3 <> 0 AND mm_predict('add', n, 1).sum > 0", input)?;
        same("order", &found, &expected)?;
    }
    Ok(())
}

fn lazy_frames() -> Outcome {
    let fresh = session()?;
    let read = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&read);
    let count = move |column: Column| {
        seen.fetch_add(column.len(), Ordering::Relaxed);
        Ok(column)
    };
    let lazy = counted(3_000_000)?.lazy().with_column(col("n").map(count, |_, field| Ok(field.clone())));
    let first = query(&fresh, "SELECT n FROM t LIMIT 3", lazy.clone())?;
    let seen = read.load(Ordering::Relaxed);
    ensure(first.height() == 3 && seen < 1_000_000, || format!("{seen} rows were read for {first}"))?;
    let stream = wait(fresh.session.stream_frames(SUM, vec![("t", lazy.clone().into())])).map_err(|error| failed(&error))?;
    let frames = wait(stream.collect::<Vec<_>>());
    let rows: usize =
        frames.into_iter().map(|frame| frame.map(|frame| frame.height())).sum::<Result<_, _>>().map_err(|error| failed(&error))?;
    ensure(rows == 3_000_000, || format!("{rows} rows"))?;
    let none = query(&fresh, "SELECT count(*) AS n FROM t", lazy)?;
    ensure(none.column("n")?.i64()?.get(0) == Some(3_000_000), || format!("{none}"))?;
    let broken = counted(10)?.lazy().select([col("n").map(|_| polars_bail!(ComputeError: "of the frame"), |_, field| Ok(field.clone()))]);
    let error = wait(fresh.session.query_frame("SELECT * FROM t", vec![("t", broken.into())])).err().ok_or("no error")?;
    ensure(root_message(&error).contains("of the frame"), || root_message(&error))
}

fn pushed_down() -> Outcome {
    let fresh = session()?;
    let lazy = scan(&fresh, SUM, counted(50_000)?)?;
    let (_, ran) = rows_run(&fresh, || lazy.clone().select([col("n")]).collect())?;
    ensure(ran == 0, || format!("{ran} rows for a column that nobody wants"))?;
    let (few, ran) =
        rows_run(&fresh, || lazy.clone().filter(col("n").lt(lit(100)).and(col("sum").gt(lit(50)))).select([col("sum")]).collect())?;
    ensure(ran == 100 && few.height() == 50, || format!("{ran} rows, {few}"))?;
    let nested =
        wait(fresh.session.scan_query("SELECT n FROM t WHERE sum > 49990", vec![("t", lazy.into())])).map_err(|error| failed(&error))?;
    ensure(nested.collect()?.height() == 10, || "a query over a query".to_string())?;
    for statement in ["SET mm.device = 'cpu'", "CREATE MODEL x FROM 'y'"] {
        ensure(wait(fresh.session.scan_query(statement, Vec::new())).is_err(), || format!("not a query: {statement}"))?;
    }
    Ok(())
}

fn first_rows() -> Outcome {
    let fresh = session()?;
    let lazy = scan(&fresh, SUM, counted(2_000_000)?)?;
    let (first, ran) = rows_run(&fresh, || lazy.limit(10).collect())?;
    ensure(first.height() == 10 && ran <= 10, || format!("{ran} rows for {first}"))?;
    let stream = fresh.session.stream_frames(SUM, vec![("t", counted(2_000_000)?.into())]);
    let mut stream = wait(stream).map_err(|error| failed(&error))?;
    ensure(wait(stream.next()).is_some_and(|frame| frame.is_ok_and(|frame| frame.height() > 0)), || "no first rows".to_string())?;
    let (_, ran) = rows_run(&fresh, || {
        drop(stream);
        std::thread::sleep(std::time::Duration::from_millis(200));
        Ok(DataFrame::empty())
    })?;
    ensure(ran < 1_000_000, || format!("{ran} rows after the stream was dropped"))
}

fn predicates() -> Outcome {
    let fresh = session()?;
    let rows = df!(
        "n" => [Some(-1_i64), Some(0), None, Some(7), Some(i64::MAX)],
        "u" => [Some(0_u64), Some(5), Some(u64::MAX), None, Some(1 << 63)],
        "x" => [Some(-0.0), Some(0.0), Some(f64::NAN), None, Some(1.5)],
        "s" => [Some(""), Some("a"), Some("it's"), None, Some("A")],
        "b" => [Some(true), Some(false), None, Some(true), Some(false)],
    )?;
    let lazy = scan(&fresh, "SELECT * FROM t", &rows)?;
    let (n, u, x, s) = (|| col("n"), || col("u"), || col("x"), || col("s"));
    let all = [
        n().gt(lit(0)),
        lit(0).lt_eq(n()),
        n().eq(lit(7)).or(s().eq(lit("it's"))),
        n().neq(lit(7)),
        n().lt(lit(1.5)),
        u().gt(lit(4)),
        u().eq(lit(u64::MAX)),
        u().lt(lit(-1)),
        x().eq(lit(0.0)),
        x().gt(lit(1)),
        x().gt_eq(lit(-0.0)).and(n().lt(lit(8))),
        s().eq(lit("a")),
        s().gt(lit("a")),
        col("b").eq(lit(true)),
        col("b"),
        col("b").not(),
        n().is_null(),
        n().is_null().or(n().gt(lit(0))),
        n().gt(u()),
        s().eq(lit("a")).and(x().is_not_nan()),
        (n() + lit(1)).gt(lit(1)).and(n().lt(lit(100))),
    ];
    for predicate in all {
        let what = format!("{predicate:?}");
        let expected = rows.clone().lazy().filter(predicate.clone()).collect()?;
        same(&what, &lazy.clone().filter(predicate.clone()).collect()?, &expected)?;
        let some = lazy.clone().filter(predicate.clone()).select([col("u")]).limit(2).collect()?;
        same(&what, &some, &expected.select(["u"])?.head(Some(2)))?;
        let counted = lazy.clone().limit(3).filter(predicate.clone()).collect()?;
        same(&what, &counted, &rows.head(Some(3)).lazy().filter(predicate).collect()?)?;
    }
    Ok(())
}
