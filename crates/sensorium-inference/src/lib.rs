//! Models behind Arrow arrays: packages, modalities, batches, devices.
//!
//! The only crate that links ONNX Runtime. It knows nothing of SQL, tables or sessions.

mod catalog;
mod error;
mod execute;
mod io;
mod json_schema;
mod media;
mod modality;
mod nearest;
mod onnx;
mod package;
mod random;
mod runtime;
mod sqlite;
mod vectors;

pub use catalog::{Catalog, CreateMode, ModelReference, ModelSummary, ModelVersion, environment_options};
pub use error::{Error, Kind, Result};
pub use execute::{
    Answer, Cancel, Count, Distinct, Failure, LabelSet, Limits, ModelProgress, Models, Picture, Request, Shared, Stats, Step, Values,
    Wanted, Windows, batch_plan, drawn_pictures, explanation_plan, explanation_rows, give_shared_results, input_accepts, media_type,
    on_workers, reasons, reasons_type, receipt_type, result_bytes, result_type, take_shared_results, try_endpoint, try_out, windows,
    zero_shot, zero_shot_type,
};
pub use media::{MediaAccess, write_files};
pub use modality::{json_of, picture_to_tensor, sound_to_tensor};
pub use nearest::nearest;
pub use package::*;
pub use random::Random;
pub use runtime::{
    Device, GpuOptions, LIBRARY_FILE, ONNXRUNTIME_VERSION, RuntimeInfo, cache_dir, environment, initialise, library_cache_dir,
    prefer_library, runtime_info,
};
pub use sqlite::open_shared;
pub use vectors::{Cosines, Direction, cosine};
