//! Reading the one row of an answer.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// Columns by name.
#[derive(Debug)]
pub(super) struct Answers(pub(super) RecordBatch);

impl Answers {
    /// A number, if it is there and not NULL.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let column = cast(self.0.column_by_name(name)?, &DataType::Float64).ok()?;
        column.as_primitive::<Float64Type>().iter().next().flatten()
    }

    /// A text, if it is there and not NULL.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let column = cast(self.0.column_by_name(name)?, &DataType::Utf8).ok()?;
        column.as_string::<i32>().iter().next().flatten().map(str::to_string)
    }

    /// How many there are.
    pub(super) fn count(&self, name: &str) -> usize {
        let column = self.0.column_by_name(name).and_then(|column| cast(column, &DataType::Int64).ok());
        column.map_or(0, |column| column.as_primitive::<Int64Type>().iter().next().flatten().unwrap_or(0).max(0) as usize)
    }

    /// Column `field` of the rows that a metric of many rows gave.
    fn rows(&self, name: &str, field: &str) -> Option<ArrayRef> {
        let lists = self.0.column_by_name(name)?.as_list_opt::<i32>()?;
        let own = lists.is_valid(0).then(|| lists.value(0))?;
        own.as_struct_opt()?.column_by_name(field).cloned()
    }

    /// The same as numbers.
    pub(super) fn numbers(&self, name: &str, field: &str) -> Vec<f64> {
        let column = self.rows(name, field).and_then(|column| cast(&column, &DataType::Float64).ok());
        column.map_or_else(Vec::new, |column| column.as_primitive::<Float64Type>().iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }

    /// The same as texts.
    pub(super) fn texts(&self, name: &str, field: &str) -> Vec<String> {
        let column = self.rows(name, field).and_then(|column| cast(&column, &DataType::Utf8).ok());
        column.map_or_else(Vec::new, |column| column.as_string::<i32>().iter().map(|value| value.unwrap_or_default().to_string()).collect())
    }
}
