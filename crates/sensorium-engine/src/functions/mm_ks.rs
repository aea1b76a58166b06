//! `mm_ks`: the Kolmogorov-Smirnov statistic of a score.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Metric, Options, Ranking, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How far a score parts the rows with the label from those without: the greatest difference between their cumulative shares (Kolmogorov-Smirnov statistic). Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both labels.",
        "mm_ks(score, label [, weight])",
    )
    .with_argument("score", "A number, the higher the likelier the label")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_ks(mm_predict('credit', l.*).probabilities['bad'], status = 'bad') FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_ks", &DOCUMENTATION, number, &[], State::Ranked { figure })
}

fn figure(ranking: &mut Ranking, _: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(greatest_difference(ranking)))
}

/// The greatest difference between the shares of both classes up to a score.
pub(super) fn greatest_difference(ranking: &mut Ranking) -> Option<f64> {
    let (negative, positive) = ranking.both()?;
    let (mut below, mut above, mut greatest) = (0.0, 0.0, 0.0_f64);
    for step in ranking.steps() {
        below += step.negative;
        above += step.positive;
        greatest = greatest.max((below / negative - above / positive).abs());
    }
    Some(greatest)
}
