//! Facts of a graph that decide whether and how it may run.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use serde::{Deserialize, Serialize};

use super::proto;
use crate::error::{Error, Kind, Result};
use crate::package::is_inside;

/// Names of the classes of a classifier, in the order of its probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassNames {
    /// Integer class labels, as scikit-learn gives for an integer target.
    Integers(Vec<i64>),
    /// Text class labels.
    Strings(Vec<String>),
}

impl ClassNames {
    /// Number of classes.
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(names) => names.len(),
            Self::Strings(names) => names.len(),
        }
    }

    /// Whether there is no class at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was found in one `.onnx` file.
#[derive(Debug, Default)]
pub(crate) struct GraphFacts {
    /// Files, relative to the graph's folder, that hold weights.
    pub(crate) external_files: BTreeSet<String>,
    /// Class labels of the ONNX-ML classifiers and ZipMaps in the graph.
    pub(crate) class_names: Option<ClassNames>,
    /// What the exporter wrote into the file besides.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Whether some node counts the tokens of a row to know where they lie, as com.microsoft's GroupQueryAttention does.
    pub(crate) counts_tokens: bool,
    /// Whether some node is an ONNX-ML regressor.
    pub(crate) is_regressor: bool,
    /// Number of weights by their element type.
    pub(crate) weights: BTreeMap<i32, i64>,
}

/// In what a model without weights of its own counts: the trees of ONNX-ML have their numbers in attributes.
const FLOAT: i32 = 1;
/// Fewer values are shapes and constants.
const FEWEST_WEIGHTS: i64 = 64;

/// Names of `TensorProto.DataType`, as <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3> numbers them, that weights have.
fn precision_name(element: i32) -> Option<&'static str> {
    Some(match element {
        FLOAT => "fp32",
        2 | 3 => "int8",
        10 => "fp16",
        11 => "fp64",
        16 => "bf16",
        17..=20 => "fp8",
        21 | 22 => "int4",
        _ => return None,
    })
}

impl GraphFacts {
    /// Reads the facts out of the bytes of an `.onnx` file; `name` is only for messages.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Self> {
        let broken = || {
            Error::new(Kind::Package, format!("not an ONNX model: {name}"))
                .with_hint("the file is damaged or of another kind; export or copy it again")
        };
        let model = proto::Model::decode(bytes).map_err(|_| broken())?;
        let graph = model.graph.ok_or_else(broken)?;
        if model.ir_version == 0 || graph.nodes.is_empty() {
            return Err(broken());
        }
        let metadata = model.metadata.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let mut facts = Self { metadata, ..Self::default() };
        facts.visit_graph(&graph);
        for function in &model.functions {
            function.nodes.iter().for_each(|node| facts.visit_node(node));
        }
        facts.external_files.iter().try_for_each(|file| check_inside(name, file))?;
        Ok(facts)
    }

    fn visit_graph(&mut self, graph: &proto::Graph) {
        graph.initializers.iter().for_each(|tensor| self.visit_tensor(tensor));
        graph.sparse_initializers.iter().for_each(|tensor| self.visit_sparse(tensor));
        graph.nodes.iter().for_each(|node| self.visit_node(node));
    }

    fn visit_node(&mut self, node: &proto::Node) {
        self.counts_tokens |= node.operator == "GroupQueryAttention";
        self.is_regressor |= node.operator.ends_with("Regressor");
        for attribute in &node.attributes {
            self.visit_class_names(attribute);
            attribute.tensor.iter().chain(&attribute.tensors).for_each(|tensor| self.visit_tensor(tensor));
            attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).for_each(|tensor| self.visit_sparse(tensor));
            attribute.graph.iter().map(|graph| &**graph).chain(&attribute.graphs).for_each(|graph| self.visit_graph(graph));
        }
    }

    /// `classlabels_*` of ONNX-ML operators: of several, those of the last node count, as that is the ensemble's or ZipMap's.
    fn visit_class_names(&mut self, attribute: &proto::Attribute) {
        match attribute.name.as_str() {
            "classlabels_strings" if !attribute.strings.is_empty() => {
                let names = attribute.strings.iter().map(|name| String::from_utf8_lossy(name).into_owned());
                self.class_names = Some(ClassNames::Strings(names.collect()));
            }
            "classlabels_int64s" | "classlabels_ints" if !attribute.integers.is_empty() => {
                self.class_names = Some(ClassNames::Integers(attribute.integers.clone()));
            }
            _ => {}
        }
    }

    fn visit_sparse(&mut self, tensor: &proto::SparseTensor) {
        tensor.values.iter().chain(&tensor.indices).for_each(|tensor| self.visit_tensor(tensor));
    }

    /// The type of most of its weights: `fp32`, `fp16`, `int8`, ..
    pub(crate) fn precision(&self) -> &'static str {
        let named = self.weights.iter().filter_map(|(element, count)| Some((count, precision_name(*element)?)));
        named.filter(|(count, _)| **count >= FEWEST_WEIGHTS).max().map_or("fp32", |(_, name)| name)
    }

    fn visit_tensor(&mut self, tensor: &proto::Tensor) {
        *self.weights.entry(tensor.element).or_default() += tensor.dimensions.iter().product::<i64>();
        let location = tensor.external_data.iter().find(|entry| entry.key == "location");
        self.external_files.extend(location.map(|entry| entry.value.clone()));
    }
}

/// A graph may read weights from its own folder only.
fn check_inside(graph: &str, file: &str) -> Result<()> {
    if is_inside(file) {
        return Ok(());
    }
    Err(Error::new(Kind::Package, format!("external data outside the model's folder: {graph} points to '{file}'"))
        .with_hint("save the model again with its weights beside it or inside it"))
}
