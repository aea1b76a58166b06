//! CUDA: that it really ran, that it agrees with the CPU, how busy it was, and how far from the bare loop.
//!
//! Without an NVIDIA device nothing is checked, and that is said. `SENSORIUM_GPU_MODELS` names a folder with the packages
//! `minilm` and `efficientnet-lite0`, as `sensorium setup` makes them; README.md beside this file has the commands.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, BinaryArray, StringArray};
use arrow::datatypes::Float32Type;
use image::{ImageFormat, RgbImage};
use ort::ep::CUDA;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor};
use sensorium_inference::{
    Cancel, Catalog, CreateMode, Device, GpuOptions, ImportOptions, Limits, MediaAccess, ModelVersion, Models, Request, Stats, Wanted,
    cache_dir, environment, import,
};

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const TEXTS: usize = 65_536;
const PICTURES: usize = 4_096;
/// Rows that the CPU computes too.
const COMPARED: usize = 256;
/// Rows of a batch of the bare loop, all of one length.
const BARE_ROWS: usize = 1_024;
const BARE_TOKENS: usize = 16;
/// Cosine to the CPU's vectors.
const LEAST_FP32: f32 = 0.9999;
const LEAST_ROUNDED: f32 = 0.999;

fn main() -> ExitCode {
    if !Path::new("/dev/nvidia0").exists() {
        println!("gpu: SKIPPED, no NVIDIA device here: the CUDA provider was built, and nothing of it was run");
        return ExitCode::SUCCESS;
    }
    match check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpu: FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result {
    let folder = tempfile::tempdir()?;
    let catalog = Catalog::open(&folder.path().to_string_lossy())?;
    let texts: ArrayRef = Arc::new((0..TEXTS).map(|row| Some(text(row))).collect::<StringArray>());
    let pictures: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..PICTURES).map(picture).collect::<Result<Vec<_>>>()?));
    compare(&catalog, "minilm", None, &texts, LEAST_FP32)?;
    compare(&catalog, "efficientnet-lite0", None, &pictures, LEAST_FP32)?;
    if models_folder()?.join("minilm/onnx/model_fp16.onnx").is_file() {
        compare(&catalog, "minilm", Some("fp16"), &texts, LEAST_ROUNDED)?;
    } else {
        println!("gpu: SKIPPED fp16: no minilm/onnx/model_fp16.onnx");
    }
    bare()
}

fn models_folder() -> Result<PathBuf> {
    match std::env::var_os("SENSORIUM_GPU_MODELS") {
        Some(folder) => Ok(folder.into()),
        None => Ok(cache_dir()?.join("models")),
    }
}

fn text(row: usize) -> String {
    let words = ["late", "payment", "of", "invoice", "number", "the", "customer", "asks", "for", "a", "refund"];
    (0..4 + row % 40)
        .map(|place| words[(row * 7 + place * 3) % words.len()])
        .chain([row.to_string().as_str()])
        .collect::<Vec<_>>()
        .join(" ")
}

fn picture(row: usize) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let pixel = |x: u32, y: u32| image::Rgb([(x * 3 + row as u32) as u8, (y * 5) as u8, ((x * y) as usize + row * 11) as u8]);
    RgbImage::from_fn(256, 256, pixel).write_to(&mut bytes, ImageFormat::Bmp)?;
    Ok(bytes.into_inner())
}

/// All rows on the GPU, some on the CPU.
fn compare(catalog: &Catalog, package: &str, variant: Option<&str>, rows: &ArrayRef, least: f32) -> Result {
    let options = ImportOptions { variant: variant.map(str::to_string), ..ImportOptions::default() };
    let draft = import(&models_folder()?.join(package), &options)?;
    let name = format!("{}{}", package.replace('-', "_"), variant.unwrap_or_default());
    let (version, _) = catalog.create(&name, draft, CreateMode::Replace, package)?;
    let models = Models::default();
    let on = |device, tf32, rows: &ArrayRef| {
        let limits = Limits { device, gpu: GpuOptions { tf32, memory_bytes: 0 }, cache_bytes: 0, ..Limits::default() };
        run(&models, catalog, &version, rows, &limits)
    };
    let (expected, ..) = on(Device::Cpu, false, &rows.slice(0, COMPARED))?;
    // Once for the kernels and the arena.
    let before = memory_used()?;
    on(Device::Cuda(0), false, &rows.slice(0, COMPARED))?;
    let taken = memory_used()?.saturating_sub(before);
    let busy = Busy::watch();
    let (found, seconds, stats) = on(Device::Cuda(0), false, rows)?;
    let share = busy.end()?;
    let cosine = least_cosine(&expected, &found);
    println!(
        "{name}: {:.0} rows/s, device busy {share:.0}% (nvidia-smi), graphs {:.2} s of {seconds:.2} s, queue {:.2} s, {taken} MiB, cosine {cosine:.6}",
        rows.len() as f64 / seconds,
        stats.device_time.time().as_secs_f64(),
        stats.queue_time.time().as_secs_f64(),
    );
    if taken == 0 || share == 0.0 {
        return Err(format!("{name}: the device took no memory or did nothing: this was not CUDA").into());
    }
    let (rounded, seconds, _) = on(Device::Cuda(0), true, rows)?;
    let rounded = least_cosine(&expected, &rounded);
    println!("{name}, TF32: {:.0} rows/s, cosine {rounded:.6}", TEXTS.min(rows.len()) as f64 / seconds);
    if cosine < least || rounded < LEAST_ROUNDED {
        return Err(format!("{name}: cosine {cosine} and {rounded}, expected {least} and {LEAST_ROUNDED}").into());
    }
    Ok(())
}

