//! Shapley values of the columns of any head, by walks from a drawn row to the one that is explained.
//!
//! Štrumbelj and Kononenko, Explaining prediction models and individual predictions with feature contributions, 2014: columns change one
//! after the other, in an order that is drawn, from a drawn value to the row's own, and each is given what its change does. Every value
//! is drawn equally often, from each column for itself, and each order is walked in both directions, which for pairs of columns that work together is exact.

use crate::error::Result;
use crate::package::{FeatureProfile, Profile, QUANTILES};
use crate::random::Random;

/// Values that are drawn of each column: one from the middle of each of as many bins of equally many rows.
pub(super) const DRAWS: usize = QUANTILES / 2;

/// Values of a column of numbers, in an order of its own; `absent` as often as there was none.
pub(super) fn draw_numbers(profile: &FeatureProfile, column: usize, absent: f32) -> Vec<f32> {
    let missing = share_of_draws(profile.missing);
    let mut drawn = vec![absent; missing];
    if let Profile::Numbers { quantiles, .. } = &profile.values {
        // Middles of the bins, or fewer of them evenly chosen.
        let kept = DRAWS - missing;
        let middle = |place: usize| (2 * place + 1) * DRAWS / kept.max(1);
        drawn.extend((0..kept).map(|place| quantiles.get(middle(place).min(QUANTILES - 1)).copied().unwrap_or(absent)));
    }
    drawn.resize(DRAWS, absent);
    Random::new(column as u64).shuffle(&mut drawn);
    drawn
}

/// The same of categories. Texts get as many draws as their share says, by largest remainders.
pub(super) fn draw_texts(profile: &FeatureProfile, column: usize, absent: &str) -> Vec<String> {
    let missing = share_of_draws(profile.missing);
    let mut drawn = vec![absent.to_string(); missing];
    if let Profile::Categories { shares } = &profile.values {
        let kept = DRAWS - missing;
        let mut given: Vec<(usize, f64)> =
            shares.iter().map(|(_, share)| share * kept as f64).map(|draws| (draws as usize, draws.fract())).collect();
        let rest = kept.saturating_sub(given.iter().map(|(draws, _)| draws).sum());
        let mut order: Vec<usize> = (0..given.len()).collect();
        order.sort_by(|a, b| given[*b].1.total_cmp(&given[*a].1));
        order.iter().take(rest).for_each(|place| given[*place].0 += 1);
        drawn.extend(shares.iter().zip(given).flat_map(|((text, _), (draws, _))| std::iter::repeat_n(text.clone(), draws)));
    }
    drawn.resize(DRAWS, absent.to_string());
    Random::new(column as u64).shuffle(&mut drawn);
    drawn
}

fn share_of_draws(share: f64) -> usize {
    ((share * DRAWS as f64).round() as usize).min(DRAWS)
}

/// Orders in which columns change, one for each draw.
pub(super) fn orders(columns: usize) -> Vec<Vec<usize>> {
    let order = |draw: usize| {
        let mut order: Vec<usize> = (0..columns).collect();
        Random::new((draw as u64) << 32 | 1).shuffle(&mut order);
        order
    };
    (0..DRAWS).map(order).collect()
}

/// Rows that are needed for the walks of one row.
pub(super) fn walked_rows(columns: usize) -> usize {
    DRAWS * (2 * columns).saturating_sub(1)
}

/// What the columns of a row are worth.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampled {
    /// Of each column.
    pub(super) values: Vec<f64>,
    /// The mean of the rows where all columns are drawn.
    pub(super) start: f64,
    /// An estimate of the largest standard error of a column, from what the two directions of each walk differ by; it does not see what both
    /// have in common.
    pub(super) error: f64,
}

/// `worths` are those of the rows in the order of [`each_step`]; `whole` is that of the row itself.
pub(super) fn values(orders: &[Vec<usize>], worths: &[f64], whole: f64) -> Sampled {
    let columns = orders.first().map_or(0, Vec::len);
    let (mut values, mut squares, mut start) = (vec![0.0; columns], vec![0.0; columns], 0.0);
    let mut rest = worths.iter().copied();
    for order in orders {
        let first = rest.next().unwrap_or_default();
        start += first;
        let mut walk = |forwards: bool| {
            let mut changes = vec![0.0; columns];
            let mut before = first;
            for step in 0..columns {
                let column = if forwards { order[step] } else { order[columns - 1 - step] };
                let now = if step + 1 == columns { whole } else { rest.next().unwrap_or_default() };
                changes[column] = now - before;
                before = now;
            }
            changes
        };
        let (there, back) = (walk(true), walk(false));
        for column in 0..columns {
            values[column] += f64::midpoint(there[column], back[column]);
            squares[column] += ((there[column] - back[column]) / 2.0).powi(2);
        }
    }
    let draws = orders.len().max(1) as f64;
    values.iter_mut().for_each(|value| *value /= draws);
    let error = squares.iter().copied().fold(0.0, f64::max).sqrt() / draws;
    Sampled { values, start: start / draws, error }
}

