//! From columns to predictions: prepare, encode, cut into batches, run, scatter back to rows.

mod answer;
mod batches;
mod cache;
mod cancel;
mod context;
mod disk_cache;
mod encode;
mod feeds;
mod fetch;
mod graph;
mod keys;
mod limits;
mod loaded;
mod memo;
mod models;
mod ocr;
mod opened;
mod owners;
mod pooling;
mod results;
mod rows;
mod run;
mod sessions;
mod speech;
mod stats;
mod tensor;
mod trial;
mod values;
mod voice_activity;
mod windows;
mod workers;
mod zero_shot;

pub use answer::{Wanted, result_bytes, result_type};
pub use cancel::Cancel;
pub use limits::{Distinct, Limits};
pub use models::{ModelProgress, Models};
pub use run::{Answer, Failure, Request, Step, batch_plan};
pub use stats::{Count, Stats};
pub use trial::try_out;
pub use values::Values;
pub use windows::{Windows, windows};
pub use workers::on_workers;
pub use zero_shot::{LabelSet, zero_shot, zero_shot_type};

pub use crate::modality::input_accepts;
