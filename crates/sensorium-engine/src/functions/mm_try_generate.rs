//! `mm_try_generate`: `mm_generate` with the row's own error, and all that is known of the text.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_generate, but a row that fails does not stop the query: {value, error}, one of which is NULL. The value is {text, finish_reason, tokens, logprob}: 'stop' where the text has ended and 'length' where it was cut, the number of its tokens, and the sum of their log-probabilities as the model itself gives them. Both are NULL where one of the arguments is NULL.",
        "mm_try_generate(model, prompt [, media ..] [, {max_tokens: n, ..}])",
    )
    .with_argument("model", "Name of a model as a literal: 'llama', 'llama@3' or 'llama@champion'")
    .with_argument("prompt", "As for mm_generate")
    .with_argument("media", "As for mm_generate")
    .with_argument("options", "As for mm_generate")
    .with_sql_example("SELECT id, mm_try_generate('llama', note, {max_tokens: 64}).value.finish_reason FROM tickets")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_generate", asked: Asked::Text, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
