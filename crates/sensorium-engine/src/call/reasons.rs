//! The strongest contributions to a prediction, as reasons.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use sensorium_inference::{Answer, Error, Kind as ErrorKind, reasons as strongest};

use super::evaluate::{Arguments, Bound, Kind, answer};
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

/// Most reasons of a row.
const MAX_REASONS: i64 = 1_000;

/// Checks the last argument of a call, which says how many reasons there are at most.
///
/// # Errors
/// When it is no whole number that is written out.
pub(super) fn check_count(field: Option<&FieldRef>, value: Option<&ScalarValue>) -> Result<(), Error> {
    let number = value.and_then(|value| value.cast_to(&DataType::Int64).ok());
    match (field.map(|field| field.data_type().is_integer()), number) {
        (Some(true), Some(ScalarValue::Int64(Some(1..=MAX_REASONS)))) => Ok(()),
        _ => Err(Error::new(ErrorKind::Argument, format!("the last argument says how many reasons, from 1 to {MAX_REASONS}"))
            .with_hint("mm_reasons('credit', amount, income, 4)")),
    }
}

/// The reasons of each row.
pub(super) fn reasons(engine: &Engine, kind: Kind, bound: &Bound, arguments: &Arguments<'_>, settings: &MmSettings) -> Result<Answer> {
    let Some((count, inputs)) = arguments.arrays.split_last() else {
        return Err(to_datafusion(Error::new(ErrorKind::Argument, "no number of reasons")));
    };
    let own = Arguments { arrays: inputs, fields: &arguments.fields[..inputs.len()], ..*arguments };
    let Answer { values, failures } = answer(engine, kind, bound, &own, settings)?;
    let count = cast(count, &DataType::Int64)?;
    let count = count.as_primitive::<Int64Type>();
    let count = if count.is_empty() || count.is_null(0) { 1 } else { count.value(0).clamp(1, MAX_REASONS) };
    let explanations = values.whole().map_err(to_datafusion)?;
    let found = strongest(&bound.version.manifest, &explanations, usize::try_from(count).unwrap_or(1)).map_err(to_datafusion)?;
    Ok(Answer::new(found, failures))
}
