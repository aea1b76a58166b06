//! Choosing rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, UInt32Array, make_array};
use arrow::buffer::{MutableBuffer, NullBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

use crate::error::{Error, Kind};

/// That rows of results could not be chosen.
pub(super) fn not_copied(error: &ArrowError) -> Error {
    Error::new(Kind::Model, format!("results cannot be copied: {error}"))
}

/// The range that `rows` are, if each is the one behind the last.
pub(super) fn run_of(mut rows: impl Iterator<Item = usize>) -> Option<Range<usize>> {
    let first = rows.next()?;
    let mut end = first + 1;
    for row in rows {
        if row != end {
            return None;
        }
        end += 1;
    }
    Some(first..end)
}

/// As arrow's `take`; vectors are copied whole, where arrow's kernel copies them number by number through an index for each.
///
/// # Errors
/// As `take`: for a row that is not there.
pub(super) fn take_rows(values: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    let vectors = match values.data_type() {
        DataType::FixedSizeList(item, _) => take_vectors(values.as_fixed_size_list(), item, rows),
        _ => None,
    };
    vectors.map_or_else(|| take(values, rows, None), |vectors| vectors.map(|vectors| Arc::new(vectors) as ArrayRef))
}

/// `None` for vectors that are no plain numbers.
fn take_vectors(list: &FixedSizeListArray, item: &FieldRef, rows: &UInt32Array) -> Option<Result<FixedSizeListArray, ArrowError>> {
    let number_bytes = item.data_type().primitive_width()?;
    let length = usize::try_from(list.value_length()).ok()?;
    let width = number_bytes * length;
    let numbers = list.values().to_data();
    if numbers.null_count() > 0 || width == 0 {
        return None;
    }
    let start = (numbers.offset() + list.value_offset(0) as usize) * number_bytes;
    let bytes = &numbers.buffers()[0].as_slice()[start..start + list.len() * width];
    let mut taken = MutableBuffer::with_capacity(rows.len() * width);
    for row in rows {
        match row.map(|row| row as usize) {
            Some(row) if row < list.len() => taken.extend_from_slice(&bytes[row * width..(row + 1) * width]),
            Some(row) => return Some(Err(ArrowError::InvalidArgumentError(format!("no row {row} in {}", list.len())))),
            None => taken.extend_zeros(width),
        }
    }
    let numbers = numbers.into_builder().offset(0).len(rows.len() * length).buffers(vec![taken.into()]).nulls(None).build();
    Some(
        numbers
            .and_then(|numbers| FixedSizeListArray::try_new(Arc::clone(item), list.value_length(), make_array(numbers), nulls(list, rows))),
    )
}

fn nulls(list: &FixedSizeListArray, rows: &UInt32Array) -> Option<NullBuffer> {
    let is_valid = |row: Option<u32>| row.is_some_and(|row| list.is_valid(row as usize));
    (list.null_count() > 0 || rows.null_count() > 0).then(|| rows.iter().map(is_valid).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{FixedSizeListBuilder, Float32Builder};
    use proptest::prelude::*;

    use super::*;

    fn vectors(rows: &[Option<[f32; 3]>]) -> ArrayRef {
        let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), 3);
        for row in rows {
            builder.values().append_slice(&row.unwrap_or_default());
            builder.append(row.is_some());
        }
        Arc::new(builder.finish())
    }

    proptest! {
        #[test]
        fn rows_are_those_of_arrow(
            values in prop::collection::vec(prop::option::of(any::<[i16; 3]>()), 3..40),
            rows in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 0..60),
        ) {
            let values: Vec<_> = values.into_iter().map(|row| row.map(|row| row.map(f32::from))).collect();
            // A slice, as results of a window are.
            let length = values.len() - 2;
            let values = vectors(&values).slice(1, length);
            let rows: UInt32Array = rows.into_iter().map(|row| row.map(|row| row.index(values.len()) as u32)).collect();
            let (own, expected) = (take_rows(&values, &rows).expect("rows"), take(&values, &rows, None).expect("rows"));
            prop_assert_eq!(&own, &expected);
        }
    }

    #[test]
    fn a_run_is_rows_without_gaps() {
        assert_eq!(run_of([3, 4, 5].into_iter()), Some(3..6));
        assert_eq!(run_of([3].into_iter()), Some(3..4));
        assert_eq!(run_of([3, 5].into_iter()), None);
        assert_eq!(run_of([3, 3].into_iter()), None);
        assert_eq!(run_of(std::iter::empty()), None);
    }

    #[test]
    fn a_row_that_is_not_there_is_an_error() {
        assert!(take_rows(&vectors(&[Some([1.0; 3])]), &UInt32Array::from(vec![1])).is_err());
    }
}