fn run(models: &Models, catalog: &Catalog, version: &ModelVersion, rows: &ArrayRef, limits: &Limits) -> Result<(ArrayRef, f64, Stats)> {
    let (access, cancel, stats) = (MediaAccess::default(), Cancel::default(), Stats::default());
    let inputs = [vec![Arc::clone(rows)]];
    let request = Request {
        inputs: &inputs,
        rows: rows.len(),
        wanted: Wanted::Embedding,
        access: &access,
        limits,
        stop_at_failure: true,
        statement: 0,
        cancel: &cancel,
        stats: &stats,
    };
    let start = Instant::now();
    let answer = models.run(catalog, version, &request)?;
    match answer.failures.into_iter().next() {
        Some(failure) => Err(failure.error.into()),
        None => Ok((answer.values.whole()?, start.elapsed().as_secs_f64(), stats)),
    }
}

fn least_cosine(expected: &ArrayRef, found: &ArrayRef) -> f32 {
    let vector = |array: &ArrayRef, row: usize| array.as_fixed_size_list().value(row).as_primitive::<Float32Type>().values().to_vec();
    let norm = |vector: &[f32]| vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    let cosine = |row: usize| {
        let (one, other) = (vector(expected, row), vector(found, row));
        one.iter().zip(&other).map(|(one, other)| one * other).sum::<f32>() / (norm(&one) * norm(&other))
    };
    (0..expected.len()).map(cosine).fold(f32::INFINITY, f32::min)
}

fn ask(what: &str) -> Result<f64> {
    let output = Command::new("nvidia-smi").args(["--id=0", &format!("--query-gpu={what}"), "--format=csv,noheader,nounits"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn memory_used() -> Result<u64> {
    Ok(ask("memory.used")? as u64)
}

/// Mean utilisation while something runs.
struct Busy {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<f64>>,
}

impl Busy {
    fn watch() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let (mut sum, mut count) = (0.0, 0.0);
            while !seen.load(Ordering::Relaxed) {
                sum += ask("utilization.gpu")?;
                count += 1.0;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(sum / f64::max(count, 1.0))
        });
        Self { is_over, thread }
    }

    fn end(self) -> Result<f64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watcher panicked")?
    }
}

/// The bare CUDA loop on tensors made beforehand, for the ratio.
fn bare() -> Result {
    let builder =
        Session::builder(environment()?)?.with_optimization_level(GraphOptimizationLevel::All).map_err(|error| error.to_string())?;
    let cuda = CUDA::default().with_tf32(false).build().error_on_failure();
    let mut builder = builder.with_execution_providers([cuda]).map_err(|error| error.to_string())?;
    let mut session = builder.commit_from_file(models_folder()?.join("minilm/onnx/model.onnx"))?;
    let shape = vec![BARE_ROWS, BARE_TOKENS];
    let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_string()).collect();
    let tensor = |name: &String| -> Result<(String, DynValue)> {
        let value = i64::from(name != "token_type_ids");
        Ok((name.clone(), Tensor::from_array((shape.clone(), vec![value; BARE_ROWS * BARE_TOKENS]))?.into_dyn()))
    };
    let mut once = || -> Result { session.run(names.iter().map(tensor).collect::<Result<Vec<_>>>()?).map(|_| ()).map_err(Into::into) };
    once()?;
    let (start, times) = (Instant::now(), TEXTS / BARE_ROWS);
    (0..times).try_for_each(|_| once())?;
    let rate = TEXTS as f64 / start.elapsed().as_secs_f64();
    println!("bare CUDA loop, {BARE_ROWS} x {BARE_TOKENS} tokens: {rate:.0} rows/s, {:.0} tokens/s", rate * BARE_TOKENS as f64);
    Ok(())
}
