//! Copying rows of what a decoder looks back to: its cache, `[rows, heads, places, width]`, and states, `[rows, places, ..]`.

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

/// What becomes of the places of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Dimension that counts them.
    pub(super) axis: usize,
    /// So many there are afterwards.
    pub(super) length: usize,
    /// Where zeros fill up what has fewer; what has more loses its last ones where they are filled up behind.
    pub(super) fill: Fill,
}

/// The side of a row at which it is filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Front,
    Behind,
}

/// The rows of all parts in one tensor.
pub(super) fn join(parts: &[Part], places: Places) -> Result<DynValue> {
    let first = parts.first().ok_or_else(|| failed(&"nothing to join"))?;
    if first.value.try_extract_tensor::<f32>().is_ok() {
        join_places::<f32>(parts, places)
    } else if first.value.try_extract_tensor::<f16>().is_ok() {
        join_places::<f16>(parts, places)
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

fn join_places<T>(parts: &[Part], Places { axis, length, fill }: Places) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Copy + Default + 'static,
{
    let rows: usize = parts.iter().map(|part| part.rows.len()).sum();
    let (mut joined, mut whole) = (Vec::new(), Vec::new());
    for part in parts {
        let (mut shape, values) = extract::<T>(part)?;
        if shape.len() <= axis {
            return Err(failed(&format!("a cache of shape {shape:?}")));
        }
        let (heads, own, width) = (shape[1..axis].iter().product::<usize>(), shape[axis], shape[axis + 1..].iter().product::<usize>());
        let kept = own.checked_sub(part.skip).map(|kept| if fill == Fill::Behind { kept.min(length) } else { kept });
        let kept = kept.filter(|kept| *kept <= length).ok_or_else(|| failed(&"a cache of another length"))?;
        if joined.is_empty() {
            joined.reserve_exact(rows * heads * length * width);
        }
        for head in part.rows.iter().flat_map(|row| (0..heads).map(move |head| row * heads + head)) {
            let empty = (length - kept) * width;
            if fill == Fill::Front {
                joined.resize(joined.len() + empty, T::default());
            }
            let start = (head * own + part.skip) * width;
            joined.extend_from_slice(&values[start..start + kept * width]);
            if fill == Fill::Behind {
                joined.resize(joined.len() + empty, T::default());
            }
        }
        shape[0] = rows;
        shape[axis] = length;
        whole = shape;
    }
    tensor(whole, joined)
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
