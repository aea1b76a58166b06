//! Token vectors to one vector a row, and its normalisation.

use crate::package::Pooling;

/// Pools `[rows, tokens, width]`; `lengths` is each row's number of tokens without padding.
///
/// As sentence-transformers' `Pooling` module: the mean divides by the number of tokens, not by the padded length.
pub(super) fn pool(values: &[f32], lengths: &[usize], tokens: usize, width: usize, how: Pooling) -> Vec<f32> {
    let mut pooled = vec![0.0; lengths.len() * width];
    for (row, length) in lengths.iter().enumerate() {
        let length = (*length).clamp(1, tokens.max(1));
        let start = row * tokens * width;
        let token = |index: usize| &values[start + index * width..start + (index + 1) * width];
        let target = &mut pooled[row * width..(row + 1) * width];
        match how {
            Pooling::Cls => target.copy_from_slice(token(0)),
            Pooling::LastToken => target.copy_from_slice(token(length - 1)),
            Pooling::Max => {
                target.fill(f32::NEG_INFINITY);
                (0..length).for_each(|index| target.iter_mut().zip(token(index)).for_each(|(best, value)| *best = best.max(*value)));
            }
            Pooling::Mean => {
                (0..length).for_each(|index| target.iter_mut().zip(token(index)).for_each(|(sum, value)| *sum += value));
                target.iter_mut().for_each(|sum| *sum /= length as f32);
            }
        }
    }
    pooled
}

/// Divides each row by its Euclidean length; a row of zeros stays.
pub(super) fn normalize(values: &mut [f32], width: usize) {
    for row in values.chunks_exact_mut(width.max(1)) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_does_not_count() {
        let values = [1.0, 2.0, 3.0, 4.0, 9.0, 9.0];
        let pooled = |how| pool(&values, &[2], 3, 2, how);
        assert_eq!(pooled(Pooling::Mean), [2.0, 3.0]);
        assert_eq!(pooled(Pooling::Max), [3.0, 4.0]);
        assert_eq!(pooled(Pooling::Cls), [1.0, 2.0]);
        assert_eq!(pooled(Pooling::LastToken), [3.0, 4.0]);
    }
}
