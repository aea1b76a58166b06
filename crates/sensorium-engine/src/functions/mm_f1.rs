//! `mm_f1`: the harmonic mean of precision and recall.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Contingency, Metric, Options, State, number};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The harmonic mean of precision and recall: of the label where it is true or false, else the plain mean over all classes that were said or true (macro F1). Rows with a NULL are left out; NaN and infinity are errors. NULL without rows, and where the label was neither said nor true.",
        "mm_f1(prediction, label [, weight])",
    )
    .with_argument("prediction", "A class; an answer of mm_predict; or the probability of the label, which counts as said from 0.5 on")
    .with_argument("label", "The true class; true or false, 1 or 0 beside a probability")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT mm_f1(mm_predict('credit', l.*), status) FROM loans AS l")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_f1", &DOCUMENTATION, number, &[], State::Counted { figure })
}

fn figure(contingency: &Contingency, _: &Options) -> Result<ScalarValue> {
    let cells = contingency.cells();
    let classes: BTreeSet<&str> = cells.iter().flat_map(|(label, predicted, _)| [*label, *predicted]).flatten().collect();
    let asked = classes.iter().filter(|class| contingency.is_named() || **class == "true");
    let scores: Vec<f64> = asked.map(|class| f1(&cells, class)).collect();
    Ok(crate::metrics::figure(Some(scores.iter().sum::<f64>() / scores.len() as f64)))
}

fn f1(cells: &[(Option<&str>, Option<&str>, f64)], class: &str) -> f64 {
    let (mut hits, mut all) = (0.0, 0.0);
    for (label, predicted, weight) in cells {
        let (is_so, is_said) = (*label == Some(class), *predicted == Some(class));
        hits += if is_so && is_said { *weight } else { 0.0 };
        all += weight * f64::from(u8::from(is_so) + u8::from(is_said));
    }
    2.0 * hits / all
}
