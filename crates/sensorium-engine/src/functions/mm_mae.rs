//! `mm_mae`: the mean absolute error.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Label, Metric, Options, Row, State, Sums, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The mean absolute difference between prediction and truth. Rows with a NULL are left out; NaN and infinity are errors. NULL without rows.",
        "mm_mae(prediction, label [, weight])",
    )
    .with_argument("prediction", "A number")
    .with_argument("label", "The true number")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_mae(mm_predict('price', h.*), price) FROM houses AS h")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_mae", &DOCUMENTATION, number, &[], State::Summed { label: Label::Number, width: |_| 2, add, figure })
}

fn add(sums: &mut Sums, row: Row, _: &Options) -> Result<()> {
    sums.add(0, row.weight);
    sums.add(1, row.weight * (row.score - row.label).abs());
    Ok(())
}

fn figure(sums: &Sums, _: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(Some(sums.get(1) / sums.get(0))))
}
