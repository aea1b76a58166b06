//! Which rows run together: a pure function of their lengths.

/// What a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchRule {
    /// Most rows.
    pub(crate) max_rows: usize,
    /// Most tokens, padding included; a single longer row is a batch of its own.
    pub(crate) max_tokens: usize,
    /// Whether padding changes answers, so that only rows of one length may share a batch.
    pub(crate) equal_lengths: bool,
}

/// Fewer tokens are not worth a batch of their own.
const LEAST_TOKENS: usize = 64;

/// Cuts `rows` into batches. With `lengths` (tokens, indexed by row) rows are sorted by length first, which keeps
/// padding small; without, their order is kept. Each row is in exactly one batch. Few rows are shared evenly among
/// `workers`, so that none of them waits for the others.
pub(crate) fn cut(mut rows: Vec<usize>, lengths: Option<&dyn Fn(usize) -> usize>, rule: BatchRule, workers: usize) -> Vec<Vec<usize>> {
    let max_rows = rule.max_rows.max(1);
    let Some(lengths) = lengths else { return rows.chunks(max_rows).map(<[usize]>::to_vec).collect() };
    let length = |row: usize| lengths(row).max(1);
    rows.sort_by_key(|row| length(*row));
    let batches = fill(&rows, length, rule);
    if workers < 2 || batches.len() > workers {
        return batches;
    }
    // The smallest budget that still makes no more batches than workers.
    let (mut low, mut high) = (LEAST_TOKENS, rule.max_tokens);
    while low < high {
        let max_tokens = low.midpoint(high);
        if fill(&rows, length, BatchRule { max_tokens, ..rule }).len() <= workers {
            high = max_tokens;
        } else {
            low = max_tokens + 1;
        }
    }
    fill(&rows, length, BatchRule { max_tokens: high, ..rule })
}

/// Rows in the order of their lengths, each batch as full as the rule allows.
fn fill(rows: &[usize], length: impl Fn(usize) -> usize, rule: BatchRule) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in rows {
        let fits = |batch: &Vec<usize>| {
            let tokens = (batch.len() + 1).saturating_mul(length(*row));
            let same = !rule.equal_lengths || batch.first().is_some_and(|first| length(*first) == length(*row));
            batch.len() < rule.max_rows.max(1) && tokens <= rule.max_tokens && same
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => batch.push(*row),
            None => batches.push(vec![*row]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: BatchRule = BatchRule { max_rows: 3, max_tokens: 12, equal_lengths: false };

    fn batches(lengths: &[usize], rule: BatchRule) -> Vec<Vec<usize>> {
        cut((0..lengths.len()).collect(), Some(&|row: usize| lengths[row]), rule, 1)
    }

    #[test]
    fn short_rows_share_and_long_rows_stand_alone() {
        assert_eq!(batches(&[40, 2, 6, 2, 2, 2], RULE), [vec![1, 3, 4], vec![5, 2], vec![0]]);
    }

    #[test]
    fn unmasked_padding_is_never_needed() {
        let rule = BatchRule { equal_lengths: true, ..RULE };
        assert_eq!(batches(&[3, 2, 3, 2], rule), [vec![1, 3], vec![0, 2]]);
    }

    #[test]
    fn without_lengths_order_is_kept() {
        assert_eq!(cut(vec![5, 4, 3, 2], None, RULE, 2), [vec![5, 4, 3], vec![2]]);
    }

    #[test]
    fn few_rows_are_shared_evenly() {
        let lengths = [20, 22, 24, 26, 28, 30, 60, 90, 100];
        let shared = |workers| {
            cut(
                (0..lengths.len()).collect(),
                Some(&|row: usize| lengths[row]),
                BatchRule { max_rows: 64, max_tokens: 1024, ..RULE },
                workers,
            )
        };
        assert_eq!(shared(1).len(), 1);
        assert_eq!(shared(2), [vec![0, 1, 2, 3, 4, 5], vec![6, 7, 8]]);
        assert_eq!(cut(vec![0, 1], Some(&|_| 20), BatchRule { max_rows: 64, max_tokens: 1024, ..RULE }, 2).len(), 1);
    }

    fn rules() -> impl Strategy<Value = BatchRule> {
        (1usize..40, 1usize..600, any::<bool>()).prop_map(|(max_rows, max_tokens, equal_lengths)| BatchRule {
            max_rows,
            max_tokens,
            equal_lengths,
        })
    }

    proptest! {
        #[test]
        fn each_row_is_in_one_batch_within_the_budget(lengths in prop::collection::vec(0usize..300, 0..400), rule in rules()) {
            let batches = batches(&lengths, rule);
            let mut rows: Vec<usize> = batches.iter().flatten().copied().collect();
            let in_order: Vec<usize> = rows.iter().map(|row| lengths[*row].max(1)).collect();
            prop_assert!(in_order.is_sorted());
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let longest = batch.iter().map(|row| lengths[*row].max(1)).max().unwrap_or(0);
                prop_assert!(!batch.is_empty() && batch.len() <= rule.max_rows);
                prop_assert!(batch.len() == 1 || batch.len() * longest <= rule.max_tokens);
                prop_assert!(!rule.equal_lengths || batch.iter().all(|row| lengths[*row].max(1) == longest));
            }
        }

        /// A batch ends only where the next row would break the rule.
        #[test]
        fn batches_are_full(lengths in prop::collection::vec(1usize..300, 1..400), rule in rules()) {
            let batches = batches(&lengths, rule);
            for pair in batches.windows(2) {
                let next = lengths[pair[1][0]];
                let is_full = pair[0].len() == rule.max_rows || (pair[0].len() + 1) * next > rule.max_tokens;
                prop_assert!(is_full || (rule.equal_lengths && lengths[pair[0][0]] != next));
            }
        }

        /// Sharing cuts finer, and never into more batches than there are workers.
        #[test]
        fn shared_rows_keep_the_rule(lengths in prop::collection::vec(1usize..300, 0..60), rule in rules(), workers in 1usize..9) {
            let whole = batches(&lengths, rule);
            let shared = cut((0..lengths.len()).collect(), Some(&|row: usize| lengths[row]), rule, workers);
            prop_assert_eq!(shared.concat(), whole.concat());
            prop_assert!(shared.len() == whole.len() || (shared.len() > whole.len() && shared.len() <= workers));
            for batch in &shared {
                let longest = batch.iter().map(|row| lengths[*row]).max().unwrap_or(0);
                prop_assert!(batch.len() <= rule.max_rows && (batch.len() == 1 || batch.len() * longest <= rule.max_tokens));
            }
        }

        #[test]
        fn rows_without_lengths_keep_their_order(count in 0usize..500, rule in rules()) {
            let batches = cut((0..count).collect(), None, rule, 4);
            prop_assert_eq!(batches.concat(), (0..count).collect::<Vec<_>>());
            prop_assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == rule.max_rows));
        }
    }
}
