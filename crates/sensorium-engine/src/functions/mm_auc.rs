//! `mm_auc`: the area under the receiver operating characteristic.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Metric, Options, Ranking, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How well a score ranks, over the rows of a group: the probability that a row with the label has a higher score than one without, equal scores counted as half (area under the ROC curve). Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both labels.",
        "mm_auc(score, label [, weight])",
    )
    .with_argument("score", "A number, the higher the likelier the label")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_auc(mm_predict('credit', l.*).probabilities['bad'], status = 'bad') FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_auc", &DOCUMENTATION, number, &[], State::Ranked { figure })
}

fn figure(ranking: &mut Ranking, _: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(area(ranking)))
}

/// The area by the rule of trapezoids over all scores, which is exact.
pub(super) fn area(ranking: &mut Ranking) -> Option<f64> {
    let (negative, positive) = ranking.both()?;
    let (mut below, mut pairs) = (0.0, 0.0);
    for step in ranking.steps() {
        pairs += step.positive * (below + step.negative / 2.0);
        below += step.negative;
    }
    Some(pairs / (negative * positive))
}
