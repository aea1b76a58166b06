//! `mm_try_generate_image`: a picture that a model draws, or why there is none.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_generate_image, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where one of the arguments is NULL.",
        "mm_try_generate_image(model, prompt [, init_image] [, {steps: n, ..}])",
    )
    .with_argument("model", "Name of a model as a literal: 'sd', 'sd@3' or 'sd@champion'")
    .with_argument("prompt", "As for mm_generate_image")
    .with_argument("init_image", "As for mm_generate_image")
    .with_argument("options", "As for mm_generate_image")
    .with_sql_example("SELECT sku, mm_try_generate_image('sd', description, {steps: 20}).error FROM products")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_generate_image", asked: Asked::Picture, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
