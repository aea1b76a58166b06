//! `mm_try_transcribe`: `mm_transcribe` with the row's own error.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "As mm_transcribe, but a row that fails does not stop the query: {value, error}, one of which is NULL. Both are NULL where the sound is NULL.",
        "mm_try_transcribe(model, audio)",
    )
    .with_argument("model", "Name of a model as a literal: 'whisper', 'whisper@3' or 'whisper@champion'")
    .with_argument("audio", "As for mm_transcribe")
    .with_sql_example("SELECT recording, mm_try_transcribe('whisper', recording).error FROM calls")
    .build()
});

const KIND: Kind = Kind { function: "mm_try_transcribe", asked: Asked::Transcript, policy: Policy::Try };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
