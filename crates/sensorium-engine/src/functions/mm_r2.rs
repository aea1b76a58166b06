//! `mm_r2`: the share of the variance that predictions explain.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Label, Metric, Options, Row, State, Sums, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The share of the variance of the truth that predictions explain (coefficient of determination): 1 is perfect, 0 as good as the mean, below 0 worse. Rows with a NULL are left out; NaN and infinity are errors. NULL where the truth does not vary.",
        "mm_r2(prediction, label [, weight])",
    )
    .with_argument("prediction", "A number")
    .with_argument("label", "The true number")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_r2(mm_predict('price', h.*), price) FROM houses AS h")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_r2", &DOCUMENTATION, number, &[], State::Summed { label: Label::Number, width: |_| WIDTH, add, figure })
}

/// Sums of weights, of labels, of their squares and of squared errors.
const WIDTH: usize = 4;

fn add(sums: &mut Sums, row: Row, _: &Options) -> Result<()> {
    sums.add(0, row.weight);
    sums.add(3, row.weight * (row.score - row.label).powi(2));
    // With what rounding takes from the products: the variance is a small difference between large numbers.
    let weighted = row.weight * row.label;
    let lost = row.weight.mul_add(row.label, -weighted);
    let squared = weighted * row.label;
    sums.add(1, weighted);
    sums.add(1, lost);
    sums.add(2, squared);
    sums.add(2, weighted.mul_add(row.label, -squared) + lost * row.label);
    Ok(())
}

fn figure(sums: &Sums, _: &Options) -> Result<ScalarValue> {
    let variation = variation(sums);
    Ok(crate::metrics::figure((variation > 0.0).then(|| 1.0 - sums.get(3) / variation)))
}

/// Weighted sum of squared distances from the mean m, as sum(y * y) - 2 m sum(y) + m * m sum(w), each product with its rest.
fn variation(sums: &Sums) -> f64 {
    let ((weights, weights_rest), (labels, labels_rest), (squares, squares_rest)) = (sums.parts(0), sums.parts(1), sums.parts(2));
    let mean = sums.get(1) / sums.get(0);
    let twice = -2.0 * mean * labels;
    let (square, all) = (mean * mean, mean * mean * weights);
    let square_rest = mean.mul_add(mean, -square);
    let terms = [
        squares,
        twice,
        all,
        squares_rest,
        (-2.0 * mean).mul_add(labels, -twice),
        -2.0 * mean * labels_rest,
        square.mul_add(weights, -all),
        square_rest * weights,
        square * weights_rest,
    ];
    let mut total = Sums::new(1);
    terms.iter().for_each(|term| total.add(0, *term));
    total.get(0)
}
