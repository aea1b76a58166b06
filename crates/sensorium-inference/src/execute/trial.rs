//! A model's first run, on rows that were made up: what cannot run at all is refused when it is created.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Float64Builder, Int64Array, ListBuilder,
    StringArray,
};
use arrow::datatypes::{DataType, Field};
use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, ImageFormat, RgbImage, RgbaImage};

use super::answer::{Wanted, is_not_finite, result_type};
use super::cancel::Cancel;
use super::limits::Limits;
use super::loaded::LoadedModel;
use super::run::{Request, run};
use super::stats::Stats;
use crate::error::{Error, Kind, Result};
use crate::media::MediaAccess;
use crate::modality::wav;
use crate::package::{Draft, Element, Input, Manifest, Modality, Prediction, Sampling, SeriesSpec, VideoSpec};
use crate::runtime::Device;

/// Two, so that a graph that works on the whole batch instead of row by row is noticed.
const ROWS: usize = 2;
/// Tokens that a model writes at most: some with a cache.
const WRITTEN_TOKENS: usize = 4;
/// Enough for a few layers that each look at several steps.
const MADE_UP_STEPS: usize = 64;

/// Loads the draft and runs it on made-up rows: zeros, ones, empty categories, a word, a grey picture.
///
/// # Errors
/// Whatever would stop every query: outputs of another shape than the package says, a tokenizer that cannot be read,
/// an encoder whose vector does not fit. NaN and infinity are forgiven, as the rows are made up.
pub fn try_out(draft: &Draft) -> Result<()> {
    try_model(&draft.manifest, &draft.root)?;
    draft.manifest.joint.keys().filter_map(|input| draft.manifest.side(input)).try_for_each(|side| try_model(&side, &draft.root))
}

fn try_model(manifest: &Manifest, folder: &Path) -> Result<()> {
    result_type(manifest, Wanted::Prediction)?;
    let manifest = &easily_tried(manifest);
    let limits = Limits { device: Device::Cpu, ..Limits::default() };
    let model = LoadedModel::open(&Arc::new(manifest.clone()), folder, &limits, &Arc::default())?;
    let is_drawn = matches!(manifest.prediction, Prediction::Picture { .. });
    // A picture to begin with must be of a certain size; videos in a prompt would show nothing that pictures do not.
    let is_video = |input: &Input| manifest.writes() && matches!(input.modality, Modality::Video(_));
    let is_left_out = |input: &Input| input.optional && (is_drawn || is_video(input));
    let made = |input: &Input| if is_left_out(input) { Ok(Vec::new()) } else { made_up(manifest, input).map(|column| vec![column]) };
    let inputs = manifest.inputs.iter().map(made).collect::<Result<Vec<_>>>()?;
    try_once(&model, &inputs, Wanted::Prediction, &limits)?;
    let others = [(Wanted::Embedding, manifest.embedding.is_some()), (Wanted::Explanation, manifest.explained().is_ok())];
    others.into_iter().filter(|(_, is_there)| *is_there).try_for_each(|(wanted, _)| try_once(&model, &inputs, wanted, &limits))
}

/// A model that writes is not kept writing; any frames of a video will do: an animation has no key frames and rounds its times.
fn easily_tried(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    for input in &mut manifest.inputs {
        if let Modality::Video(spec) = &mut input.modality {
            spec.sampling = Sampling::Uniform;
        }
    }
    if let Prediction::Transcript { speech } = &mut manifest.prediction {
        let prompt = speech.prompt(speech.languages.keys().next().map(String::as_str)).len();
        speech.max_tokens = speech.max_tokens.min(prompt + WRITTEN_TOKENS);
    }
    if let Prediction::Text { generation } = &mut manifest.prediction {
        generation.rules.max_tokens = WRITTEN_TOKENS;
    }
    if let Prediction::Picture { diffusion } = &mut manifest.prediction {
        // Two steps, as small as may be.
        diffusion.rules.steps = 2;
        diffusion.rules.width = 2 * diffusion.multiple;
        diffusion.rules.height = diffusion.multiple;
    }
    manifest
}

