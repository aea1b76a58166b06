//! `mm_psi`: the population stability index.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Metric, Options, Parameter, Ranking, State, figure, number, stability_index};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How far the distribution of a value has moved from the first sample to the second: the population stability index over bins with equal numbers of rows of the first sample. Below 0.1 is called stable, above 0.25 moved. A bin without rows of a sample counts as having 0.0001 of them. Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both samples.",
        "mm_psi(value, sample [, weight] [, {bins: 10}])",
    )
    .with_argument("value", "A number")
    .with_argument("sample", "Of which sample a row is: false or 0 is the reference, true or 1 the other")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_argument("bins", "Into how many bins the first sample is cut; 10 without it")
    .with_sql_example("SELECT mm_psi(score, month = '2026-10') FROM scored")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function(
        "mm_psi",
        &DOCUMENTATION,
        number,
        &[Parameter { name: "bins", default: 10.0, range: (2.0, 10_000.0), is_whole: true }],
        State::Spread { ranked, named: None },
    )
}

fn ranked(ranking: &mut Ranking, options: &Options) -> Result<ScalarValue> {
    Ok(figure(stability_index(ranking, options.count("bins"))))
}
