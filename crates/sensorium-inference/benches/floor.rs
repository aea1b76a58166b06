//! The least that a workload can cost on this machine: bare tokenizing or decoding on all cores, then the bare graph on
//! tensors made beforehand, in the batch size and thread layout that a sweep found best. What a query takes is
//! compared with the sum, which no overlap can beat by much as both parts keep all cores busy.
//!
//! `cargo bench --bench floor -- PACKAGE TABLE.parquet COLUMNS [--rows N] [--setting SIZE,SESSIONS] [--output NAME]`
//! prints one line of JSON. COLUMNS is a text column, a column of paths, or numbers separated by commas.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float32Type};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use sensorium_inference::{Draft, ImageSpec, ImportOptions, Limits, Modality, TextSpec, environment, import, picture_to_tensor};
use tokenizers::{Tokenizer, TruncationParams};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// What the graph is run on: one tensor for each input, made before the clock starts.
struct Batch(Vec<(String, DynValue)>);

/// Tokens, pictures or rows of one batch, and how many sessions share the cores.
#[derive(Clone, Copy)]
struct Setting {
    size: usize,
    sessions: usize,
}

/// Rows as the model takes them, still apart.
enum Rows {
    Tokens(Vec<Vec<i64>>),
    Pictures(Vec<Vec<f32>>, [usize; 3]),
    Numbers(Vec<f32>, usize),
}

struct Arguments {
    package: String,
    table: String,
    columns: Vec<String>,
    rows: usize,
    setting: Option<Setting>,
    output: Option<String>,
}

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        eprintln!("floor: nothing to do without PACKAGE TABLE.parquet COLUMNS; tests/bench/compare.py calls it with them");
        return Ok(());
    };
    let draft = import(Path::new(&arguments.package), &ImportOptions::default())?;
    let table = read(&arguments)?;
    let (rows, prepare_s) = prepare(&draft, &table)?;
    let environment = environment()?;
    let setting = match arguments.setting {
        Some(setting) => setting,
        None => best(environment, &draft, &rows, arguments.output.as_deref())?,
    };
    let seconds = timed(environment, &draft, &rows, setting, arguments.output.as_deref())?;
    let line = serde_json::json!({
        "prepare_s": prepare_s, "model_s": seconds, "rows": table.num_rows(), "setting": format!("{},{}", setting.size, setting.sessions),
    });
    println!("{line}");
    Ok(())
}

impl Arguments {
    fn read() -> Result<Option<Self>> {
        let (mut places, mut rows, mut setting, mut output) = (Vec::new(), usize::MAX, None, None);
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--rows" => rows = value()?.parse()?,
                "--output" => output = Some(value()?),
                "--setting" => {
                    let value = value()?;
                    let (size, sessions) = value.split_once(',').ok_or("--setting takes SIZE,SESSIONS")?;
                    setting = Some(Setting { size: size.parse()?, sessions: sessions.parse()? });
                }
                _ => places.push(argument),
            }
        }
        let Ok([package, table, columns]) = <[String; 3]>::try_from(places) else { return Ok(None) };
        let columns = columns.split(',').map(str::to_string).collect();
        Ok(Some(Self { package, table, columns, rows, setting, output }))
    }
}

fn read(arguments: &Arguments) -> Result<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&arguments.table)?)?;
    let names: Vec<&str> = arguments.columns.iter().map(String::as_str).collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
    let reader = builder.with_projection(mask).with_limit(arguments.rows).build()?;
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
    let schema = batches.first().ok_or("an empty table")?.schema();
    let places = names.iter().map(|name| schema.index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?.project(&places)?)
}

/// Tokenizes or decodes on all cores; numbers are only laid out, which is not counted.
fn prepare(draft: &Draft, table: &RecordBatch) -> Result<(Rows, f64)> {
    let strings = || -> Result<ArrayRef> { Ok(cast(table.column(0), &DataType::Utf8)?) };
    match &draft.manifest.inputs[0].modality {
        Modality::Text(spec) => tokenize(draft, spec, &strings()?),
        Modality::Image(spec) => decode(spec, &strings()?),
        _ => Ok((numbers(table)?, 0.0)),
    }
}

