//! What becomes of rows that failed.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::Result;
use sensorium_inference::{Answer, Failure, Values};

use super::evaluate::RowNames;
use crate::engine::Engine;
use crate::errors::{row_error, to_datafusion};
use crate::settings::{MmSettings, OnError};

/// How a call treats rows that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Policy {
    /// As `mm.on_error` says.
    Setting,
    /// A struct of the value and the row's own error, as the `mm_try_` functions return.
    Try,
}

impl Policy {
    /// Whether a failed row ends the query.
    pub(crate) fn stops(self, settings: &MmSettings) -> bool {
        self == Self::Setting && settings.on_error == OnError::Fail
    }
}

/// `{value, error}`
pub(crate) fn try_type(value: DataType) -> DataType {
    DataType::Struct(try_fields(value))
}

fn try_fields(value: DataType) -> Fields {
    Fields::from(vec![Field::new("value", value, true), Field::new("error", DataType::Utf8, true)])
}

/// The column that a call returns after its policy was applied. `names` says what rows are called.
pub(crate) fn settle(
    engine: &Engine,
    function: &str,
    model: Option<&str>,
    answer: Answer,
    policy: Policy,
    settings: &MmSettings,
    names: &dyn RowNames,
) -> Result<Values> {
    let Answer { values, failures } = answer;
    if policy == Policy::Try {
        return Ok(with_errors(&values.whole().map_err(to_datafusion)?, &failures).into());
    }
    match (settings.on_error, failures.first()) {
        (_, None) => Ok(values),
        (OnError::Fail, Some(failure)) => Err(row_error(function, names.number(failure.row), failure)),
        (OnError::Null, Some(_)) => {
            engine.ledger.record(function, model, names, &failures, settings.max_errors);
            Ok(values)
        }
    }
}

fn with_errors(values: &ArrayRef, failures: &[Failure]) -> ArrayRef {
    let mut errors: Vec<Option<String>> = vec![None; values.len()];
    for failure in failures {
        errors[failure.row] = Some(format!("{}: {}", failure.step, failure.error));
    }
    let columns: Vec<ArrayRef> = vec![Arc::clone(values), Arc::new(StringArray::from(errors))];
    Arc::new(StructArray::new(try_fields(values.data_type().clone()), columns, None))
}
