//! `mm_explain`: how much each input has to do with what is predicted for its row.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Shapley values: {label, score, base, modalities, features, without, error}. The base is the score of rows in general, and each contribution what the modality, or the number or category among the tabular ones, adds to it: base and modalities add up to the score, features to the tabular modality. Scores are what the model gives before it makes probabilities of them (log-odds of two classes), of the class `label`: the package's adverse one, else the second of two, else the one that is predicted. Exact over modalities and for tree heads; of other heads, features are sampled, and `error` estimates the largest standard error. `without` has the score where a modality is not known. For models of CREATE MODEL .. AS SELECT. NULL where a required input is.",
        "mm_explain(model, input, ..)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("input", "As for mm_predict")
    .with_sql_example("SELECT id, mm_explain('credit', l.*).modalities['note'] AS by_note FROM loans AS l")
    .build()
});

const KIND: Kind = Kind { function: "mm_explain", asked: Asked::Explanation, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
