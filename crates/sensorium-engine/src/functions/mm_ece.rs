//! `mm_ece`: the expected calibration error.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Label, Metric, Options, Parameter, State, Sums, add_to_bin, calibration_bins, calibration_width, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How far probabilities are from what came true: over bins of equal width, the mean distance between mean probability and share of the label, by weight (expected calibration error). Rows with a NULL are left out; NaN and infinity are errors. NULL without rows.",
        "mm_ece(score, label [, weight] [, {bins: 10}])",
    )
    .with_argument("score", "Probability of the label, from 0 to 1")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_argument("bins", "How many bins of equal width there are between 0 and 1; 10 without it")
    .with_sql_example("SELECT mm_ece(mm_predict('credit', l.*).probabilities['bad'], status = 'bad') FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function(
        "mm_ece",
        &DOCUMENTATION,
        number,
        &[Parameter { name: "bins", default: 10.0, range: (2.0, 10_000.0), is_whole: true }],
        State::Summed { label: Label::Binary, width: calibration_width, add: |sums, row, _| add_to_bin("mm_ece", sums, row), figure },
    )
}

fn figure(sums: &Sums, _: &Options) -> Result<ScalarValue> {
    let bins = calibration_bins(sums);
    let total: f64 = bins.iter().map(|bin| bin.weight).sum();
    let apart: f64 = bins.iter().map(|bin| bin.weight * (bin.mean_score - bin.rate).abs()).sum();
    Ok(crate::metrics::figure(Some(apart / total)))
}
