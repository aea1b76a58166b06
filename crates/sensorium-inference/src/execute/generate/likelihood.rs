//! Probabilities of tokens from their scores.

use wide::f32x8;

/// Scores whose sum is made in single precision; more would lose what is small beside it.
const BLOCK: usize = 4_096;

/// The largest score.
pub(super) fn largest(scores: &[f32]) -> f32 {
    let (chunks, rest) = scores.as_chunks::<8>();
    let most = chunks.iter().map(|chunk| f32x8::from(*chunk)).fold(f32x8::splat(f32::NEG_INFINITY), f32x8::max);
    most.to_array().into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max)
}

/// `ln(sum(exp(scores)))`, within about 1e-6.
pub(super) fn log_sum_exp(scores: &[f32]) -> f32 {
    let most = largest(scores);
    let of_block = |block: &[f32]| {
        let (chunks, rest) = block.as_chunks::<8>();
        let sum = chunks.iter().map(|chunk| (f32x8::from(*chunk) - f32x8::splat(most)).exp()).fold(f32x8::ZERO, |sum, one| sum + one);
        f64::from(sum.reduce_add() + rest.iter().map(|score| (score - most).exp()).sum::<f32>())
    };
    (f64::from(most) + scores.chunks(BLOCK).map(of_block).sum::<f64>().ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_double_precision() {
        for count in [1, 7, 8, 1_003, 128_256] {
            let scores: Vec<f32> = (0..count).map(|place| ((place * 37 % 1_001) as f32) / 50.0 - 10.0).collect();
            let exact: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum::<f64>().ln();
            assert!((f64::from(log_sum_exp(&scores)) - exact).abs() < 5e-6, "{count}");
        }
    }
}
