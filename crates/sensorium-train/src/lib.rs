//! Fits models to rows and writes them as packages that any ONNX Runtime can run.
//!
//! Rows come as Arrow batches whose texts and pictures an encoder has turned into vectors already; what comes out is a folder
//! with `head.onnx` and `sensorium.toml`. It knows nothing of SQL.

mod dataset;
mod encoding;
mod fit;
mod learners;
mod onnx;
mod options;
mod package;
mod profile;
mod score;
mod split;
mod target;

pub use dataset::{Builder, Dataset, Role};
pub use fit::{Fitted, Progress, fit};
pub use options::{Fusion, Head, TrainOptions};
pub use package::{Encoder, write};
pub use score::Score;
