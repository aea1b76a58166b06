//! Answers beside those of other software on the same files; `tests/reference` made the fixtures.

mod captioners;
mod chat_templates;
mod conse;
mod diffusion;
mod explained;
mod fused;
mod in_context;
mod joint;
mod metrics;
mod ocr;
mod pictures;
mod seed_net;
mod series;
mod sklearn;
mod sounds;
mod text;
mod texts;
mod trained;
mod videos;
mod vision_language;
mod vit;
mod voice;
mod yamnet;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::Test;
use crate::support::ensure;

pub(crate) const TESTS: &[Test] = &[
    ("blip", captioners::blip),
    ("blip_of_questions", captioners::blip_vqa),
    ("chat_templates", chat_templates::rendered),
    ("clip_of_two_graphs", joint::clip),
    ("clip_of_one_graph", joint::clip_of_one_graph),
    ("ast", sounds::ast),
    ("conse_of_photographs", conse::photographs),
    ("siglip", joint::siglip),
    ("siglip_of_unknown_scale", joint::unknown_scale),
    ("joint_models_that_are_refused", joint::refused),
    ("cut_graphs", text::cut_graphs),
    ("diffusion_by_all_schedulers", diffusion::schedulers),
    ("diffusion_folders", diffusion::folders),
    ("diffusion_latents", diffusion::latents),
    ("explained_trees", explained::trees),
    ("fused_model_with_encoders_in_front", fused::with_encoders),
    ("gemma3n", vision_language::gemma3n),
    ("gpt2", text::gpt2),
    ("gradient_boosting_pipeline", sklearn::gradient_boosting),
    ("gradient_boosting_pipeline_with_zipmap", sklearn::zipmap),
    ("gradient_boosting_regression", sklearn::regression),
    ("idefics", vision_language::idefics),
    ("in_context_of_one_graph", in_context::one_graph),
    ("in_context_of_two_graphs", in_context::two_graphs),
    ("in_context_refused", in_context::refused),
    ("in_context_regression", in_context::regression),
    ("integer_labels", sklearn::integer_labels),
    ("lightgbm_with_missing_values", sklearn::lightgbm),
    ("llama", text::llama),
    ("llama_by_chance", text::drawn),
    ("llava", vision_language::llava),
    ("metrics_of_a_million_rows", metrics::figures),
    ("metrics_that_are_tables", metrics::tables),
    ("minilm_on_texts_of_all_lengths", texts::minilm),
    ("ocr_of_pictures", ocr::pp_ocr),
    ("ocr_of_documents", ocr::documents),
    ("pages_of_documents", ocr::pages),
    ("pictures_of_all_formats", pictures::committed),
    ("seed_net_on_vector_columns", seed_net::on_vectors),
    ("series_of_convolution", series::convolution),
    ("series_of_patchtst", series::patchtst),
    ("silero_vad", voice::silero_vad),
    ("sounds_of_all_formats", sounds::formats),
    ("t5", captioners::t5),
    ("textile_head_on_pictures", pictures::textile_head),
    ("textile_pictures", pictures::textile),
    ("trained_packages", trained::packages),
    ("video_frames_pooled", videos::pooled_frames),
    ("video_mae", videos::video_mae),
    ("videos_in_prompts", vision_language::videos),
    ("vit", vit::vit),
    ("vit_gpt2", captioners::vit_gpt2),
    ("wav2vec2", sounds::wav2vec2),
    ("wav2vec2_of_group_norm", sounds::wav2vec2_of_group_norm),
    ("whisper_of_merged_decoder", sounds::whisper_of_merged_decoder),
    ("whisper_of_two_decoders", sounds::whisper_of_two_decoders),
    ("whisper_tiny_en", sounds::whisper_tiny_en),
    ("whisper_without_cache", sounds::whisper_without_cache),
    ("xvector", sounds::xvector),
    ("yamnet_patches", yamnet::patches),
];

/// Largest distance of two lists of numbers; an error if they are not of one length.
fn largest_difference(found: &[f64], expected: &[f64]) -> Result<f64, Failed> {
    ensure(found.len() == expected.len(), || format!("{} values, expected {}", found.len(), expected.len()))?;
    Ok(found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

/// A file of answers among the fixtures.
fn read_json(name: &str) -> Result<Value, Failed> {
    Ok(serde_json::from_str(&std::fs::read_to_string(format!("tests/fixtures/{name}"))?)?)
}

/// The numbers of a list.
fn flat(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// The texts of a list.
fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}