fn tokenize(draft: &Draft, spec: &TextSpec, texts: &ArrayRef) -> Result<(Rows, f64)> {
    let mut tokenizer = Tokenizer::from_file(draft.root.join(&spec.tokenizer))?;
    tokenizer.with_truncation(Some(TruncationParams { max_length: spec.max_tokens, ..TruncationParams::default() }))?;
    tokenizer.with_padding(None);
    let texts: Vec<&str> = texts.as_string::<i32>().iter().flatten().collect();
    let one = |text: &&str| tokenizer.encode_fast(*text, true).map(|tokens| tokens.get_ids().iter().map(|id| i64::from(*id)).collect());
    // Once before the clock, for the threads.
    texts[..texts.len().min(64)].par_iter().map(one).collect::<Result<Vec<Vec<i64>>>>()?;
    let start = Instant::now();
    let tokens = texts.par_iter().map(one).collect::<Result<_>>()?;
    Ok((Rows::Tokens(tokens), start.elapsed().as_secs_f64()))
}

fn decode(spec: &ImageSpec, paths: &ArrayRef) -> Result<(Rows, f64)> {
    let size = spec.size()?;
    let paths: Vec<&str> = paths.as_string::<i32>().iter().flatten().collect();
    let limits = Limits::default();
    let one = |path: &&str| -> Result<Vec<f32>> { Ok(picture_to_tensor(&std::fs::read(path)?, spec, &limits)?) };
    paths[..paths.len().min(4)].par_iter().map(one).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let pictures = paths.par_iter().map(one).collect::<Result<_>>()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((Rows::Pictures(pictures, [spec.channels(), size.height as usize, size.width as usize]), seconds))
}

fn numbers(table: &RecordBatch) -> Result<Rows> {
    let columns = table.columns().iter().map(|column| cast(column, &DataType::Float32)).collect::<std::result::Result<Vec<_>, _>>()?;
    let width = columns.len();
    let mut values = vec![0.0; table.num_rows() * width];
    for (place, column) in columns.iter().enumerate() {
        let column = column.as_primitive::<Float32Type>();
        values[place..].iter_mut().step_by(width).zip(column.values()).for_each(|(value, own)| *value = *own);
    }
    Ok(Rows::Numbers(values, width))
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Tokens(rows) => rows.len(),
            Self::Pictures(rows, _) => rows.len(),
            Self::Numbers(values, width) => values.len() / width,
        }
    }

    /// One in `nth` rows.
    fn sample(&self, nth: usize) -> Self {
        match self {
            Self::Tokens(rows) => Self::Tokens(rows.iter().step_by(nth).cloned().collect()),
            Self::Pictures(rows, size) => Self::Pictures(rows.iter().step_by(nth).cloned().collect(), *size),
            Self::Numbers(values, width) => Self::Numbers(values.chunks_exact(*width).step_by(nth).flatten().copied().collect(), *width),
        }
    }

    /// Sizes and layouts worth trying. Texts are measured in tokens.
    fn settings(&self, cores: usize) -> Vec<Setting> {
        let sizes: &[usize] = match self {
            Self::Tokens(_) => &[256, 512, 1_024, 2_048],
            Self::Pictures(..) => &[1, 4, 8, 16, 32],
            Self::Numbers(..) => &[1_024, 4_096, 16_384, 65_536],
        };
        let of_size = |size: &usize| [cores, 1].map(|sessions| Setting { size: *size, sessions });
        sizes.iter().flat_map(of_size).collect()
    }

    /// Batches, the longest texts first so that no core is left with them at the end.
    fn batches(&self, draft: &Draft, size: usize) -> Result<Vec<Batch>> {
        let feeds: Vec<&str> = draft.manifest.stages[0].feeds.iter().map(|feed| feed.port.name.as_str()).collect();
        match self {
            Self::Tokens(rows) => {
                let mut order: Vec<usize> = (0..rows.len()).collect();
                order.sort_by_key(|row| std::cmp::Reverse(rows[*row].len()));
                let (mut batches, mut rest) = (Vec::new(), order.as_slice());
                while let Some(first) = rest.first() {
                    let (own, later) = rest.split_at((size / rows[*first].len()).clamp(1, rest.len()));
                    batches.push(token_batch(&feeds, &own.iter().map(|row| rows[*row].as_slice()).collect::<Vec<_>>())?);
                    rest = later;
                }
                Ok(batches)
            }
            Self::Pictures(rows, [channels, height, width]) => {
                rows.chunks(size).map(|rows| batch(feeds[0], vec![rows.len(), *channels, *height, *width], rows.concat())).collect()
            }
            Self::Numbers(values, width) => {
                values.chunks(size * width).map(|rows| batch(feeds[0], vec![rows.len() / width, *width], rows.to_vec())).collect()
            }
        }
    }
}

