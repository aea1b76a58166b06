//! `mm_try_fuse`: `mm_fuse` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use super::mm_fuse::KERNEL;
use super::vectors::VectorFunction;
use crate::call::Policy;
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_fuse, but a row that fails does not stop the query: {value, error}.",
        "mm_try_fuse(how, parts, ..)",
    )
    .with_argument("how", "As for mm_fuse")
    .with_argument("parts", "As for mm_fuse")
    .with_sql_example("SELECT mm_try_fuse('late', 0.2, 0.6).value")
    .build()
});

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(VectorFunction::new("mm_try_fuse", KERNEL, Policy::Try, engine, &DOCUMENTATION))
}
