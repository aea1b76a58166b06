//! `mm_generate`: a text that a model writes.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The text that a generative model writes behind a prompt, or about pictures, sounds and videos, rows batched as they come and go. A model with a chat template is asked as by a user, any other continues the prompt. Tokens are chosen as the model's generation_config.json says, which options change; given the same seed, a text depends on its prompt and media alone, but for the rounding of batches of another shape. NULL where one of the arguments is NULL.",
        "mm_generate(model, prompt [, media ..] [, {max_tokens: n, ..}])",
    )
    .with_argument("model", "Name of a model as a literal: 'llama', 'llama@3' or 'llama@champion'")
    .with_argument("prompt", "A text, or for a model with a chat template a conversation: [{role: 'user', content: text}, ..]; '' for a captioner that writes a text of its own")
    .with_argument("media", "Pictures, then sounds, then videos, as the model has inputs for them: URIs or bytes, or lists of them where the model may be asked about several. A marker in the prompt, <image>, <audio> or <video>, says where each of them belongs; without markers they stand before it. A video is shown as pictures, frames at equal distances from its first to its last. By name: mm_generate(model, {prompt: p, image: i, audio: a, video: v})")
    .with_argument("options", "A struct that is written out: max_tokens (256 where the model's max_new_tokens does not say), min_tokens, temperature (0 for the likeliest tokens), top_k, top_p, min_p, seed, stop (a text or a list), system, beams, length_penalty, early_stopping, repetition_penalty, no_repeat_ngram_size, as transformers' GenerationConfig means them, json_schema, of which the answer is then, always whole, and frames, how many of a video are shown (8). A model at an endpoint knows max_tokens, temperature, top_p, seed, stop, system, json_schema and frames")
    .with_sql_example(
        "SELECT id, mm_generate('llama', 'What is this about? ' || note, {max_tokens: 64}) FROM tickets;\nSELECT id, mm_generate('llava', '<image>What is the total of this invoice?', scan, {json_schema: {type: 'object', properties: {total: {type: 'number'}}, required: ['total'], additionalProperties: false}}) FROM invoices;\nSELECT id, mm_generate('gemma3n', {prompt: '<video>What goes wrong here?', video: recording}, {frames: 12, max_tokens: 64}) FROM shifts",
    )
    .build()
});

const KIND: Kind = Kind { function: "mm_generate", asked: Asked::Text, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
