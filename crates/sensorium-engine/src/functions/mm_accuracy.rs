//! `mm_accuracy`: the share of predictions that are right.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Contingency, Metric, Options, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The share of predictions that are right, by weight. Rows with a NULL are left out; NaN and infinity are errors. NULL without rows.",
        "mm_accuracy(prediction, label [, weight])",
    )
    .with_argument("prediction", "A class; an answer of mm_predict; or the probability of the label, which counts as said from 0.5 on")
    .with_argument("label", "The true class; true or false, 1 or 0 beside a probability")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_accuracy(mm_predict('credit', l.*), status) FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_accuracy", &DOCUMENTATION, number, &[], State::Counted { figure })
}

fn figure(contingency: &Contingency, _: &Options) -> Result<ScalarValue> {
    let cells = contingency.cells();
    let total: f64 = cells.iter().map(|(.., weight)| weight).sum();
    let right: f64 =
        cells.iter().filter(|(label, predicted, _)| label == predicted).map(|(.., weight)| weight).fold(0.0, |sum, weight| sum + weight);
    Ok(crate::metrics::figure(Some(right / total)))
}
