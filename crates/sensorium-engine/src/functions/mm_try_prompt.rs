//! `mm_try_prompt`: `mm_prompt` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_prompt, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where one of the arguments is NULL.",
        "mm_try_prompt(model, prompt [, media ..] [, {system: text}])",
    )
    .with_argument("model", "Name of a model as a literal: 'llama', 'llama@3' or 'llama@champion'")
    .with_argument("prompt", "As for mm_generate")
    .with_argument("media", "As for mm_generate")
    .with_argument("options", "As for mm_generate; only system changes anything")
    .with_sql_example("SELECT note, mm_try_prompt('llama', note).error FROM tickets")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_prompt", asked: Asked::Prompt, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
