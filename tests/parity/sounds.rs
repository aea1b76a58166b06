//! Sounds: decoding beside libsndfile and ffmpeg, features and models beside transformers' own, to 1e-4.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Int64Type};
use libtest_mimic::Failed;
use sensorium_inference::{AudioFeatures, AudioSpec, ImportOptions, Limits, Modality, import, sound_to_tensor};
use serde_json::Value;
use tempfile::TempDir;

use super::largest_difference;
use crate::Outcome;
use crate::support::{Fresh, cached, ensure, fresh, numbers, wav};

const TOLERANCE: f64 = 1e-4;
const SOUNDS: &str = "tests/fixtures/sounds";

/// Every format and layout, beside what libsndfile or ffmpeg makes of the same bytes.
pub(super) fn formats() -> Outcome {
    let fresh = fresh();
    let rows = fresh.rows("SELECT name, rate, samples FROM 'tests/fixtures/sounds.parquet'")?;
    let (names, rates, lists) =
        (rows.column(0).as_string_view(), rows.column(1).as_primitive::<Int64Type>(), rows.column(2).as_list::<i32>());
    ensure(rows.num_rows() >= 18, || format!("{} files", rows.num_rows()))?;
    for row in 0..rows.num_rows() {
        let name = names.value(row);
        let features = AudioFeatures::Waveform { normalize: false, masked: false };
        let spec = AudioSpec { sampling_rate: u32::try_from(rates.value(row))?, features };
        let found = sound_to_tensor(std::fs::read(format!("{SOUNDS}/{name}"))?.into(), &spec, &Limits::default())?;
        let expected = lists.value(row);
        let expected = expected.as_primitive::<Float32Type>().values();
        // What an AAC encoder puts in front of a sound is not cut off: the sound begins a frame later.
        let found = &found[if name.ends_with("_aac.m4a") { 1_024 } else { 0 }..];
        // Decoders differ in how long the last frame is.
        let is_lossy = [".mp3", ".ogg", "_aac.m4a"].iter().any(|end| name.ends_with(end));
        let (longest, tolerance) = if is_lossy { (2_304, 2e-3) } else { (0, 1e-6) };
        ensure(found.len().abs_diff(expected.len()) <= longest, || {
            format!("{name}: {} samples, expected {}", found.len(), expected.len())
        })?;
        let count = found.len().min(expected.len());
        let difference = found[..count].iter().zip(&expected[..count]).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        ensure(difference <= tolerance, || format!("{name}: differs by {difference}"))?;
    }
    Ok(())
}

