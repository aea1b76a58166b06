//! What an `.onnx` file says before ONNX Runtime sees it: external data, class names, trees.

mod ensemble;
mod graph;
mod last_token;
mod proto;

pub(crate) use ensemble::{Ensemble, Node, NodeKind};
pub use graph::ClassNames;
pub(crate) use graph::GraphFacts;
pub(crate) use last_token::last_token_alone;
