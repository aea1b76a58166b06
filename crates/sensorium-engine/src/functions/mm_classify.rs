//! `mm_classify`: the best of the labels that the call names.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Zero-shot classification: {label, score, probabilities} over the labels of the call, by the vectors of input and labels. With an image-text model (CLIP, SigLIP) the input is a picture; with a text encoder that was created with OPTIONS (logit_scale = ..) it is a text. Labels are put into the model's prompt, OPTIONS (prompt = 'a photo of a {}'), and embedded once a query. With a generative model the input is a prompt, with media behind it, and a label's score is the sum of the log-probabilities of its tokens as the answer, before any rule of generation (lm-evaluation-harness); where one label begins another, the end of the answer counts as well; probabilities are their softmax, and labels are the same for all rows. NULL where the input is, or a list of labels that vectors are compared with.",
        "mm_classify(model, input [, media ..], ['a', 'b', ..])",
    )
    .with_argument("model", "Name of a model as a literal: 'clip', 'clip@3' or 'clip@champion'")
    .with_argument("input", "A URI or encoded bytes of a picture, or a text; of a generative model a prompt, as for mm_generate")
    .with_argument("media", "What a generative model is asked about, as for mm_generate")
    .with_argument("labels", "A list of texts, all different")
    .with_sql_example(
        "SELECT id, mm_classify('clip', photo, ['scratch', 'dent', 'no damage']).label FROM parts;\nSELECT id, mm_classify('llava', 'Is the part scratched?', photo, ['yes', 'no']).score FROM parts",
    )
    .build()
});

const KIND: Kind = Kind { function: "mm_classify", asked: Asked::Classes, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