fn batch(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Result<Batch> {
    Ok(Batch(vec![(name.to_string(), Tensor::from_array((shape, values))?.into_dyn())]))
}

fn token_batch(feeds: &[&str], rows: &[&[i64]]) -> Result<Batch> {
    let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let padded = |of_token: &dyn Fn(i64) -> i64| {
        let row = |row: &&[i64]| row.iter().map(|id| of_token(*id)).chain(std::iter::repeat_n(0, longest - row.len())).collect::<Vec<_>>();
        rows.iter().flat_map(row).collect::<Vec<i64>>()
    };
    let tensor = |name: &&str| {
        let values = match *name {
            "input_ids" => padded(&|id| id),
            "attention_mask" => padded(&|_| 1),
            _ => padded(&|_| 0),
        };
        Ok((name.to_string(), Tensor::from_array((vec![rows.len(), longest], values))?.into_dyn()))
    };
    Ok(Batch(feeds.iter().map(tensor).collect::<Result<_>>()?))
}

/// The fastest setting on a tenth of the rows.
fn best(environment: &Environment, draft: &Draft, rows: &Rows, output: Option<&str>) -> Result<Setting> {
    let sample = rows.sample(rows.len().div_ceil(rows.len().div_ceil(10).clamp(1, 100_000)));
    let cores = std::thread::available_parallelism()?.get();
    let mut found: Option<(f64, Setting)> = None;
    for setting in sample.settings(cores) {
        let times = (0..3).map(|_| timed(environment, draft, &sample, setting, output)).collect::<Result<Vec<_>>>()?;
        let least = times.into_iter().fold(f64::INFINITY, f64::min);
        eprintln!("  {} in a batch, {} sessions: {:.0} rows/s", setting.size, setting.sessions, sample.len() as f64 / least);
        if found.is_none_or(|(seconds, _)| least < seconds) {
            found = Some((least, setting));
        }
    }
    found.map(|(_, setting)| setting).ok_or_else(|| "no setting".into())
}

/// Seconds for all rows through the graph, sessions opened and warm before.
fn timed(environment: &Environment, draft: &Draft, rows: &Rows, setting: Setting, output: Option<&str>) -> Result<f64> {
    let batches = rows.batches(draft, setting.size)?;
    let cores = std::thread::available_parallelism()?.get();
    let graph = draft.root.join(&draft.manifest.stages[0].graph);
    let open = || -> Result<Session> {
        // Its errors hold the builder, which other threads may not have.
        let builder =
            Session::builder(environment)?.with_optimization_level(GraphOptimizationLevel::All).map_err(|error| error.to_string())?;
        let builder = builder.with_intra_threads((cores / setting.sessions).max(1)).map_err(|error| error.to_string())?;
        let mut builder = builder.with_intra_op_spinning(false).map_err(|error| error.to_string())?;
        let mut session = builder.commit_from_file(&graph)?;
        run(&mut session, &batches[batches.len() - 1], output)?;
        Ok(session)
    };
    let mut sessions = (0..setting.sessions).map(|_| open()).collect::<Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let work = |session: &mut Session| -> Result<()> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(session, batch, output)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(|| work(session))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// Runs one batch and copies its result out, as everyone must.
fn run(session: &mut Session, batch: &Batch, output: Option<&str>) -> Result<Vec<f32>> {
    let feeds: Vec<(&str, SessionInputValue<'_>)> =
        batch.0.iter().map(|(name, value)| (name.as_str(), SessionInputValue::from(value))).collect();
    let outputs = session.run(feeds)?;
    let value = match output {
        Some(name) => outputs.get(name).ok_or("no such output")?,
        None => &outputs[0],
    };
    Ok(value.try_extract_tensor::<f32>()?.1.to_vec())
}
