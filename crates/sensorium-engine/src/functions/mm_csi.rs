//! `mm_csi`: the stability index of a characteristic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Contingency, Metric, Options, Parameter, Ranking, State, figure, number, stability_index, stability_of_bins};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How far the distribution of a characteristic has moved from the first sample to the second: as mm_psi for numbers; categories and truth values are bins of their own, and so are missing categories. NULL without rows of both samples.",
        "mm_csi(value, sample [, weight] [, {bins: 10}])",
    )
    .with_argument("value", "A number, or a category")
    .with_argument("sample", "Of which sample a row is: false or 0 is the reference, true or 1 the other")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_argument("bins", "Into how many bins numbers of the first sample are cut; 10 without it")
    .with_sql_example("SELECT mm_csi(job, day > DATE '2026-01-01') FROM loans")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function(
        "mm_csi",
        &DOCUMENTATION,
        number,
        &[Parameter { name: "bins", default: 10.0, range: (2.0, 10_000.0), is_whole: true }],
        State::Spread { ranked, named: Some(named) },
    )
}

fn ranked(ranking: &mut Ranking, options: &Options) -> Result<ScalarValue> {
    Ok(figure(stability_index(ranking, options.count("bins"))))
}

fn named(contingency: &Contingency, _: &Options) -> Result<ScalarValue> {
    let mut bins: BTreeMap<Option<&str>, (f64, f64)> = BTreeMap::new();
    for (sample, value, weight) in contingency.cells() {
        let bin = bins.entry(value).or_default();
        if sample == Some("true") { bin.1 += weight } else { bin.0 += weight }
    }
    Ok(figure(stability_of_bins(bins.values().copied())))
}
