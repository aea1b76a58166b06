//! Inner products and cosines.

use pulp::{Simd, WithSimd};

/// Sums that are kept beside each other, so that compilers turn additions into vector instructions.
const LANES: usize = 16;
/// Numbers whose products are summed up in single precision before they are added to a sum in double precision, so that
/// the error does not grow with the width.
const BLOCK: usize = 512;
/// Vector registers that are summed up beside each other, so that additions do not wait for one another.
const REGISTERS: usize = 4;
/// Squares of lengths between which single precision neither overflows nor loses digits.
const SAFE_SQUARES: std::ops::Range<f64> = 1e-20..1e30;

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

/// The cosine of the angle between two vectors; `None` where one has no direction.
pub fn cosine(u: &[f32], v: &[f32]) -> Option<f64> {
    Direction::of(u).cosine(v)
}

/// The cosines of rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cosines {
    /// Of each row; NaN where it holds NaN or infinity.
    pub values: Vec<f64>,
    /// Rows without a direction, whose values mean nothing.
    pub without: Vec<usize>,
}

/// A vector that is compared with others.
#[derive(Debug)]
pub struct Direction {
    values: Vec<f32>,
    /// Its inner product with itself.
    square: f64,
}

impl Direction {
    /// The direction of `values`.
    pub fn of(values: &[f32]) -> Self {
        // In the order of additions in which others are compared with it, so that its cosine with itself is 1.
        let (square, _) = products(values, values);
        Self { values: values.to_vec(), square }
    }

    /// The cosine of the angle to another vector of the same width, within 1e-6; `None` where one has no direction.
    pub fn cosine(&self, other: &[f32]) -> Option<f64> {
        self.of_products(products(&self.values, other), other)
    }

    /// How many numbers it has.
    pub fn width(&self) -> usize {
        self.values.len()
    }

    /// The cosines to vectors of the same width that lie one behind the other.
    pub fn cosines(&self, others: &[f32]) -> Cosines {
        let width = self.values.len().max(1);
        let mut found = Cosines { values: Vec::with_capacity(others.len() / width), without: Vec::new() };
        let mut squares = Vec::with_capacity(others.len() / width);
        let each = EachCosine { u: &self.values, square: self.square, rows: others, squares: &mut squares, cosines: &mut found.values };
        if pulp::Arch::new().dispatch(each) {
            return found;
        }
        for (row, other) in others.chunks_exact(width).enumerate() {
            match self.of_products((0.0, squares[row]), other) {
                _ if self.is_safe(squares[row]) => {}
                Some(cosine) => found.values[row] = cosine,
                None => found.without.push(row),
            }
        }
        found
    }

    fn is_safe(&self, square: f64) -> bool {
        SAFE_SQUARES.contains(&self.square) && SAFE_SQUARES.contains(&square)
    }

    fn of_products(&self, (product, square): (f64, f64), other: &[f32]) -> Option<f64> {
        if !self.is_safe(square) {
            return wide_cosine(&self.values, other);
        }
        Some((product / (self.square * square).sqrt()).clamp(-1.0, 1.0))
    }
}

/// [`cosine`] in double precision throughout: for numbers that are very large or very small, and where digits count.
pub(crate) fn wide_cosine(u: &[f32], v: &[f32]) -> Option<f64> {
    let product = |u: &[f32], v: &[f32]| u.iter().zip(v).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let length = (product(u, u) * product(v, v)).sqrt();
    (length != 0.0).then(|| (product(u, v) / length).clamp(-1.0, 1.0))
}

/// The inner product of both, and of `v` with itself, with the widest instructions that the machine has.
fn products(u: &[f32], v: &[f32]) -> (f64, f64) {
    pulp::Arch::new().dispatch(Products { u, v })
}

struct Products<'a> {
    u: &'a [f32],
    v: &'a [f32],
}

impl WithSimd for Products<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        blocks(simd, self.u, self.v)
    }
}

/// The cosines of one vector to each of `rows`, made of single-precision products: whether all lengths are such that these are exact.
struct EachCosine<'a> {
    u: &'a [f32],
    square: f64,
    rows: &'a [f32],
    squares: &'a mut Vec<f64>,
    cosines: &'a mut Vec<f64>,
}

impl WithSimd for EachCosine<'_> {
    type Output = bool;

    // Loops and no closures: those are compiled without the instructions that this function may use.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        for row in self.rows.chunks_exact(self.u.len().max(1)) {
            let (product, square) = blocks(simd, self.u, row);
            self.cosines.push(product);
            self.squares.push(square);
        }
        let mut is_safe = SAFE_SQUARES.start <= self.square && self.square < SAFE_SQUARES.end;
        for (cosine, square) in self.cosines.iter_mut().zip(self.squares.iter()) {
            is_safe &= SAFE_SQUARES.start <= *square && *square < SAFE_SQUARES.end;
            *cosine = (*cosine / (self.square * square).sqrt()).clamp(-1.0, 1.0);
        }
        is_safe
    }
}

