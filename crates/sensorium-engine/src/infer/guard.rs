//! Which rows need a call.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

/// Conditions are evaluated for each alternative; beyond this many, a second column is cheaper.
const MAX_ALTERNATIVES: usize = 16;

/// Alternatives, each a list of conditions that must all be true; a condition is evaluated only where those before it
/// are, as it may fail elsewhere. Without alternatives all rows need the call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Guard(Vec<Vec<Expr>>);

impl Guard {
    /// Rows for which all conditions are true.
    pub(crate) fn of(conditions: Vec<Expr>) -> Self {
        if conditions.is_empty() { Self::default() } else { Self(vec![conditions]) }
    }

    /// Rows that some alternative lets through; without any, all.
    pub(crate) fn of_alternatives(alternatives: Vec<Vec<Expr>>) -> Self {
        Self(alternatives)
    }

    pub(crate) fn alternatives(&self) -> &[Vec<Expr>] {
        &self.0
    }

    /// Whether all rows need the call.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Rows that one or the other guard lets through; `None` where that takes too many alternatives.
    pub(crate) fn or(mut self, other: Self) -> Option<Self> {
        if self.is_none() || other.is_none() {
            return Some(Self::default());
        }
        for alternative in other.0 {
            if !self.0.contains(&alternative) {
                self.0.push(alternative);
            }
        }
        (self.0.len() <= MAX_ALTERNATIVES).then_some(self)
    }

    /// All conditions.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.0.iter().flatten()
    }

    /// The same shape with other conditions, in the order of [`Guard::expressions`].
    pub(crate) fn with_expressions(&self, exprs: impl IntoIterator<Item = Expr>) -> Self {
        let mut exprs = exprs.into_iter();
        Self(self.0.iter().map(|conditions| exprs.by_ref().take(conditions.len()).map(Expr::unalias).collect()).collect())
    }

    /// The guard with physical conditions.
    pub(crate) fn physical(&self, plan: impl Fn(&Expr) -> Result<Arc<dyn PhysicalExpr>>) -> Result<PhysicalGuard> {
        let conditions = |conditions: &Vec<Expr>| conditions.iter().map(&plan).collect::<Result<Vec<_>>>();
        Ok(PhysicalGuard(self.0.iter().map(conditions).collect::<Result<_>>()?))
    }
}

/// A guard over physical expressions.
#[derive(Debug, Clone, Default)]
pub(crate) struct PhysicalGuard(Vec<Vec<Arc<dyn PhysicalExpr>>>);

impl PhysicalGuard {
    /// As [`Guard::of_alternatives`].
    pub(crate) fn of_alternatives(alternatives: Vec<Vec<Arc<dyn PhysicalExpr>>>) -> Self {
        Self(alternatives)
    }

    pub(crate) fn alternatives(&self) -> &[Vec<Arc<dyn PhysicalExpr>>] {
        &self.0
    }

    /// All conditions.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        self.0.iter().flatten()
    }

    /// The rows of a batch that need the call; `None` for all.
    pub(crate) fn rows(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut needed = vec![false; batch.num_rows()];
        for conditions in &self.0 {
            let mut left: Vec<usize> = (0..batch.num_rows()).filter(|row| !needed[*row]).collect();
            let mut rows = filter_record_batch(batch, &needed.iter().map(|needed| Some(!needed)).collect::<BooleanArray>())?;
            for condition in conditions {
                if rows.num_rows() == 0 {
                    break;
                }
                let mask = condition.evaluate(&rows)?.into_array(rows.num_rows())?;
                let mask = mask.as_boolean();
                let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
                rows = filter_record_batch(&rows, &mask)?;
                let mut kept = mask.values().iter();
                left.retain(|_| kept.next().unwrap_or(false));
            }
            left.into_iter().for_each(|row| needed[row] = true);
        }
        Ok(Some(BooleanArray::from(needed)))
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, alternatives: &[Vec<T>]) -> fmt::Result {
    for (index, conditions) in alternatives.iter().enumerate() {
        write!(f, "{}", if index == 0 { ", guard: " } else { " or " })?;
        let texts: Vec<String> = conditions.iter().map(ToString::to_string).collect();
        write!(f, "{}", texts.join(", then "))?;
    }
    Ok(())
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0)
    }
}

impl fmt::Display for PhysicalGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0)
    }
}
