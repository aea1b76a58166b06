//! Graphs as ONNX files.

mod graph;
mod proto;

pub(crate) use graph::{Element, GraphBuilder};
pub(crate) use proto::Attribute;
