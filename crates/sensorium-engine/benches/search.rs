//! An exact search beside one pass over the vectors: what looking at every one of them costs beyond reading it.
//!
//! `cargo bench --bench search -- PACKAGE [ROWS]` imports the text encoder PACKAGE (384 numbers), fills a table in memory with
//! a million vectors of random numbers, and prints one line of JSON with the median seconds of a sum over all of
//! them on all cores and of `mm_search` for the best ten, which take turns.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use datafusion::datasource::MemTable;
use sensorium_engine::Session;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const WIDTH: i32 = 384;
const BATCH_ROWS: usize = 8_192;
const ROUNDS: usize = 9;
const LANES: usize = 16;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(package) = arguments.first() else {
        eprintln!("search: nothing to do without PACKAGE");
        return Ok(());
    };
    let rows = arguments.get(1).map_or(Ok(1_000_000), |rows| rows.parse())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let batches = batches(rows)?;
    let catalog = tempfile::TempDir::new()?;
    let session = Session::open(&catalog.path().to_string_lossy())?;
    let partitions: Vec<Vec<RecordBatch>> =
        (0..threads).map(|thread| batches.iter().skip(thread).step_by(threads).cloned().collect()).collect();
    session.context().register_table("vectors", Arc::new(MemTable::try_new(batches[0].schema(), partitions.clone())?))?;
    run(&session, &format!("CREATE MODEL encoder FROM '{package}'")).await?;
    let query = "SELECT id, score FROM mm_search('encoder', 'a text that is looked for', vectors, vector, 10)";
    run(&session, query).await?;
    let (mut passes, mut searches) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(sum(&partitions));
        passes.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let found = run(&session, query).await?;
        searches.push(start.elapsed().as_secs_f64());
        if found != 10 {
            return Err(format!("{found} rows").into());
        }
    }
    let ratio = median(searches.iter().zip(&passes).map(|(search, pass)| search / pass).collect());
    println!("{{\"rows\": {rows}, \"pass_s\": {:.4}, \"search_s\": {:.4}, \"ratio\": {ratio:.3}}}", median(passes), median(searches));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn run(session: &Session, statement: &str) -> Result<usize> {
    Ok(session.sql(statement).await?.collect().await?.iter().map(RecordBatch::num_rows).sum())
}

/// Random numbers by a linear congruence (Knuth's MMIX).
fn batches(rows: usize) -> Result<Vec<RecordBatch>> {
    let mut state = 1_u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let vector = DataType::FixedSizeList(Arc::clone(&item), WIDTH);
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("vector", vector, true)]));
    let batch = |start: usize| {
        let count = BATCH_ROWS.min(rows - start);
        let values: Float32Array = (0..count * WIDTH as usize).map(|_| number()).collect();
        let ids: ArrayRef = Arc::new((start..start + count).map(|id| id as i64).collect::<Int64Array>());
        let vectors: ArrayRef = Arc::new(FixedSizeListArray::try_new(Arc::clone(&item), WIDTH, Arc::new(values), None)?);
        Ok(RecordBatch::try_new(Arc::clone(&schema), vec![ids, vectors])?)
    };
    (0..rows).step_by(BATCH_ROWS).map(batch).collect()
}

/// The sum of all numbers, each partition on a thread.
fn sum(partitions: &[Vec<RecordBatch>]) -> f32 {
    let of_values = |values: &[f32]| {
        let mut lanes = [0.0_f32; LANES];
        for chunk in values.chunks_exact(LANES) {
            lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value);
        }
        lanes.iter().sum::<f32>()
    };
    let of_batch = |batch: &RecordBatch| of_values(batch.column(1).as_fixed_size_list().values().as_primitive::<Float32Type>().values());
    std::thread::scope(|scope| {
        let threads: Vec<_> = partitions.iter().map(|batches| scope.spawn(move || batches.iter().map(of_batch).sum::<f32>())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(f32::NAN)).sum()
    })
}
