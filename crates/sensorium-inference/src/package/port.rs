//! Types of a graph's inputs and outputs.

use std::fmt;
use std::path::Path;

use ort::value::{Outlet, TensorElementType, ValueType};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::runtime::{GpuOptions, Provider, Source, open_session};

/// One input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name in the graph.
    pub name: String,
    /// Element type.
    pub element: Element,
    /// Dimensions, rows first; `None` where the graph leaves one open.
    pub shape: Vec<Option<usize>>,
}

/// Element types that Sensorium can fill or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 16-bit floating point.
    Float16,
    /// 32-bit floating point.
    Float32,
    /// 64-bit floating point.
    Float64,
    /// 8-bit integer.
    Int8,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Byte.
    Uint8,
    /// Truth value.
    Bool,
    /// Text.
    String,
    /// A sequence of maps from class to probability, as ONNX-ML's ZipMap returns.
    ZipMap,
}

impl Element {
    /// Whether columns of numbers can fill it.
    pub fn is_numeric(self) -> bool {
        !matches!(self, Self::String | Self::ZipMap)
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int8 => "int8",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Bool => "bool",
            Self::String => "string",
            Self::ZipMap => "zipmap",
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dimensions: Vec<String> = self.shape.iter().map(|size| size.map_or("?".into(), |size| size.to_string())).collect();
        write!(f, "{} {}[{}]", self.name, self.element, dimensions.join(", "))
    }
}

/// Inputs and outputs of a graph as ONNX Runtime infers them.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

impl Signature {
    /// Loads the graph once, which also proves that it can be loaded.
    pub(crate) fn read(graph: &Path) -> Result<Self> {
        let session = open_session(Source::File(graph), Provider::Cpu, GpuOptions::default())?;
        let ports = |outlets: &[Outlet]| outlets.iter().map(port).collect::<Result<Vec<_>>>();
        Ok(Self { inputs: ports(session.inputs())?, outputs: ports(session.outputs())? })
    }
}

fn port(outlet: &Outlet) -> Result<Port> {
    let name = outlet.name().to_string();
    let unusable = |what: String| Error::new(Kind::Package, format!("cannot be used from SQL: '{name}' is {what}"));
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let element = element(*ty).ok_or_else(|| unusable(format!("a tensor of {ty}")))?;
            let shape = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
            Ok(Port { name, element, shape })
        }
        ValueType::Sequence(inner) if matches!(**inner, ValueType::Map { .. }) => {
            Ok(Port { name, element: Element::ZipMap, shape: vec![None] })
        }
        other => Err(unusable(format!("of type {other}"))),
    }
}

fn element(ty: TensorElementType) -> Option<Element> {
    Some(match ty {
        TensorElementType::Float16 => Element::Float16,
        TensorElementType::Float32 => Element::Float32,
        TensorElementType::Float64 => Element::Float64,
        TensorElementType::Int8 => Element::Int8,
        TensorElementType::Int32 => Element::Int32,
        TensorElementType::Int64 => Element::Int64,
        TensorElementType::Uint8 => Element::Uint8,
        TensorElementType::Bool => Element::Bool,
        TensorElementType::String => Element::String,
        _ => return None,
    })
}
