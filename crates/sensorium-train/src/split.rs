//! Which rows are held back.

use sensorium_inference::Random;

use crate::dataset::Dataset;
use crate::target::Target;

/// Rows to learn from and rows to be judged by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fold {
    pub(crate) train: Vec<u32>,
    pub(crate) held_back: Vec<u32>,
}

/// Cuts rows into `count` folds: rows of one group stay together, classes keep their shares, and where there are times, each
/// fold is judged by rows later than those it learns from.
pub(crate) fn folds(dataset: &Dataset, count: usize, seed: u64) -> Vec<Fold> {
    if let Some(times) = &dataset.times {
        return by_time(times, count);
    }
    let part = parts(dataset, count, seed);
    let rows = |keep: &dyn Fn(u8) -> bool| (0..dataset.rows as u32).filter(|row| keep(part[*row as usize])).collect();
    let fold = |own: u8| Fold { train: rows(&|part| part != own), held_back: rows(&|part| part == own) };
    (0..count as u8).map(fold).filter(|fold: &Fold| !fold.train.is_empty() && !fold.held_back.is_empty()).collect()
}

/// The part of each row.
fn parts(dataset: &Dataset, count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut part = vec![0; dataset.rows];
    if let Some(groups) = &dataset.groups {
        let mut of_group: Vec<u8> = (0..=groups.iter().copied().max().unwrap_or(0)).map(|group| (group as usize % count) as u8).collect();
        random.shuffle(&mut of_group);
        groups.iter().enumerate().for_each(|(row, group)| part[row] = of_group[*group as usize]);
        return part;
    }
    let mut order: Vec<usize> = (0..dataset.rows).collect();
    random.shuffle(&mut order);
    if let Target::Classes { codes, .. } = &dataset.target {
        order.sort_by_key(|row| codes[*row]);
    }
    order.iter().enumerate().for_each(|(place, row)| part[*row] = (place % count) as u8);
    part
}

/// The rows in `count + 1` pieces by time; each but the first is judged by what the pieces before it teach.
fn by_time(times: &[i64], count: usize) -> Vec<Fold> {
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_by_key(|row| times[*row as usize]);
    let border = |piece: usize| {
        // Rows of one time are never parted.
        let mut place = piece * order.len() / (count + 1);
        while place > 0 && place < order.len() && times[order[place] as usize] == times[order[place - 1] as usize] {
            place += 1;
        }
        place
    };
    let fold = |piece: usize| Fold { train: order[..border(piece)].to_vec(), held_back: order[border(piece)..border(piece + 1)].to_vec() };
    (1..=count).map(fold).filter(|fold| !fold.train.is_empty() && !fold.held_back.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rows_are_judged_by_earlier_ones_and_times_stay_together() {
        let times = [5, 1, 1, 1, 2, 3, 4, 4, 4, 9];
        let folds = by_time(&times, 3);
        assert!(!folds.is_empty());
        for fold in folds {
            let latest = fold.train.iter().map(|row| times[*row as usize]).max();
            let earliest = fold.held_back.iter().map(|row| times[*row as usize]).min();
            assert!(latest < earliest, "{latest:?} {earliest:?}");
        }
    }
}
