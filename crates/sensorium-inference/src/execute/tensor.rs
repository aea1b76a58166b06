//! Values that leave a graph.

use std::borrow::Cow;

use ort::value::{DynMapValueType, DynValue, ValueType};

use crate::error::{Error, Kind, Result};
use crate::package::{ClassNames, Element, Port};

/// A tensor in host memory, rows first.
#[derive(Debug, Clone)]
pub(crate) struct HostTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

/// Its values; 16-bit floats are widened, small integers too.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Int64(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

fn unreadable(port: &Port, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("output '{}' cannot be read: {error}", port.name))
}

impl HostTensor {
    /// Copies `value` out of ONNX Runtime. A ZipMap becomes `[rows, classes]` in the order of `classes`.
    pub(crate) fn read(port: &Port, value: &DynValue, classes: Option<&ClassNames>) -> Result<Self> {
        if port.element == Element::ZipMap {
            return zipmap(port, value, classes);
        }
        let ValueType::Tensor { shape, .. } = value.dtype() else {
            return Err(unreadable(port, &"not a tensor"));
        };
        let shape = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
        macro_rules! copy {
            ($element:ty) => {
                value.try_extract_tensor::<$element>().map_err(|error| unreadable(port, &error))?.1
            };
        }
        let data = match port.element {
            Element::Float16 => Data::Float32(copy!(half::f16).iter().map(|value| value.to_f32()).collect()),
            Element::Float32 => Data::Float32(copy!(f32).to_vec()),
            Element::Float64 => Data::Float64(copy!(f64).to_vec()),
            Element::Int8 => Data::Int64(copy!(i8).iter().map(|value| i64::from(*value)).collect()),
            Element::Int32 => Data::Int64(copy!(i32).iter().map(|value| i64::from(*value)).collect()),
            Element::Int64 => Data::Int64(copy!(i64).to_vec()),
            Element::Uint8 => Data::Int64(copy!(u8).iter().map(|value| i64::from(*value)).collect()),
            Element::Bool => Data::Bool(copy!(bool).to_vec()),
            Element::String | Element::ZipMap => Data::Text(value.try_extract_strings().map_err(|error| unreadable(port, &error))?.1),
        };
        Ok(Self { shape, data })
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Values of one row.
    pub(crate) fn width(&self) -> usize {
        self.shape.get(1..).unwrap_or_default().iter().product()
    }

    /// The values as 32-bit floats.
    pub(crate) fn into_f32(self, port: &Port) -> Result<Vec<f32>> {
        match self.data {
            Data::Float32(values) => Ok(values),
            Data::Float64(values) => Ok(values.into_iter().map(|value| value as f32).collect()),
            Data::Int64(values) => Ok(values.into_iter().map(|value| value as f32).collect()),
            Data::Bool(values) => Ok(values.into_iter().map(|value| f32::from(u8::from(value))).collect()),
            Data::Text(_) => Err(unreadable(port, &"text where numbers are expected")),
        }
    }
}

/// Shape and values of `value` as 32-bit floats, not copied where they are such already.
pub(crate) fn floats<'a>(port: &Port, value: &'a DynValue) -> Result<(Vec<usize>, Cow<'a, [f32]>)> {
    if port.element != Element::Float32 {
        let tensor = HostTensor::read(port, value, None)?;
        return Ok((tensor.shape.clone(), Cow::Owned(tensor.into_f32(port)?)));
    }
    let (shape, values) = value.try_extract_tensor::<f32>().map_err(|error| unreadable(port, &error))?;
    Ok((shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect(), Cow::Borrowed(values)))
}

fn zipmap(port: &Port, value: &DynValue, classes: Option<&ClassNames>) -> Result<HostTensor> {
    let classes = classes.ok_or_else(|| unreadable(port, &"a map whose classes are not known"))?;
    let rows = value.try_extract_sequence::<DynMapValueType>().map_err(|error| unreadable(port, &error))?;
    let mut data = Vec::with_capacity(rows.len() * classes.len());
    let absent = || unreadable(port, &"a class has no probability");
    for row in &rows {
        match classes {
            ClassNames::Strings(names) => {
                let map = row.try_extract_map::<String, f32>().map_err(|error| unreadable(port, &error))?;
                for name in names {
                    data.push(*map.get(name).ok_or_else(absent)?);
                }
            }
            ClassNames::Integers(names) => {
                let map = row.try_extract_map::<i64, f32>().map_err(|error| unreadable(port, &error))?;
                for name in names {
                    data.push(*map.get(name).ok_or_else(absent)?);
                }
            }
        }
    }
    Ok(HostTensor { shape: vec![rows.len(), classes.len()], data: Data::Float32(data) })
}

impl HostTensor {
    /// The first `width` values of each row.
    ///
    /// # Errors
    /// When there are fewer.
    pub(crate) fn first(self, width: usize) -> Result<Self> {
        let (rows, own) = (self.rows(), self.width());
        if own < width {
            return Err(Error::new(Kind::Model, format!("{own} values a row where {width} are needed")));
        }
        let shape = vec![rows, width];
        let kept = |value: Vec<f32>| value.chunks_exact(own.max(1)).flat_map(|row| &row[..width]).copied().collect();
        let data = match self.data {
            _ if own == width => self.data,
            Data::Float32(values) => Data::Float32(kept(values)),
            Data::Float64(values) => Data::Float32(kept(values.into_iter().map(|value| value as f32).collect())),
            _ => return Err(Error::new(Kind::Model, "scores that are no floating-point numbers")),
        };
        Ok(Self { shape, data })
    }

    /// Keeps the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        let count = rows.saturating_mul(self.width());
        if let Some(first) = self.shape.first_mut() {
            *first = rows.min(*first);
        }
        match &mut self.data {
            Data::Float32(values) => values.truncate(count),
            Data::Float64(values) => values.truncate(count),
            Data::Int64(values) => values.truncate(count),
            Data::Bool(values) => values.truncate(count),
            Data::Text(values) => values.truncate(count),
        }
    }
}
