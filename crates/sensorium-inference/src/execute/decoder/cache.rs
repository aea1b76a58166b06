//! Copying rows of a decoder's cache, `[rows, heads, places, width]`.

use std::sync::Arc;

use half::f16;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

use super::failed;
use crate::error::Result;
use crate::package::{Element, Port};

/// Some rows of a tensor, without their first places.
pub(super) struct Part {
    pub(super) value: Arc<DynValue>,
    pub(super) rows: Vec<usize>,
    pub(super) skip: usize,
}

/// The rows of all parts in one cache of `length` places, the front of shorter ones filled with zeros; of as many places as the first
/// part where that is not given.
pub(super) fn join(parts: &[Part], length: Option<usize>) -> Result<DynValue> {
    typed(parts, |element| match element {
        Typed::Float32 => join_places::<f32>(parts, length),
        Typed::Float16 => join_places::<f16>(parts, length),
    })
}

/// The rows of all parts, whatever the shape behind them.
pub(super) fn join_rows(parts: &[Part]) -> Result<DynValue> {
    typed(parts, |element| match element {
        Typed::Float32 => join_whole::<f32>(parts),
        Typed::Float16 => join_whole::<f16>(parts),
    })
}

enum Typed {
    Float32,
    Float16,
}

fn typed(parts: &[Part], join: impl FnOnce(Typed) -> Result<DynValue>) -> Result<DynValue> {
    let first = parts.first().ok_or_else(|| failed(&"nothing to join"))?;
    if first.value.try_extract_tensor::<f32>().is_ok() {
        join(Typed::Float32)
    } else if first.value.try_extract_tensor::<f16>().is_ok() {
        join(Typed::Float16)
    } else {
        Err(failed(&"its cache is neither float32 nor float16"))
    }
}

fn extract<T: PrimitiveTensorElementType>(part: &Part) -> Result<(Vec<usize>, &[T])> {
    let (shape, values) = part.value.try_extract_tensor::<T>().map_err(|error| failed(&error))?;
    Ok((shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect(), values))
}

fn tensor<T>(shape: Vec<usize>, values: Vec<T>) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let shape: Vec<i64> = shape.into_iter().map(|size| size as i64).collect();
    Tensor::from_array((shape, values)).map(ort::value::Value::into_dyn).map_err(|error| failed(&error))
}

fn join_whole<T>(parts: &[Part]) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Copy + Default + 'static,
{
    let (mut joined, mut trailing, mut count) = (Vec::new(), Vec::new(), 0);
    for part in parts {
        let (shape, values) = extract::<T>(part)?;
        let width: usize = shape[1..].iter().product();
        part.rows.iter().for_each(|row| joined.extend_from_slice(&values[row * width..(row + 1) * width]));
        count += part.rows.len();
        trailing = shape[1..].to_vec();
    }
    tensor([count].into_iter().chain(trailing).collect(), joined)
}

fn join_places<T>(parts: &[Part], length: Option<usize>) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Copy + Default + 'static,
{
    let rows: usize = parts.iter().map(|part| part.rows.len()).sum();
    let (mut joined, mut whole) = (Vec::new(), (0, 0, 0));
    for part in parts {
        let (shape, values) = extract::<T>(part)?;
        let &[_, heads, own, width] = shape.as_slice() else { return Err(failed(&format!("a cache of shape {shape:?}"))) };
        let length = length.unwrap_or(own);
        let kept = own.checked_sub(part.skip).filter(|kept| *kept <= length).ok_or_else(|| failed(&"a cache of another length"))?;
        if joined.is_empty() {
            joined.reserve_exact(rows * heads * length * width);
        }
        for head in part.rows.iter().flat_map(|row| (0..heads).map(move |head| row * heads + head)) {
            joined.resize(joined.len() + (length - kept) * width, T::default());
            joined.extend_from_slice(&values[(head * own + part.skip) * width..(head + 1) * own * width]);
        }
        whole = (heads, length, width);
    }
    tensor(vec![rows, whole.0, whole.1, whole.2], joined)
}

/// What a graph gets before there is a cache. One with a branch for that needs a place that is not looked at.
pub(super) fn empty(port: &Port, rows: usize, has_branch: bool) -> Result<DynValue> {
    let size = |place: usize| port.shape.get(place).copied().flatten().ok_or_else(|| failed(&format!("the size of {port} is not known")));
    let (heads, width, places) = (size(1)?, size(3)?, usize::from(has_branch));
    let (shape, count) = (vec![rows, heads, places, width], rows * heads * places * width);
    match port.element {
        Element::Float32 => tensor(shape, vec![0.0_f32; count]),
        Element::Float16 => tensor(shape, vec![f16::ZERO; count]),
        _ => Err(failed(&format!("a cache of {port}"))),
    }
}
