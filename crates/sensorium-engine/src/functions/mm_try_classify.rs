//! `mm_try_classify`: `mm_classify` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_classify, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where the input or the list is NULL.",
        "mm_try_classify(model, input, ['a', 'b', ..])",
    )
    .with_argument("model", "Name of a model as a literal: 'clip', 'clip@3' or 'clip@champion'")
    .with_argument("input", "As for mm_classify")
    .with_argument("labels", "A list of texts, all different")
    .with_sql_example("SELECT photo, mm_try_classify('clip', photo, ['scratch', 'dent']).error FROM parts")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_classify", asked: Asked::Classes, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
