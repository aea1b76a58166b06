//! Figures that are lists of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue, exec_err};

use super::ranking::{list, one_list};

/// The type of a list of rows with these columns.
pub(crate) fn table_type(columns: &[(&str, DataType)]) -> DataType {
    let fields: Fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    list(DataType::Struct(fields))
}

/// A list of rows of the type `of`, from their columns.
pub(crate) fn table(of: &DataType, columns: Vec<ArrayRef>) -> Result<ScalarValue> {
    let DataType::List(item) = of else { return exec_err!("not a list: {of}") };
    let DataType::Struct(fields) = item.data_type() else { return exec_err!("not a list of rows: {of}") };
    one_list(Some(Arc::new(StructArray::try_new(fields.clone(), columns, None)?)), item.data_type().clone())
}
