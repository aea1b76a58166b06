//! `mm_reasons`: the inputs that speak most for a prediction.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The k inputs that speak most for the adverse class, [{input, contribution, reason}], the strongest first: reason codes of a decision. The class and the texts are OPTIONS of the model: CREATE MODEL credit OPTIONS (adverse = 'bad', reasons = {amount: 'Amount of credit too high for the income'}, ..) AS SELECT ..; without a class, reasons are those for what is predicted, without a text, the name of the input. Contributions as in mm_explain; inputs that speak against the class are no reasons.",
        "mm_reasons(model, input, .., k)",
    )
    .with_argument("model", "Name of a model as a literal: 'credit', 'credit@3' or 'credit@champion'")
    .with_argument("input", "As for mm_predict")
    .with_argument("k", "A whole number: how many reasons at most")
    .with_sql_example("SELECT id, mm_reasons('credit', l.*, 4) FROM loans AS l WHERE mm_predict('credit', l.*).label = 'bad'")
    .build()
});

const KIND: Kind = Kind { function: "mm_reasons", asked: Asked::Reasons, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