fn answers(model: &str) -> Result<Value, Failed> {
    Ok(serde_json::from_str(&std::fs::read_to_string(format!("tests/fixtures/sound/{model}.json"))?)?)
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn clips(answers: &Value) -> Vec<String> {
    answers["clips"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|name| format!("{SOUNDS}/{name}")).collect()
}

/// `(number, URI)` of all clips in the order of their numbers, as a table.
fn table(clips: &[String]) -> String {
    let rows: Vec<String> = clips.iter().enumerate().map(|(number, uri)| format!("({number}, '{uri}')")).collect();
    format!("(VALUES {}) AS t(number, uri)", rows.join(", "))
}

/// What the model's own extractor makes of the clips, of which the reference keeps every `step`th value.
fn check_features(model: &str, answers: &Value, key: &str, step: usize) -> Outcome {
    let draft = import(Path::new(&format!("tests/fixtures/sound/{model}")), &ImportOptions::default())?;
    let Modality::Audio(spec) = &draft.manifest.inputs[0].modality else { return Err("no sound input".into()) };
    let expected = answers[key].as_array().ok_or("features")?;
    for (uri, expected) in clips(answers).iter().zip(expected) {
        let found = sound_to_tensor(std::fs::read(uri)?.into(), spec, &Limits::default())?;
        let found: Vec<f64> = found.iter().step_by(step).map(|value| f64::from(*value)).collect();
        let difference = largest_difference(&found, &list(expected))?;
        ensure(difference < TOLERANCE, || format!("{model}, {uri}: features differ by {difference}"))?;
    }
    Ok(())
}

fn check_classes(model: &str, key: &str, step: usize) -> Outcome {
    let answers = answers(model)?;
    check_features(model, &answers, key, step)?;
    let fresh = Fresh::with_models(&[("m", &format!("tests/fixtures/sound/{model}"))])?;
    let labels: Vec<&str> = answers["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let expected: Vec<Vec<f64>> = answers["probabilities"].as_array().into_iter().flatten().map(list).collect();
    let clips = clips(&answers);
    for (place, label) in labels.iter().enumerate() {
        let query = format!("SELECT mm_predict('m', uri).probabilities['{label}'] AS p, number FROM {} ORDER BY number", table(&clips));
        let found = numbers(&fresh.column(&query)?)?;
        let expected: Vec<f64> = expected.iter().map(|row| row[place]).collect();
        let difference = largest_difference(&found, &expected)?;
        ensure(difference < TOLERANCE, || format!("{model}, {label}: differs by {difference}: {found:?}, expected {expected:?}"))?;
    }
    Ok(())
}

/// Padding is masked, so that clips of all lengths share a batch.
pub(super) fn wav2vec2() -> Outcome {
    check_classes("wav2vec2", "every_997th_sample", 997)
}

/// Padding would change its answers.
pub(super) fn wav2vec2_of_group_norm() -> Outcome {
    check_classes("wav2vec2_group", "every_997th_sample", 997)
}

pub(super) fn ast() -> Outcome {
    check_classes("ast", "every_97th_value", 97)
}

/// The vector of a speaker.
pub(super) fn xvector() -> Outcome {
    let answers = answers("xvector")?;
    let fresh = Fresh::with_models(&[("m", "tests/fixtures/sound/xvector")])?;
    let rows = fresh.rows(&format!("SELECT mm_embed('m', uri) AS v, number FROM {} ORDER BY number", table(&clips(&answers))))?;
    let vectors = rows.column(0).as_fixed_size_list();
    for (row, expected) in answers["embeddings"].as_array().ok_or("embeddings")?.iter().enumerate() {
        let difference = largest_difference(&numbers(&vectors.value(row))?, &list(expected))?;
        ensure(difference < TOLERANCE, || format!("row {row}: differs by {difference}"))?;
    }
    Ok(())
}

/// The folder of a speech model with the graphs of another form.
fn whisper_with(graphs: &[(&str, &str)]) -> Result<TempDir, Failed> {
    let folder = TempDir::new()?;
    std::fs::create_dir(folder.path().join("onnx"))?;
    for file in ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "onnx/encoder_model.onnx"] {
        std::fs::copy(format!("tests/fixtures/sound/whisper/{file}"), folder.path().join(file))?;
    }
    for (model, graph) in graphs {
        std::fs::copy(format!("tests/fixtures/sound/{model}/onnx/{graph}"), folder.path().join("onnx").join(graph))?;
    }
    Ok(folder)
}

pub(super) fn whisper_of_merged_decoder() -> Outcome {
    check_whisper("tests/fixtures/sound/whisper")
}

pub(super) fn whisper_of_two_decoders() -> Outcome {
    let folder = whisper_with(&[("whisper_past", "decoder_model.onnx"), ("whisper_past", "decoder_with_past_model.onnx")])?;
    check_whisper(&folder.path().to_string_lossy())
}

/// Every token runs through the decoder again at each step.
pub(super) fn whisper_without_cache() -> Outcome {
    let folder = whisper_with(&[("whisper_past", "decoder_model.onnx")])?;
    check_whisper(&folder.path().to_string_lossy())
}

/// Texts, times and languages of `generate` itself, with times over several windows, and without.
fn check_whisper(package: &str) -> Outcome {
    let answers = answers("whisper")?;
    check_features("whisper", &answers, "every_97th_value", 97)?;
    let clips = clips(&answers);
    let fresh = Fresh::with_models(&[("m", package)])?;
    for task in ["transcribe", "translate"] {
        let options = format!("OPTIONS (language = 'de', task = '{task}', timestamps = false)");
        fresh.rows(&format!("CREATE MODEL {task} FROM '{package}' {options}"))?;
        let expected: Vec<&str> = answers["without_times"][task].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let query =
            format!("SELECT mm_transcribe('{task}', uri).text AS text, number FROM {} ORDER BY number", table(&clips[..expected.len()]));
        let rows = fresh.rows(&query)?;
        let found: Vec<&str> = rows.column(0).as_string::<i32>().iter().flatten().collect();
        ensure(found == expected, || format!("{task}: {found:?}, expected {expected:?}"))?;
    }
    let query = format!("SELECT mm_transcribe('m', uri) AS said, number FROM {} ORDER BY number", table(&clips));
    let rows = fresh.rows(&format!("SELECT said.language, said.segments FROM ({query})"))?;
    for (row, expected) in answers["with_times"].as_array().ok_or("answers")?.iter().enumerate() {
        let language = rows.column(0).as_string::<i32>().value(row);
        ensure(Some(language) == expected["language"].as_str(), || format!("row {row}: language {language}"))?;
        let segments = rows.column(1).as_list::<i32>().value(row);
        let segments = segments.as_struct();
        let column = |name: &str| segments.column_by_name(name).cloned().ok_or("segments");
        let texts = column("text")?;
        let found: Vec<&str> = texts.as_string::<i32>().iter().flatten().collect();
        let said: Vec<&Value> = expected["segments"].as_array().into_iter().flatten().filter(|segment| segment["text"] != "").collect();
        let texts: Vec<&str> = said.iter().filter_map(|segment| segment["text"].as_str()).collect();
        ensure(found == texts, || format!("row {row}: {found:?}, expected {texts:?}"))?;
        for time in ["start", "end"] {
            let times: Vec<f64> = said.iter().filter_map(|segment| segment[time].as_f64()).collect();
            let difference = largest_difference(&numbers(&column(time)?)?, &times)?;
            ensure(difference < 1e-6, || format!("row {row}: {time} differs by {difference}"))?;
        }
    }
    Ok(())
}

const SPEECH: &str = "examples/data/speech";

/// Words as they are said: letters and digits only, all small.
fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace(|letter: char| !letter.is_alphanumeric(), " ");
    plain.split_whitespace().map(str::to_string).collect()
}

