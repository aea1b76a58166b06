//! `mm_gini`: twice the area under the receiver operating characteristic, less one.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use super::mm_auc::area;
use crate::metrics::{Metric, Options, Ranking, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How well a score ranks, as 2 * mm_auc - 1: 0 for chance, 1 for a perfect order (Gini coefficient, accuracy ratio). Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both labels.",
        "mm_gini(score, label [, weight])",
    )
    .with_argument("score", "A number, the higher the likelier the label")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_gini(mm_predict('credit', l.*).probabilities['bad'], status = 'bad') FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_gini", &DOCUMENTATION, number, &[], State::Ranked { figure })
}

fn figure(ranking: &mut Ranking, _: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(area(ranking).map(|area| 2.0 * area - 1.0)))
}
