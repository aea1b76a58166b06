//! The states of metrics as DataFusion drives them.

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::arguments::{Label, classes, each_row, row_weights};
use super::contingency::Contingency;
use super::options::Options;
use super::ranking::Ranking;
use super::sums::{Row, Sums};

/// A metric of scores in their order.
#[derive(Debug)]
pub(super) struct Ranked {
    function: &'static str,
    columns: usize,
    ranking: Ranking,
    figure: fn(&mut Ranking, &Options) -> Result<ScalarValue>,
    options: Options,
}

impl Ranked {
    pub(super) fn new(
        function: &'static str,
        columns: usize,
        ranking: Ranking,
        figure: fn(&mut Ranking, &Options) -> Result<ScalarValue>,
        options: Options,
    ) -> Self {
        Self { function, columns, ranking, figure, options }
    }

    fn add(&mut self, values: &[ArrayRef], sign: f64) -> Result<()> {
        let ranking = &mut self.ranking;
        each_row(self.function, &values[..self.columns], Label::Binary, |row| {
            ranking.add(Row { weight: sign * row.weight, ..row });
            Ok(())
        })?;
        self.ranking.check_bytes()
    }
}

impl Accumulator for Ranked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1.0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1.0)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.ranking.merge(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.ranking.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        (self.figure)(&mut self.ranking, &self.options)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.ranking.bytes()
    }
}

/// A metric of sums.
#[derive(Debug)]
pub(super) struct Summed {
    pub(super) function: &'static str,
    pub(super) columns: usize,
    pub(super) label: Label,
    pub(super) sums: Sums,
    pub(super) add: fn(&mut Sums, Row, &Options) -> Result<()>,
    pub(super) figure: fn(&Sums, &Options) -> Result<ScalarValue>,
    pub(super) options: Options,
}

impl Summed {
    fn add(&mut self, values: &[ArrayRef], sign: f64) -> Result<()> {
        let (sums, add, options) = (&mut self.sums, self.add, &self.options);
        each_row(self.function, &values[..self.columns], self.label, |row| add(sums, Row { weight: sign * row.weight, ..row }, options))
    }
}

impl Accumulator for Summed {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1.0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1.0)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.sums.merge(states);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sums.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        (self.figure)(&self.sums, &self.options)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.bytes()
    }
}

/// A metric of how often each prediction met each label.
#[derive(Debug)]
pub(super) struct Counted {
    function: &'static str,
    columns: usize,
    contingency: Contingency,
    figure: fn(&Contingency, &Options) -> Result<ScalarValue>,
    options: Options,
    /// The first column is a value and the second says of which sample, instead of a prediction and a label.
    is_spread: bool,
}

impl Counted {
    pub(super) fn new(
        function: &'static str,
        columns: usize,
        contingency: Contingency,
        figure: fn(&Contingency, &Options) -> Result<ScalarValue>,
        options: Options,
        is_spread: bool,
    ) -> Self {
        Self { function, columns, contingency, figure, options, is_spread }
    }

    fn add(&mut self, values: &[ArrayRef], sign: f64) -> Result<()> {
        let values = &values[..self.columns];
        let weights = row_weights(self.function, values.get(2), values[0].len())?;
        if self.is_spread {
            return self.contingency.add_spread(&values[0], &values[1], &weights, sign);
        }
        let (predicted, labels) = classes(self.function, &values[0], &values[1])?;
        self.contingency.add_rows(&predicted, &labels, &weights, sign)
    }
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1.0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1.0)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.contingency.merge(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.contingency.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        (self.figure)(&self.contingency, &self.options)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.contingency.bytes()
    }
}