fn try_once(model: &LoadedModel, inputs: &[Vec<ArrayRef>], wanted: Wanted, limits: &Limits) -> Result<()> {
    let access = MediaAccess::default();
    let (cancel, stats) = (Cancel::default(), Stats::default());
    let request = Request {
        inputs,
        rows: ROWS,
        wanted,
        access: &access,
        limits,
        stop_at_failure: true,
        statement: 0,
        cancel: &cancel,
        stats: &stats,
    };
    let answer = run(model, &request)?;
    match answer.failures.into_iter().find(|failure| !is_not_finite(&failure.error)) {
        None => Ok(()),
        Some(failure) => {
            let refused = Error::new(Kind::Package, format!("a first run on made-up rows failed, {}: {}", failure.step, failure.error));
            Err(refused.with_hint(failure.error.hint().unwrap_or(&expected(&model.manifest)).to_string()))
        }
    }
}

fn expected(manifest: &Manifest) -> String {
    let inputs: Vec<String> = manifest.inputs.iter().map(|input| format!("{} ({})", input.name, input.modality.name())).collect();
    format!("the inputs were read as {}; `sensorium.toml` can say otherwise", inputs.join(", "))
}

fn made_up(manifest: &Manifest, input: &Input) -> Result<ArrayRef> {
    Ok(match &input.modality {
        Modality::Number { element: Element::Bool, .. } => Arc::new(BooleanArray::from(vec![false, true])),
        Modality::Number { element, .. } if element.is_float() => Arc::new(Float64Array::from(vec![0.0, 1.0])),
        Modality::Number { .. } => Arc::new(Int64Array::from(vec![0; ROWS])),
        Modality::Category { .. } => Arc::new(StringArray::from(vec![""; ROWS])),
        Modality::Vector { width, .. } => {
            let item = Arc::new(Field::new_list_field(DataType::Float32, true));
            let size = i32::try_from(*width).map_err(|_| Error::new(Kind::Package, format!("a vector of {width} numbers is too long")))?;
            Arc::new(FixedSizeListArray::new(item, size, Arc::new(Float32Array::from(vec![0.0; ROWS * width])), None))
        }
        Modality::Text(_) => Arc::new(StringArray::from(vec!["word", "two words"])),
        Modality::Prompt => {
            let markers = match &manifest.prediction {
                Prediction::Text { generation } => generation.media.iter().map(|marker| marker.text.as_str()).collect(),
                _ => String::new(),
            };
            Arc::new(StringArray::from(vec![format!("{markers}word"), format!("{markers}two words")]))
        }
        Modality::Series(spec) => made_up_series(spec),
        Modality::Video(spec) => Arc::new(BinaryArray::from_vec(vec![&grey_video(spec)?; ROWS])),
        Modality::Audio(spec) => Arc::new(BinaryArray::from_vec(vec![&tone(spec.sampling_rate); ROWS])),
        Modality::Image(_) | Modality::Document => Arc::new(BinaryArray::from_vec(vec![&grey_picture()?; ROWS])),
    })
}

/// Windows that no package refuses: of the right length, or of two lengths where any will do.
fn made_up_series(spec: &SeriesSpec) -> ArrayRef {
    let mut windows = ListBuilder::new(ListBuilder::new(Float64Builder::new()));
    for row in 0..ROWS {
        for step in 0..spec.steps.unwrap_or(MADE_UP_STEPS + row) {
            (0..spec.channels.count()).for_each(|channel| windows.values().values().append_value((step + channel) as f64));
            windows.values().append(true);
        }
        windows.append(true);
    }
    Arc::new(windows.finish())
}

/// An animation long enough for what the package looks at.
fn grey_video(spec: &VideoSpec) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    let picture = RgbaImage::from_pixel(8, 8, image::Rgba([128, 128, 128, 255]));
    let frame = || Frame::from_parts(picture.clone(), 0, 0, Delay::from_numer_denom_ms(100, 1));
    let written = encoder.encode_frames((0..spec.frames).map(|_| frame()));
    written.map_err(|error| Error::new(Kind::Media, format!("cannot make a video up: {error}")))?;
    drop(encoder);
    Ok(bytes)
}

fn grey_picture() -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let written = RgbImage::from_pixel(8, 8, image::Rgb([128; 3])).write_to(&mut bytes, ImageFormat::Bmp);
    written.map_err(|error| Error::new(Kind::Media, format!("cannot make a picture up: {error}")))?;
    Ok(bytes.into_inner())
}

/// A second of a tone of 440 Hz.
fn tone(rate: u32) -> Vec<u8> {
    let sample = |place: u32| ((f64::from(place) * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin() / 4.0) as f32;
    wav(&(0..rate).map(sample).collect::<Vec<f32>>(), rate)
}