#[inline(always)]
fn blocks<S: Simd>(simd: S, u: &[f32], v: &[f32]) -> (f64, f64) {
    let (mut product, mut square) = (0.0, 0.0);
    for (u, v) in u.chunks(BLOCK).zip(v.chunks(BLOCK)) {
        let length = u.len().min(v.len());
        let (of_block, of_itself) = block(simd, &u[..length], &v[..length]);
        product += f64::from(of_block);
        square += f64::from(of_itself);
    }
    (product, square)
}

#[inline(always)]
fn block<S: Simd>(simd: S, u: &[f32], v: &[f32]) -> (f32, f32) {
    let ((u, u_tail), (v, v_tail)) = (S::as_simd_f32s(u), S::as_simd_f32s(v));
    let ((u, u_rest), (v, v_rest)) = (u.as_chunks::<REGISTERS>(), v.as_chunks::<REGISTERS>());
    let (mut products, mut squares) = ([simd.splat_f32s(0.0); REGISTERS], [simd.splat_f32s(0.0); REGISTERS]);
    for (u, v) in u.iter().zip(v) {
        for place in 0..REGISTERS {
            products[place] = simd.mul_add_e_f32s(u[place], v[place], products[place]);
            squares[place] = simd.mul_add_e_f32s(v[place], v[place], squares[place]);
        }
    }
    for (place, (a, b)) in u_rest.iter().zip(v_rest).enumerate() {
        products[place] = simd.mul_add_e_f32s(*a, *b, products[place]);
        squares[place] = simd.mul_add_e_f32s(*b, *b, squares[place]);
    }
    // Registers are added before their lanes are: that is an instruction each.
    let (mut product, mut square) = (sum(simd, products), sum(simd, squares));
    for (a, b) in u_tail.iter().zip(v_tail) {
        product += a * b;
        square += b * b;
    }
    (product, square)
}

#[inline(always)]
fn sum<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; REGISTERS]) -> f32 {
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_products_have_no_gaps() {
        for width in [0, 1, 7, 15, 16, 17, 100, 511, 512, 513, 4_099] {
            let numbers: Vec<f32> = (0..width).map(|number| number as f32).collect();
            assert!((dot(&numbers, &vec![1.0; width]) - numbers.iter().sum::<f32>()).abs() <= f32::EPSILON * (width * width) as f32);
            if width > 1 {
                let square: f32 = numbers.iter().map(|number| number * number).sum();
                let expected = f64::from(numbers.iter().sum::<f32>()) / (f64::from(square) * width as f64).sqrt();
                assert!((cosine(&numbers, &vec![1.0; width]).expect("a direction") - expected).abs() < 1e-6, "{width}");
            }
        }
    }

    #[test]
    fn a_vector_of_zeros_has_no_direction() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[3.0, 0.0], &[2.0, 0.0]), Some(1.0));
    }

    #[test]
    fn large_and_small_numbers_have_a_direction() {
        for scale in [1e-38_f32, 1e-15, 1e15, 1e37] {
            let found = cosine(&[scale, 0.0, scale], &[2.0, 0.0, 0.0]).expect("a direction");
            assert!((found - 0.5_f64.sqrt()).abs() < 1e-7, "{scale}: {found}");
        }
    }

    #[test]
    fn a_vector_has_its_own_direction() {
        let numbers: Vec<f32> = (0..777).map(|number| (number as f32).sin()).collect();
        assert_eq!(cosine(&numbers, &numbers), Some(1.0));
        let rows = [numbers.as_slice(), &vec![0.0; 777], &numbers.iter().map(|number| -number).collect::<Vec<_>>()].concat();
        let found = Direction::of(&numbers).cosines(&rows);
        assert_eq!((found.values[0], found.values[2], found.without), (1.0, -1.0, vec![1]));
    }

    #[test]
    fn cosines_of_many_are_those_of_each() {
        let rows: Vec<Vec<f32>> = (0..50)
            .map(|row| (0..65).map(|place| ((row * 65 + place) as f32).sin() * 10_f32.powi(row % 50 - 25)).collect())
            .chain([vec![f32::NAN; 65], vec![f32::INFINITY; 65], vec![0.0; 65]])
            .collect();
        let direction = Direction::of(&rows[7]);
        let found = direction.cosines(&rows.concat());
        for (row, own) in rows.iter().enumerate() {
            match direction.cosine(own) {
                None => assert!(found.without.contains(&row)),
                Some(cosine) => assert!(cosine.to_bits() == found.values[row].to_bits() || cosine.is_nan() && found.values[row].is_nan()),
            }
        }
    }
}
