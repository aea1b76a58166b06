//! A graph that is put together node by node; names of values are made here.

use prost::Message;

use super::proto::{Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Size, Tensor, TensorType, Type, ValueInfo};

/// Operator sets that the graphs are written for, by domain.
const OPSETS: [(&str, i64); 2] = [("", 17), (ML, 3)];
const ML: &str = "ai.onnx.ml";
/// What names of values inside a graph begin with, so that no column is called so.
const INTERNAL: &str = "sensorium/";
/// The file format that goes with them.
const IR_VERSION: i64 = 8;

/// Types of elements that are used here, with their numbers in `TensorProto.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Float = 1,
    Int64 = 7,
    String = 8,
}

/// Kinds of attributes, as in `AttributeProto.AttributeType`.
const FLOAT: i32 = 1;
const INTEGER: i32 = 2;
const STRING: i32 = 3;
const FLOATS: i32 = 6;
const INTEGERS: i32 = 7;
const STRINGS: i32 = 8;

impl Attribute {
    fn named(name: &str, kind: i32) -> Self {
        Self { name: name.into(), kind, ..Self::default() }
    }

    pub(crate) fn float(name: &str, float: f32) -> Self {
        Self { float, ..Self::named(name, FLOAT) }
    }

    pub(crate) fn integer(name: &str, integer: i64) -> Self {
        Self { integer, ..Self::named(name, INTEGER) }
    }

    pub(crate) fn text(name: &str, text: &str) -> Self {
        Self { string: text.as_bytes().to_vec(), ..Self::named(name, STRING) }
    }

    pub(crate) fn floats(name: &str, floats: Vec<f32>) -> Self {
        Self { floats, ..Self::named(name, FLOATS) }
    }

    pub(crate) fn integers(name: &str, integers: Vec<i64>) -> Self {
        Self { integers, ..Self::named(name, INTEGERS) }
    }

    pub(crate) fn texts<'a>(name: &str, texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self { strings: texts.into_iter().map(|text| text.as_bytes().to_vec()).collect(), ..Self::named(name, STRINGS) }
    }
}

/// Puts a graph together.
#[derive(Debug, Default)]
pub(crate) struct GraphBuilder {
    graph: Graph,
    values: usize,
}

/// What rows are called in shapes.
const ROWS: &str = "rows";

fn value_info(name: &str, element: Element, width: Option<usize>) -> ValueInfo {
    let rows = Dimension { size: Some(Size::Named(ROWS.into())) };
    let width = width.map(|width| Dimension { size: Some(Size::Fixed(width as i64)) });
    let shape = Shape { dims: std::iter::once(rows).chain(width).collect() };
    ValueInfo { name: name.into(), of: Some(Type { tensor: Some(TensorType { element: element as i32, shape: Some(shape) }) }) }
}

impl GraphBuilder {
    /// An input of shape `[rows, width]`.
    pub(crate) fn input(&mut self, name: &str, element: Element, width: usize) -> String {
        self.graph.inputs.push(value_info(name, element, Some(width)));
        name.to_string()
    }

    /// Makes a value an output of shape `[rows, width]` under a name of its own.
    pub(crate) fn output(&mut self, value: &str, name: &str, width: usize) {
        self.push("Identity", &[value], vec![], name.to_string());
        self.graph.outputs.push(value_info(name, Element::Float, Some(width)));
    }

    fn push(&mut self, operator: &str, inputs: &[&str], attributes: Vec<Attribute>, output: String) {
        let is_ml = matches!(operator, "LabelEncoder" | "TreeEnsembleRegressor");
        self.graph.nodes.push(Node {
            inputs: inputs.iter().map(ToString::to_string).collect(),
            name: format!("{operator}_{}", self.graph.nodes.len()),
            outputs: vec![output],
            operator: operator.into(),
            attributes,
            domain: if is_ml { ML.into() } else { String::new() },
        });
    }

    /// The one output of an operator.
    pub(crate) fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let output = self.name();
        self.push(operator, inputs, attributes, output.clone());
        output
    }

    fn name(&mut self) -> String {
        self.values += 1;
        format!("{INTERNAL}v{}", self.values)
    }

    /// Numbers that are part of the graph.
    pub(crate) fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.constant(dims, Element::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Whole numbers that are part of the graph.
    pub(crate) fn integers(&mut self, dims: &[usize], values: &[i64]) -> String {
        self.constant(dims, Element::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn constant(&mut self, dims: &[usize], element: Element, raw: Vec<u8>) -> String {
        let name = format!("{INTERNAL}c{}", self.graph.initializers.len());
        let dims = dims.iter().map(|size| *size as i64).collect();
        self.graph.initializers.push(Tensor { dims, data_type: element as i32, name: name.clone(), raw });
        name
    }

    /// Values side by side.
    pub(crate) fn concat(&mut self, values: &[String]) -> String {
        match values {
            [only] => only.clone(),
            several => {
                let inputs: Vec<&str> = several.iter().map(String::as_str).collect();
                self.node("Concat", &inputs, vec![Attribute::integer("axis", 1)])
            }
        }
    }

    /// The file.
    pub(crate) fn finish(mut self, name: &str) -> Vec<u8> {
        self.graph.name = name.into();
        let operator_sets = OPSETS.iter().map(|(domain, version)| OperatorSet { domain: (*domain).into(), version: *version }).collect();
        Model { ir_version: IR_VERSION, producer: "sensorium".into(), graph: Some(self.graph), operator_sets }.encode_to_vec()
    }
}
