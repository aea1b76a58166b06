//! A result column whose equal values are kept once.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::rows::{not_copied, take_rows};
use crate::error::{Error, Kind, Result};

/// One value per row. Rows may share a value, which is copied for each of them no earlier than it is asked for: vectors for
/// half a million rows take a gigabyte, those of their two thousand different texts three megabytes.
#[derive(Debug, Clone)]
pub struct Values {
    different: ArrayRef,
    /// Where each row's value is; none for NULL. `None` where row and place are the same.
    places: Option<UInt32Array>,
}

impl From<ArrayRef> for Values {
    fn from(values: ArrayRef) -> Self {
        Self { different: values, places: None }
    }
}

impl Values {
    /// Row `i` has the value of `self` at `rows[i]`.
    pub(super) fn repeated(self, rows: Vec<u32>) -> Result<Self> {
        let rows = UInt32Array::from(rows);
        let places = match &self.places {
            None => rows,
            Some(places) => {
                let taken = arrow::compute::take(places, &rows, None).map_err(|error| not_copied(&error))?;
                taken.as_primitive().clone()
            }
        };
        Ok(Self { places: Some(places), ..self })
    }

    /// As many rows as `rows`, of which number `selection[i]` has the value of row `i`, and the others NULL.
    #[must_use]
    pub fn spread(self, selection: &[usize], rows: usize) -> Self {
        let mut places: Vec<Option<u32>> = vec![None; rows];
        for (row, spread) in selection.iter().enumerate() {
            places[*spread] = self.place(row);
        }
        Self { places: Some(places.into()), ..self }
    }

    fn place(&self, row: usize) -> Option<u32> {
        match &self.places {
            None => u32::try_from(row).ok(),
            Some(places) => places.is_valid(row).then(|| places.value(row)),
        }
    }

    /// The values of a field; NULL where the whole is.
    ///
    /// # Errors
    /// When values are no structs with such a field.
    pub fn field(self, name: &str) -> Result<Self> {
        let missing = || Error::new(Kind::Model, format!("no field '{name}' in {}", self.different.data_type()));
        let structs = self.different.as_struct_opt().ok_or_else(missing)?;
        let column = structs.column_by_name(name).ok_or_else(missing)?;
        let nulls = NullBuffer::union(structs.nulls(), column.nulls());
        let data = column.to_data().into_builder().nulls(nulls).build().map_err(|error| not_copied(&error))?;
        Ok(Self { different: make_array(data), places: self.places })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.places.as_ref().map_or(self.different.len(), Array::len)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of a value.
    pub fn data_type(&self) -> &DataType {
        self.different.data_type()
    }

    /// Bytes in memory before anything is copied.
    pub fn bytes(&self) -> usize {
        self.different.get_array_memory_size() + self.places.as_ref().map_or(0, Array::get_array_memory_size)
    }

    /// The values of some rows.
    ///
    /// # Errors
    /// [`Kind::Model`](crate::error::Kind::Model) when they take more than an array can hold.
    pub fn of(&self, rows: Range<usize>) -> Result<ArrayRef> {
        let (start, length) = (rows.start, rows.len());
        match &self.places {
            None => Ok(self.different.slice(start, length)),
            Some(places) => take_rows(&self.different, &places.slice(start, length)).map_err(|error| not_copied(&error)),
        }
    }

    /// The values of all rows.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn whole(&self) -> Result<ArrayRef> {
        self.of(0..self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn numbers(values: &Values, rows: Range<usize>) -> Vec<Option<i64>> {
        values.of(rows).expect("rows").as_primitive::<Int64Type>().iter().collect()
    }

    proptest! {
        #[test]
        fn rows_have_the_values_that_copies_would_have(
            own in prop::collection::vec(prop::option::of(any::<i64>()), 1..20),
            repeats in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
            gaps in prop::collection::vec(0usize..3, 40),
        ) {
            let rows: Vec<u32> = repeats.iter().map(|index| index.index(own.len()) as u32).collect();
            let mut expected: Vec<Option<i64>> = rows.iter().map(|row| own[*row as usize]).collect();
            let values = Values::from(Arc::new(Int64Array::from(own)) as ArrayRef).repeated(rows).expect("rows");
            prop_assert_eq!(numbers(&values, 0..values.len()), expected.clone());
            let backwards: Vec<u32> = (0..values.len() as u32).rev().collect();
            let values = values.repeated(backwards).expect("rows");
            expected.reverse();
            let mut selection = Vec::new();
            let mut spread = Vec::new();
            for (value, gap) in expected.into_iter().zip(gaps) {
                spread.extend(std::iter::repeat_n(None, gap));
                selection.push(spread.len());
                spread.push(value);
            }
            let values = values.spread(&selection, spread.len());
            prop_assert_eq!(values.len(), spread.len());
            let half = spread.len() / 2;
            prop_assert_eq!(numbers(&values, half..spread.len()), spread[half..].to_vec());
            prop_assert_eq!(values.whole().expect("rows").len(), spread.len());
        }
    }
}
