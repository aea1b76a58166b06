//! `mm_fuse`: early fusion joins vectors, late fusion averages predictions.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};
use sensorium_inference::{Answer, Error};

use super::late::{late_answer, late_type};
use super::vectors::{Kernel, VectorFunction, Vectors, argument_error, is_vector, not_finite};
use crate::call::Policy;
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Fusion of modalities. 'early' joins vectors of fixed length and numbers into one vector (NULL where one is NULL). 'late' \
         averages numbers, or the probabilities of classifications with the same classes; a prediction that is NULL is left out and \
         the other weights grow in proportion, NULL where all are.",
        "mm_fuse('early', u, v, x, ..) | mm_fuse('late', p, q, .. [, {weights: [0.7, 0.3]}])",
    )
    .with_argument("how", "'early' or 'late', as a literal")
    .with_argument("parts", "Vectors and numbers to join, or predictions to average, then optionally a struct with the list `weights`")
    .with_sql_example("SELECT mm_fuse('early', mm_embed('minilm', note), amount) FROM loans")
    .build()
});

/// Type check and computation, shared with the `mm_try_` twin.
pub(super) const KERNEL: Kernel = Kernel { result_type, compute, takes_single: false };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(VectorFunction::new("mm_fuse", KERNEL, Policy::Setting, engine, &DOCUMENTATION))
}

fn result_type(arguments: &[FieldRef], literals: &[Option<&ScalarValue>]) -> Result<DataType, Error> {
    let parts = arguments.get(1..).unwrap_or_default();
    if parts.is_empty() {
        return Err(argument_error("mm_fuse needs something to fuse", "mm_fuse('early', u, v) or mm_fuse('late', p, q)"));
    }
    match literals.first().copied().flatten().and_then(|how| how.try_as_str().flatten()) {
        Some("early") => early_type(parts),
        Some("late") => late_type(parts),
        Some(other) => Err(argument_error(format!("unknown fusion: '{other}'"), "'early' joins vectors, 'late' averages predictions")),
        None => Err(argument_error("the kind of fusion must be a literal", "mm_fuse('early', u, v) or mm_fuse('late', p, q)")),
    }
}

fn early_type(parts: &[FieldRef]) -> Result<DataType, Error> {
    let mut width = 0;
    for part in parts {
        width += match part.data_type() {
            DataType::FixedSizeList(_, length) if is_vector(part.data_type()) => *length,
            number if number.is_numeric() => 1,
            other => {
                let hint = "vectors of fixed length, as mm_embed gives, and numbers; arrow_cast(v, 'FixedSizeList(3, Float32)') for a list";
                return Err(argument_error(format!("early fusion cannot join {other}"), hint));
            }
        };
    }
    Ok(DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, true)), width))
}

fn compute(arguments: &[ArrayRef], _: usize, data_type: &DataType) -> Result<Answer> {
    match data_type {
        DataType::FixedSizeList(item, width) => early(&arguments[1..], item, *width),
        other => late_answer(&arguments[1..], other),
    }
}

fn early(parts: &[ArrayRef], item: &FieldRef, width: i32) -> Result<Answer> {
    let rows = parts[0].len();
    let parts = parts.iter().map(as_vectors).collect::<Result<Vec<_>>>()?;
    let mut values = Vec::with_capacity(rows * width as usize);
    let mut valid = Vec::with_capacity(rows);
    let mut failures = Vec::new();
    for row in 0..rows {
        let end = (row + 1) * width as usize;
        let mut pieces: Option<Vec<&[f32]>> = parts.iter().map(|part| part.row(row)).collect();
        if pieces.iter().flatten().any(|piece| piece.iter().any(|value| !value.is_finite())) {
            failures.push(not_finite(row));
            pieces = None;
        }
        valid.push(pieces.is_some());
        pieces.into_iter().flatten().for_each(|piece| values.extend_from_slice(piece));
        values.resize(end, 0.0);
    }
    let list = FixedSizeListArray::try_new(Arc::clone(item), width, Arc::new(Float32Array::from(values)), Some(NullBuffer::from(valid)))?;
    Ok(Answer::new(Arc::new(list), failures))
}

/// Numbers are vectors of one.
fn as_vectors(part: &ArrayRef) -> Result<Vectors> {
    if is_vector(part.data_type()) {
        return Vectors::new(part);
    }
    let single: ArrayRef =
        Arc::new(FixedSizeListArray::try_new(Arc::new(Field::new_list_field(part.data_type().clone(), true)), 1, Arc::clone(part), None)?);
    Vectors::new(&single)
}
