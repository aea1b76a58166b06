//! `mm_logloss`: the mean negative logarithm of the probability of what was so.

use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Label, Metric, Options, Row, State, Sums, number, probability};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The mean negative natural logarithm of the probability that was given to what was so (log loss, cross-entropy): 0 is perfect, the lower the better. Probabilities are kept 2.2e-16 away from 0 and 1, as scikit-learn does. Rows with a NULL are left out; NaN and infinity are errors. NULL without rows.",
        "mm_logloss(score, label [, weight])",
    )
    .with_argument("score", "Probability of the label, from 0 to 1")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_logloss(mm_predict('credit', l.*).probabilities['bad'], status = 'bad') FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_logloss", &DOCUMENTATION, number, &[], State::Summed { label: Label::Binary, width: |_| 2, add, figure })
}

fn add(sums: &mut Sums, row: Row, _: &Options) -> Result<()> {
    let score = probability("mm_logloss", row.score)?;
    let score = score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    sums.add(0, row.weight);
    sums.add(1, -row.weight * if row.label == 1.0 { score.ln() } else { (1.0 - score).ln() });
    Ok(())
}

fn figure(sums: &Sums, _: &Options) -> Result<ScalarValue> {
    Ok(crate::metrics::figure(Some(sums.get(1) / sums.get(0))))
}
