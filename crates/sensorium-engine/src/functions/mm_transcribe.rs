//! `mm_transcribe`: what is said in a sound, as text with times.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "What is said in a sound, with a speech model (Whisper): {text, segments: [{start, end, text}], language}, times in seconds. Sounds longer than the model's window are written window by window. The language is detected, or that of OPTIONS (language = 'de'); it is NULL where the model knows one only. OPTIONS (task = 'translate') writes in English, OPTIONS (timestamps = false) leaves times out and takes sounds of one window only. NULL where the sound is NULL.",
        "mm_transcribe(model, audio)",
    )
    .with_argument("model", "Name of a model as a literal: 'whisper', 'whisper@3' or 'whisper@champion'")
    .with_argument("audio", "A URI or the bytes of a WAV, AIFF, FLAC, MP3, Ogg/Vorbis, M4A/AAC, ALAC or Matroska file")
    .with_sql_example("SELECT call_id, mm_transcribe('whisper', recording).text FROM calls")
    .build()
});

const KIND: Kind = Kind { function: "mm_transcribe", asked: Asked::Transcript, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
