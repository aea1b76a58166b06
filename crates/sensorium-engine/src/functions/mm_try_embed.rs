//! `mm_try_embed`: `mm_embed` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_embed, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where the input is NULL.",
        "mm_try_embed(model, input)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("input", "As for mm_embed")
    .with_sql_example("SELECT photo, mm_try_embed('effnet', photo).error FROM parts")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_embed", asked: Asked::Embedding, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
