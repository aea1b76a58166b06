//! `mm_try_similarity`: `mm_similarity` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use super::mm_similarity::KERNEL;
use super::vectors::VectorFunction;
use crate::call::Policy;
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_similarity, but a row that fails does not stop the query: {value, error}.",
        "mm_try_similarity(u, v)",
    )
    .with_argument("u", "As for mm_similarity")
    .with_argument("v", "As for mm_similarity")
    .with_sql_example("SELECT mm_try_similarity([1.0, 2.0], [1.0]).error")
    .build()
});

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(VectorFunction::new("mm_try_similarity", KERNEL, Policy::Try, engine, &DOCUMENTATION))
}
