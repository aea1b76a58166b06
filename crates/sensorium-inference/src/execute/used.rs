//! Which modalities of its inputs a row has: part of what is predicted where some may be absent.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

use crate::modality::Column;
use crate::package::Manifest;

/// The field of a prediction that names them.
pub(super) fn used_field() -> Field {
    Field::new("modalities_used", DataType::List(Arc::new(item())), true)
}

fn item() -> Field {
    Field::new_list_field(DataType::Utf8, true)
}

/// Names of the modalities of each row, in the order of [`Manifest::modalities`]; none for rows that are not `active`.
pub(super) fn modalities_used(manifest: &Manifest, columns: &HashMap<String, Column>, active: &[bool]) -> ArrayRef {
    let is_present = |input: &str, row: usize| columns.get(input).is_some_and(|column| column.is_present(row));
    let tabular: Vec<&str> = manifest.inputs.iter().filter(|input| input.is_tabular()).map(|input| input.name.as_str()).collect();
    let names = manifest.modalities();
    let has = |name: &String, row: usize| match manifest.input(name) {
        Some(_) => is_present(name, row),
        None => tabular.iter().any(|input| is_present(input, row)),
    };
    let used: Vec<Vec<&str>> = (0..active.len())
        .map(|row| if active[row] { names.iter().filter(|name| has(name, row)).map(String::as_str).collect() } else { Vec::new() })
        .collect();
    let values = StringArray::from(used.concat());
    Arc::new(ListArray::new(Arc::new(item()), OffsetBuffer::from_lengths(used.iter().map(Vec::len)), Arc::new(values), None))
}
