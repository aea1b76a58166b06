//! `mm_confusion`: how often each class was said where each was true.

use std::sync::{Arc, LazyLock};

use arrow::array::{Float64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Contingency, Metric, Options, State, table, table_type};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "How often each class was said where each was true, as a list of {label, prediction, weight}; pairs that never came are left out. In FROM, over a query of (prediction, label [, weight]), a table. Rows with a NULL are left out; NaN and infinity are errors.",
        "mm_confusion(prediction, label [, weight])",
    )
    .with_argument("prediction", "A class; an answer of mm_predict; or the probability of the label, which counts as said from 0.5 on")
    .with_argument("label", "The true class; true or false, 1 or 0 beside a probability")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_sql_example("SELECT * FROM mm_confusion((SELECT mm_predict('credit', l.*).label, status FROM loans AS l))")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function("mm_confusion", &DOCUMENTATION, returns, &[], State::Counted { figure })
}

pub(super) const COLUMNS: [&str; 3] = ["label", "prediction", "weight"];

fn returns() -> DataType {
    let [label, prediction, weight] = COLUMNS;
    table_type(&[(label, DataType::Utf8), (prediction, DataType::Utf8), (weight, DataType::Float64)])
}

fn figure(contingency: &Contingency, _: &Options) -> Result<ScalarValue> {
    let cells = contingency.cells();
    let labels: StringArray = cells.iter().map(|(label, ..)| *label).collect();
    let predictions: StringArray = cells.iter().map(|(_, predicted, _)| *predicted).collect();
    let weights: Float64Array = cells.iter().map(|(.., weight)| *weight).collect();
    table(&returns(), vec![Arc::new(labels), Arc::new(predictions), Arc::new(weights)])
}
