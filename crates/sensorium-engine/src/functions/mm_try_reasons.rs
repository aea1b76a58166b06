//! `mm_try_reasons`: `mm_reasons` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_reasons, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where a required input is NULL.",
        "mm_try_reasons(model, input, .., k)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("input", "As for mm_predict")
    .with_argument("k", "As for mm_reasons")
    .with_sql_example("SELECT id, mm_try_reasons('credit', l.*, 4).error FROM loans AS l")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_reasons", asked: Asked::Reasons, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
