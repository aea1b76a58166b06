//! Columns to rows: the values of one row side by side, as a graph takes them.

/// Rows that are turned together: few enough to stay in the first cache.
const TURNED_ROWS: usize = 64;

/// Row `i` of the columns `sources`, all of one length, at `values[i * sources.len()..]`. Column by column, which is several
/// times as fast as row by row.
pub(crate) fn row_wise<T: Copy>(sources: &[&[T]], values: &mut [T]) {
    let width = sources.len().max(1);
    for (block, turned) in values.chunks_mut(TURNED_ROWS * width).enumerate() {
        let start = block * TURNED_ROWS;
        for (place, source) in sources.iter().enumerate() {
            turned[place..].iter_mut().step_by(width).zip(&source[start..]).for_each(|(value, own)| *value = *own);
        }
    }
}

/// [`row_wise`] of chosen rows: row `rows[i]` at place `i`.
pub(crate) fn row_wise_of<T: Copy>(sources: &[&[T]], rows: &[usize], values: &mut [T]) {
    let width = sources.len().max(1);
    for (rows, turned) in rows.chunks(TURNED_ROWS).zip(values.chunks_mut(TURNED_ROWS * width)) {
        for (place, source) in sources.iter().enumerate() {
            turned[place..].iter_mut().step_by(width).zip(rows).for_each(|(value, row)| *value = source[*row]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_value_is_at_its_row_and_column(rows in 0usize..700, width in 1usize..6) {
            let columns: Vec<Vec<usize>> = (0..width).map(|column| (0..rows).map(|row| row * 10 + column).collect()).collect();
            let sources: Vec<&[usize]> = columns.iter().map(Vec::as_slice).collect();
            let expected: Vec<usize> = (0..rows).flat_map(|row| (0..width).map(move |column| row * 10 + column)).collect();
            let mut values = vec![usize::MAX; rows * width];
            row_wise(&sources, &mut values);
            prop_assert_eq!(&values, &expected);
            let backwards: Vec<usize> = (0..rows).rev().collect();
            row_wise_of(&sources, &backwards, &mut values);
            let expected: Vec<usize> = expected.chunks(width).rev().flatten().copied().collect();
            prop_assert_eq!(values, expected);
        }
    }
}
