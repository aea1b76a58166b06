//! `mm_ks2`: the Kolmogorov-Smirnov statistic of two samples.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use super::mm_ks::greatest_difference;
use crate::metrics::{Metric, Options, Ranking, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How far the distribution of a value differs between two samples: the greatest difference between their cumulative shares (two-sample Kolmogorov-Smirnov statistic). Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both samples.",
        "mm_ks2(value, sample [, weight])",
    )
    .with_argument("value", "A number")
    .with_argument("sample", "Of which sample a row is: false or 0, true or 1")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_ks2(amount, day > DATE '2026-01-01') FROM loans")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_ks2", &DOCUMENTATION, number, &[], State::Ranked { figure })
}

fn figure(ranking: &mut Ranking, _: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(greatest_difference(ranking)))
}
