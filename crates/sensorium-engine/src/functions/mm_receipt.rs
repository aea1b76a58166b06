//! `mm_receipt`: where the result of a call with the same arguments comes from.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "What a prediction can be traced back to: {model, version, sha256, input_digest, runtime, provider, precision, run_id}. The digest is the SHA-256 of the values that the row gives to the model, a medium being given by the SHA-256 of its bytes, so that it is the same for a URI and for the bytes behind it. `provider` and `precision` say what ran the model and in which numbers most of its weights are; `run_id` is mm.run_id, NULL where that is empty. The model does not run for it, and media that the same statement reads for a prediction are not read again. Each row that a job writes has one. NULL where a required input is.",
        "mm_receipt(model, input, ..)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("input", "As for mm_predict")
    .with_sql_example("SELECT id, mm_predict('credit', l.*).score, mm_receipt('credit', l.*) FROM loans AS l")
    .build()
});

const KIND: Kind = Kind { function: "mm_receipt", asked: Asked::Receipt, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
