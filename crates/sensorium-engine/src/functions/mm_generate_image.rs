//! `mm_generate_image`: a picture that a model draws.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The picture that a diffusion model draws of a text, as the bytes of a PNG. A seed means what it means to diffusers: the same noise, and so the same picture but for rounding, whatever other rows there are. NULL where one of the arguments is NULL.",
        "mm_generate_image(model, prompt [, init_image] [, {steps: n, ..}])",
    )
    .with_argument("model", "Name of a model as a literal: 'sd', 'sd@3' or 'sd@champion'")
    .with_argument("prompt", "A text; what is beyond the model's 77 tokens is cut off, as the model was trained")
    .with_argument("init_image", "A picture that it is made of, by URI or as bytes, whose size it has; its sides are multiples of the model's (64 pixels for Stable Diffusion)")
    .with_argument("options", "A struct that is written out: steps (50), guidance (7.5; up to 1 the prompt is not compared with none), seed (0), width and height (the model's own, up to twice as much), negative_prompt, and with init_image strength (0.8 of the way is gone)")
    .with_sql_example("SELECT sku, mm_generate_image('sd', 'a product photo of ' || description, {steps: 20, seed: 7}) AS picture FROM products")
    .build()
});

const KIND: Kind = Kind { function: "mm_generate_image", asked: Asked::Picture, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
