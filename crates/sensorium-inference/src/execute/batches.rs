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

/// Cuts `rows` into batches. With `lengths` (tokens, indexed by row) rows are sorted by length first, which keeps
/// padding small; without, their order is kept. Each row is in exactly one batch.
pub(crate) fn cut(mut rows: Vec<usize>, lengths: Option<&dyn Fn(usize) -> usize>, rule: BatchRule) -> Vec<Vec<usize>> {
    let length = |row: usize| lengths.map_or(1, |length| length(row).max(1));
    if lengths.is_some() {
        rows.sort_by_key(|row| length(*row));
    }
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in rows {
        let fits = |batch: &Vec<usize>| {
            let tokens = (batch.len() + 1).saturating_mul(length(row));
            let same = !rule.equal_lengths || batch.first().is_some_and(|first| length(*first) == length(row));
            batch.len() < rule.max_rows.max(1) && (lengths.is_none() || tokens <= rule.max_tokens) && same
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => batch.push(row),
            None => batches.push(vec![row]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BatchRule = BatchRule { max_rows: 3, max_tokens: 12, equal_lengths: false };

    fn batches(lengths: &[usize], rule: BatchRule) -> Vec<Vec<usize>> {
        cut((0..lengths.len()).collect(), Some(&|row: usize| lengths[row]), rule)
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
        assert_eq!(cut(vec![5, 4, 3, 2], None, RULE), [vec![5, 4, 3], vec![2]]);
    }
}
