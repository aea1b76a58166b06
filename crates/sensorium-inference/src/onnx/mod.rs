//! What an `.onnx` file says before ONNX Runtime sees it: external data and class names.

mod graph;
mod proto;

pub use graph::ClassNames;
pub(crate) use graph::GraphFacts;
