//! From columns to predictions: prepare, encode, cut into batches, run, scatter back to rows.

mod answer;
mod batches;
mod encode;
mod feeds;
mod limits;
mod loaded;
mod models;
mod pooling;
mod run;
mod tensor;
mod trial;

pub use answer::{Wanted, result_type};
pub use limits::Limits;
pub use models::{ModelProgress, Models};
pub use run::{Answer, Failure, Request, Step};
pub use trial::try_out;

pub use crate::modality::input_accepts;
