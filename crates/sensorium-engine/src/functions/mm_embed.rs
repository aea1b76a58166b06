//! `mm_embed`: a model's vector, one a row.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The vector that a model gives for its input, as FixedSizeList(Float32). NULL where the input is NULL.",
        "mm_embed(model, input)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("input", "A text, a URI or encoded bytes of a picture, or whatever the model takes; {text: note} or {image: uri} for an image-text model, which takes both")
    .with_sql_example("SELECT id, mm_embed('minilm', note) FROM loans")
    .build()
});

const KIND: Kind = Kind { function: "mm_embed", asked: Asked::Embedding, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
