//! `mm_calibration`: probabilities beside what came true.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{
    CalibrationBin, Label, Metric, Options, Parameter, State, Sums, add_to_bin, calibration_bins, calibration_width, table, table_type,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Probabilities beside what came true, as a list of {lower, upper, mean_score, rate, weight}: one for each bin of equal width that has rows. In FROM, over a query of (score, label [, weight]), a table. Rows with a NULL are left out; NaN and infinity are errors.",
        "mm_calibration(score, label [, weight] [, {bins: 10}])",
    )
    .with_argument("score", "Probability of the label, from 0 to 1")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_argument("bins", "How many bins of equal width there are between 0 and 1; 10 without it")
    .with_sql_example("SELECT * FROM mm_calibration((SELECT score, status = 'bad' FROM scored))")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function(
        "mm_calibration",
        &DOCUMENTATION,
        returns,
        &[Parameter { name: "bins", default: 10.0, range: (2.0, 10_000.0), is_whole: true }],
        State::Summed {
            label: Label::Binary,
            width: calibration_width,
            add: |sums, row, _| add_to_bin("mm_calibration", sums, row),
            figure,
        },
    )
}

pub(super) const COLUMNS: [&str; 5] = ["lower", "upper", "mean_score", "rate", "weight"];

fn returns() -> DataType {
    table_type(&COLUMNS.map(|name| (name, DataType::Float64)))
}

fn figure(sums: &Sums, _: &Options) -> Result<ScalarValue> {
    let bins = calibration_bins(sums);
    let column = |part: fn(&CalibrationBin) -> f64| Arc::new(bins.iter().map(part).collect::<Float64Array>()) as ArrayRef;
    table(
        &returns(),
        vec![
            column(|bin| bin.lower),
            column(|bin| bin.upper),
            column(|bin| bin.mean_score),
            column(|bin| bin.rate),
            column(|bin| bin.weight),
        ],
    )
}
