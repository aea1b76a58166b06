//! Values of columns as JSON, fields in their order.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};

use crate::error::{Error, Kind, Result};

/// The value at `row` as JSON: truth values, numbers, texts, and lists and structs of these.
///
/// # Errors
/// [`Kind::Argument`] for any other type.
pub fn json_of(array: &ArrayRef, row: usize) -> Result<String> {
    let mut text = String::new();
    write(array, row, &mut text)?;
    Ok(text)
}

fn unknown(data_type: &DataType) -> Error {
    Error::new(Kind::Argument, format!("{data_type} cannot be written as JSON")).with_hint("CAST(.. AS VARCHAR) where that is meant")
}

fn write(array: &ArrayRef, row: usize, text: &mut String) -> Result<()> {
    if array.is_null(row) {
        text.push_str("null");
        return Ok(());
    }
    let to = |data_type: &DataType| cast(array, data_type).map_err(|_| unknown(array.data_type()));
    match array.data_type() {
        DataType::Boolean => text.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::UInt64 => add(text, array.as_primitive::<UInt64Type>().value(row)),
        own if own.is_integer() => add(text, to(&DataType::Int64)?.as_primitive::<Int64Type>().value(row)),
        own if own.is_floating() || own.is_decimal() => {
            let number = to(&DataType::Float64)?.as_primitive::<Float64Type>().value(row);
            text.push_str(&serde_json::Value::from(number).to_string());
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            text.push_str(&serde_json::Value::from(to(&DataType::Utf8)?.as_string::<i32>().value(row)).to_string());
        }
        DataType::Dictionary(_, values) => write(&to(values)?, row, text)?,
        DataType::Struct(fields) => {
            for (place, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                text.push_str(if place == 0 { "{" } else { "," });
                text.push_str(&serde_json::Value::from(field.name().as_str()).to_string());
                text.push(':');
                write(column, row, text)?;
            }
            text.push_str(if fields.is_empty() { "{}" } else { "}" });
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let lists = to(&DataType::LargeList(Arc::clone(item)))?;
            let items = lists.as_list::<i64>().value(row);
            text.push('[');
            for place in 0..items.len() {
                text.push_str(if place == 0 { "" } else { "," });
                write(&items, place, text)?;
            }
            text.push(']');
        }
        other => return Err(unknown(other)),
    }
    Ok(())
}

fn add(text: &mut String, number: impl std::fmt::Display) {
    // A text takes what it is given.
    let _ = write!(text, "{number}");
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    #[test]
    fn fields_keep_their_order() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![])]);
        let columns: Vec<(Arc<Field>, ArrayRef)> = vec![
            (Arc::new(Field::new("z", DataType::Utf8, true)), Arc::new(StringArray::from(vec![Some("a \"b\"\n"), None]))),
            (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![Some(-3), None]))),
            (Arc::new(Field::new("l", lists.data_type().clone(), true)), Arc::new(lists)),
        ];
        let structs: ArrayRef = Arc::new(StructArray::from(columns));
        assert_eq!(json_of(&structs, 0).expect("JSON"), r#"{"z":"a \"b\"\n","a":-3,"l":[1,null]}"#);
        assert_eq!(json_of(&structs, 1).expect("JSON"), r#"{"z":null,"a":null,"l":[]}"#);
    }
}
