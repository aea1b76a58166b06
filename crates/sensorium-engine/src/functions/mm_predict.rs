//! `mm_predict`: what a model's task gives, one value a row.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The prediction of a model: for a classifier {label, score, probabilities}, for a regression a number, for anything else a struct named after the model's outputs. NULL where a required input is NULL.",
        "mm_predict(model, a, b, ..) | mm_predict(model, {a: x, b: y}) | mm_predict(model, t.*)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("inputs", "The model's inputs in order, or a struct by name, or the columns of a table whose names are inputs")
    .with_sql_example("SELECT id, mm_predict('credit', t.*).label FROM loans t")
    .build()
});

const KIND: Kind = Kind { function: "mm_predict", asked: Asked::Prediction, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
