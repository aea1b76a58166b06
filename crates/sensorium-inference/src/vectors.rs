//! Inner products and cosines.

/// Sums that are kept beside each other, so that compilers turn additions into vector instructions.
const LANES: usize = 16;
/// The same for double precision, twice at once.
const WIDE_LANES: usize = 16;

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
    Direction::of(u).cosine(v)
}

/// A vector that is compared with others.
#[derive(Debug)]
pub struct Direction {
    values: Vec<f64>,
    /// Its inner product with itself.
    square: f64,
}

impl Direction {
    /// The direction of `values`.
    pub fn of(values: &[f32]) -> Self {
        let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        // In the order of additions in which others are compared with it, so that its cosine with itself is 1.
        let (square, _) = products(&wide, values);
        Self { values: wide, square }
    }

    /// The cosine of the angle to another vector of the same width, in double precision; `None` where one has no direction.
    pub fn cosine(&self, other: &[f32]) -> Option<f64> {
        let (product, square) = products(&self.values, other);
        let length = (self.square * square).sqrt();
        (length != 0.0).then(|| (product / length).clamp(-1.0, 1.0))
    }
}

/// The inner product of both, and of `other` with itself, with the widest instructions that the machine has.
fn products(values: &[f64], other: &[f32]) -> (f64, f64) {
    pulp::Arch::new().dispatch(|| sums(values, other))
}

#[inline(always)]
fn sums(values: &[f64], other: &[f32]) -> (f64, f64) {
    let whole = values.len().min(other.len()) / WIDE_LANES * WIDE_LANES;
    let (mut products, mut squares) = ([0.0_f64; WIDE_LANES], [0.0_f64; WIDE_LANES]);
    for (a, b) in values[..whole].chunks_exact(WIDE_LANES).zip(other[..whole].chunks_exact(WIDE_LANES)) {
        for lane in 0..WIDE_LANES {
            let b = f64::from(b[lane]);
            products[lane] += a[lane] * b;
            squares[lane] += b * b;
        }
    }
    let (mut product, mut square) = (products.iter().sum::<f64>(), squares.iter().sum::<f64>());
    for (a, b) in values[whole..].iter().zip(&other[whole..]) {
        product += a * f64::from(*b);
        square += f64::from(*b) * f64::from(*b);
    }
    (product, square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_products_have_no_gaps() {
        for width in [0, 1, 15, 16, 17, 100] {
            let numbers: Vec<f32> = (0..width).map(|number| number as f32).collect();
            assert_eq!(dot(&numbers, &vec![1.0; width]), numbers.iter().sum::<f32>());
            if width > 1 {
                let square: f32 = numbers.iter().map(|number| number * number).sum();
                let expected = f64::from(numbers.iter().sum::<f32>()) / (f64::from(square) * width as f64).sqrt();
                assert!((cosine(&numbers, &vec![1.0; width]).expect("a direction") - expected).abs() < 1e-12, "{width}");
            }
        }
    }

    #[test]
    fn a_vector_of_zeros_has_no_direction() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[3.0, 0.0], &[2.0, 0.0]), Some(1.0));
    }
}
