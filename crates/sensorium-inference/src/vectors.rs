//! Inner products and cosines.

/// Sums that one instruction can add at once.
const LANES: usize = 16;

/// The inner product, in an order of additions that compilers turn into vector instructions.
pub(crate) fn dot(u: &[f32], v: &[f32]) -> f32 {
    let (mut sums, whole) = ([0.0_f32; LANES], u.len().min(v.len()) / LANES * LANES);
    for (a, b) in u[..whole].chunks_exact(LANES).zip(v[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = u[whole..].iter().zip(&v[whole..]).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The cosine of the angle between two vectors, in double precision; `None` where one has no direction.
pub fn cosine(u: &[f32], v: &[f32]) -> Option<f64> {
    let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let length = (sum(u, u) * sum(v, v)).sqrt();
    (length != 0.0).then(|| (sum(u, v) / length).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_products_have_no_gaps() {
        for width in [0, 1, 15, 16, 17, 100] {
            let numbers: Vec<f32> = (0..width).map(|number| number as f32).collect();
            assert_eq!(dot(&numbers, &vec![1.0; width]), numbers.iter().sum::<f32>());
        }
    }

    #[test]
    fn a_vector_of_zeros_has_no_direction() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[3.0, 0.0], &[2.0, 0.0]), Some(1.0));
    }
}
