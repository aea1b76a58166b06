//! The states of metrics as DataFusion drives them.

use std::fmt::Debug;

use arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::arguments::{Label, classes, each_row, weights};
use super::contingency::Contingency;
use super::options::Options;
use super::ranking::Ranking;
use super::sums::{Row, Sums};

/// What rows become: something that can be added up, taken from, and sent on.
pub(super) trait Keep: Debug + Send + Sync {
    /// Adds the rows of the columns of `call`, or with `sign` -1 takes them away.
    fn add(&mut self, call: &Call, values: &[ArrayRef], sign: f64) -> Result<()>;
    fn merge(&mut self, states: &[ArrayRef]) -> Result<()>;
    fn state(&mut self) -> Result<Vec<ScalarValue>>;
    fn figure(&mut self, options: &Options) -> Result<ScalarValue>;
    fn bytes(&self) -> usize;
}

/// The call of a metric.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static str,
    /// How many of its arguments are columns; options stand behind them.
    pub(super) columns: usize,
    pub(super) options: Options,
}

/// A call with what it has kept so far.
#[derive(Debug)]
pub(super) struct Kept<K>(pub(super) Call, pub(super) K);

impl<K: Keep + 'static> Accumulator for Kept<K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.1.add(&self.0, &values[..self.0.columns], 1.0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.1.add(&self.0, &values[..self.0.columns], -1.0)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.1.merge(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.1.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.1.figure(&self.0.options)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.1.bytes()
    }
}

/// Scores in their order.
#[derive(Debug)]
pub(super) struct Ranked {
    pub(super) ranking: Ranking,
    pub(super) figure: fn(&mut Ranking, &Options) -> Result<ScalarValue>,
}

impl Keep for Ranked {
    fn add(&mut self, call: &Call, values: &[ArrayRef], sign: f64) -> Result<()> {
        let ranking = &mut self.ranking;
        each_row(call.function, values, Label::Binary, |row| {
            ranking.add(Row { weight: sign * row.weight, ..row });
            Ok(())
        })?;
        self.ranking.check_bytes()
    }

    fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.ranking.merge(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.ranking.state()
    }

    fn figure(&mut self, options: &Options) -> Result<ScalarValue> {
        (self.figure)(&mut self.ranking, options)
    }

    fn bytes(&self) -> usize {
        self.ranking.bytes()
    }
}

/// Sums of something about each row.
#[derive(Debug)]
pub(super) struct Summed {
    pub(super) label: Label,
    pub(super) sums: Sums,
    pub(super) add: fn(&mut Sums, Row, &Options) -> Result<()>,
    pub(super) figure: fn(&Sums, &Options) -> Result<ScalarValue>,
}

impl Keep for Summed {
    fn add(&mut self, call: &Call, values: &[ArrayRef], sign: f64) -> Result<()> {
        let (sums, add) = (&mut self.sums, self.add);
        each_row(call.function, values, self.label, |row| add(sums, Row { weight: sign * row.weight, ..row }, &call.options))
    }

    fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.sums.merge(states);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sums.state()
    }

    fn figure(&mut self, options: &Options) -> Result<ScalarValue> {
        (self.figure)(&self.sums, options)
    }

    fn bytes(&self) -> usize {
        self.sums.bytes()
    }
}

/// How often each prediction met each label.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) contingency: Contingency,
    pub(super) figure: fn(&Contingency, &Options) -> Result<ScalarValue>,
    /// The first column is a value and the second says of which sample, instead of a prediction and a label.
    pub(super) is_spread: bool,
}

impl Keep for Counted {
    fn add(&mut self, call: &Call, values: &[ArrayRef], sign: f64) -> Result<()> {
        let weights = weights(call.function, values.get(2))?;
        if self.is_spread {
            return self.contingency.add_spread(&values[0], &values[1], weights.as_ref(), sign);
        }
        let (predicted, labels) = classes(call.function, &values[0], &values[1])?;
        self.contingency.add_rows(&predicted, &labels, weights.as_ref(), sign)
    }

    fn merge(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.contingency.merge(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.contingency.state()
    }

    fn figure(&mut self, options: &Options) -> Result<ScalarValue> {
        (self.figure)(&self.contingency, options)
    }

    fn bytes(&self) -> usize {
        self.contingency.bytes()
    }
}