/// Real weights on real speech, beside transformers' Whisper: the same text for each clip, and the same segments where
/// windows follow each other.
pub(super) fn whisper_tiny_en() -> Outcome {
    let answers: Value = serde_json::from_str(&std::fs::read_to_string("tests/fixtures/speech.json")?)?;
    let package = cached("models/whisper-tiny.en");
    let fresh = Fresh::with_models(&[("whisper", &package)])?;
    fresh.rows(&format!("CREATE MODEL plain FROM '{package}' OPTIONS (timestamps = false)"))?;
    let clips: Vec<(&String, &Value)> = answers.as_object().ok_or("answers")?.iter().filter(|(_, clip)| clip.is_object()).collect();
    let uris: Vec<String> = clips.iter().map(|(name, _)| format!("{SPEECH}/{name}.flac")).collect();
    let rows = fresh.rows(&format!(
        "SELECT mm_transcribe('plain', uri).text AS plain, mm_transcribe('whisper', uri).text AS timed, number FROM {} ORDER BY number",
        table(&uris)
    ))?;
    let (mut wrong, mut all) = (0, 0);
    for (row, (name, clip)) in clips.iter().enumerate() {
        let text = |column: usize| rows.column(column).as_string::<i32>().value(row).to_string();
        ensure(Some(text(0).as_str()) == clip["written"].as_str(), || format!("{name}: {}, expected {}", text(0), clip["written"]))?;
        // With times the model may choose other words, about as good ones.
        let (timed, said) = (words(&text(1)), words(clip["said"].as_str().ok_or("said")?));
        wrong += said.iter().filter(|word| !timed.contains(word)).count();
        all += said.len();
    }
    ensure(wrong * 10 <= all, || format!("{wrong} of {all} words are missing"))?;
    let folder = TempDir::new_in("tests/fixtures")?;
    let book = folder.path().join("book.wav");
    std::fs::write(&book, self::book(2)?)?;
    let query = format!("SELECT unnest(mm_transcribe('whisper', '{}').segments) AS s", book.display());
    let rows = fresh.rows(&format!("SELECT s['start'] AS a, s['end'] AS b, s['text'] AS t FROM ({query})"))?;
    let expected = answers["book_twice"].as_array().ok_or("segments")?;
    let texts: Vec<&str> = rows.column(2).as_string::<i32>().iter().flatten().collect();
    let wanted: Vec<&str> = expected.iter().filter_map(|segment| segment["text"].as_str()).collect();
    ensure(texts == wanted, || format!("{texts:?}, expected {wanted:?}"))?;
    for (column, key) in [(0, "start"), (1, "end")] {
        let times: Vec<f64> = expected.iter().filter_map(|segment| segment[key].as_f64()).collect();
        let difference = largest_difference(&numbers(rows.column(column))?, &times)?;
        ensure(difference < 1e-6, || format!("{key} differs by {difference}"))?;
    }
    Ok(())
}

/// The five clips of a book one behind the other, so many times: 25 seconds and multiples of them.
pub(super) fn book(times: usize) -> Result<Vec<u8>, Failed> {
    let spec = AudioSpec { sampling_rate: 16_000, features: AudioFeatures::Waveform { normalize: false, masked: false } };
    let mut samples = Vec::new();
    for number in ["0870", "0880", "0890", "0920", "0930"] {
        let clip = std::fs::read(format!("{SPEECH}/sense_{number}.flac"))?;
        samples.extend(sound_to_tensor(clip.into(), &spec, &Limits::default())?);
    }
    let bytes: Vec<u8> = samples.repeat(times).into_iter().flat_map(|sample| ((sample * 32_768.0) as i16).to_le_bytes()).collect();
    Ok(wav(1, 16_000, u32::try_from(bytes.len())?, &bytes))
}
