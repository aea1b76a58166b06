//! `mm_lift`: how much more often the label is met among the highest scores.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Metric, Options, Parameter, Ranking, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How much more often the label is met among the rows with the highest scores than among all: 3 says that the first tenth has three times the share. Of rows with equal scores at the border, a part counts. Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both labels.",
        "mm_lift(score, label [, weight] [, {fraction: 0.1}])",
    )
    .with_argument("score", "A number, the higher the likelier the label")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_argument("fraction", "Which part of the rows, by weight, are the highest scores; a tenth without it")
    .with_sql_example("SELECT mm_lift(score, bought, {fraction: 0.05}) FROM scored")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function(
        "mm_lift",
        &DOCUMENTATION,
        number,
        &[Parameter { name: "fraction", default: 0.1, range: (1e-6, 1.0), is_whole: false }],
        State::Ranked { figure },
    )
}

fn figure(ranking: &mut Ranking, options: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(lift(ranking, options.number("fraction"))))
}

fn lift(ranking: &mut Ranking, fraction: f64) -> Option<f64> {
    let (negative, positive) = ranking.both()?;
    let all = negative + positive;
    // Counted from below, as the scores come: what is not among the lowest is among the highest.
    let (mut left_out, mut hits) = (all * (1.0 - fraction), 0.0);
    for step in ranking.steps() {
        let weight = step.negative + step.positive;
        let part = ((weight - left_out) / weight).clamp(0.0, 1.0);
        hits += part * step.positive;
        left_out = (left_out - weight).max(0.0);
    }
    Some(hits / (all * fraction) / (positive / all))
}