/// Calls `visit` with the draw and, for each column, whether it has its own value: for each draw where none has, then the steps of the
/// walk in one direction and in the other, without the row itself.
pub(super) fn each_step(orders: &[Vec<usize>], visit: &mut dyn FnMut(usize, &[bool]) -> Result<()>) -> Result<()> {
    for (draw, order) in orders.iter().enumerate() {
        let mut is_own = vec![false; order.len()];
        visit(draw, &is_own)?;
        for forwards in [true, false] {
            is_own.fill(false);
            for step in 0..order.len().saturating_sub(1) {
                is_own[if forwards { order[step] } else { order[order.len() - 1 - step] }] = true;
                visit(draw, &is_own)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(columns: usize, worth: impl Fn(usize, &[bool]) -> f64) -> Sampled {
        let orders = orders(columns);
        let mut worths = Vec::new();
        each_step(&orders, &mut |draw, is_own| {
            worths.push(worth(draw, is_own));
            Ok(())
        })
        .expect("nothing fails");
        assert_eq!(worths.len(), walked_rows(columns));
        // The row itself is the same for all draws.
        values(&orders, &worths, worth(0, &vec![true; columns]))
    }

    #[test]
    fn sums_and_pairs_are_exact() {
        let row = [1.0, 2.0, 3.0];
        let at = |draw: usize, is_own: &[bool], column: usize| if is_own[column] { row[column] } else { (draw % 4) as f64 };
        let found = sample(3, |draw, own| at(draw, own, 0) + 10.0 * at(draw, own, 1) * at(draw, own, 2));
        let mean = (0..DRAWS).map(|draw| (draw % 4) as f64).sum::<f64>() / DRAWS as f64;
        let square = (0..DRAWS).map(|draw| ((draw % 4) as f64).powi(2)).sum::<f64>() / DRAWS as f64;
        assert!((found.values[0] - (1.0 - mean)).abs() < 1e-9);
        // (2 d + 6 - d^2 - 3 d) / 2 and (3 d + 6 - d^2 - 2 d) / 2, in the mean.
        assert!((found.values[1] - 10.0 * (6.0 - square - mean) / 2.0).abs() < 1e-9);
        assert!((found.values[2] - 10.0 * (6.0 - square + mean) / 2.0).abs() < 1e-9);
        assert!((found.start + found.values.iter().sum::<f64>() - 61.0).abs() < 1e-9);
    }

    #[test]
    fn a_sum_has_no_error() {
        let found = sample(5, |draw, own| own.iter().filter(|own| **own).count() as f64 + draw as f64 * f64::from(u8::from(!own[0])));
        assert!(found.error < 1e-12, "{found:?}");
    }

    #[test]
    fn draws_have_the_shares_of_the_rows() {
        let numbers =
            FeatureProfile { input: "n".into(), missing: 0.25, values: Profile::of_numbers((0..1000).map(|value| value as f32).collect()) };
        let drawn = draw_numbers(&numbers, 3, f32::NAN);
        assert_eq!(drawn.len(), DRAWS);
        assert_eq!(drawn.iter().filter(|value| value.is_nan()).count(), DRAWS / 4);
        let mean = drawn.iter().filter(|value| !value.is_nan()).sum::<f32>() / (DRAWS - DRAWS / 4) as f32;
        assert!((mean - 499.5).abs() < 20.0, "{mean}");
        let shares = vec![("a".into(), 0.6), ("b".into(), 0.3), ("c".into(), 0.1)];
        let texts = draw_texts(&FeatureProfile { input: "t".into(), missing: 0.0, values: Profile::Categories { shares } }, 1, "");
        let count = |text: &str| texts.iter().filter(|drawn| *drawn == text).count();
        assert_eq!((count("a"), count("b"), count("c")), (12, 6, 2));
    }
}
