//! `mm_classify`: the best of the labels that the call names.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Zero-shot classification: {label, score, probabilities} over the labels of the call, by the vectors of input and labels. With an image-text model (CLIP, SigLIP) the input is a picture; with a text encoder that was created with OPTIONS (logit_scale = ..) it is a text. Labels are put into the model's prompt, OPTIONS (prompt = 'a photo of a {}'), and embedded once a query. NULL where the input or the list is NULL.",
        "mm_classify(model, input, ['a', 'b', ..])",
    )
    .with_argument("model", "Name of a model as a literal: 'clip', 'clip@3' or 'clip@champion'")
    .with_argument("input", "A URI or encoded bytes of a picture, or a text")
    .with_argument("labels", "A list of texts, all different")
    .with_sql_example("SELECT id, mm_classify('clip', photo, ['scratch', 'dent', 'no damage']).label FROM parts")
    .build()
});

const KIND: Kind = Kind { function: "mm_classify", asked: Asked::Classes, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
