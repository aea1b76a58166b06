//! `mm_try_ocr`: `mm_ocr` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_ocr, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where the picture is NULL.",
        "mm_try_ocr(model, image)",
    )
    .with_argument("model", "Name of a model as a literal: 'ocr', 'ocr@3' or 'ocr@champion'")
    .with_argument("image", "As for mm_ocr")
    .with_sql_example("SELECT scan, mm_try_ocr('ocr', scan).error FROM invoices")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_ocr", asked: Asked::Lines, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
