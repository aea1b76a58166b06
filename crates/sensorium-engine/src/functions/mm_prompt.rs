//! `mm_prompt`: a prompt as the model sees it.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "What a generative model sees of a prompt: the text that its chat template makes of it, or the prompt itself, a marker standing for each medium. Nothing is written. NULL where one of the arguments is NULL.",
        "mm_prompt(model, prompt [, media ..] [, {system: text}])",
    )
    .with_argument("model", "Name of a model as a literal: 'llama', 'llama@3' or 'llama@champion'")
    .with_argument("prompt", "As for mm_generate")
    .with_argument("media", "As for mm_generate")
    .with_argument("options", "As for mm_generate; only system and frames change anything")
    .with_sql_example("SELECT mm_prompt('llama', 'Is this a complaint? ' || note) FROM tickets LIMIT 1")
    .build()
});

const KIND: Kind = Kind { function: "mm_prompt", asked: Asked::Prompt, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
