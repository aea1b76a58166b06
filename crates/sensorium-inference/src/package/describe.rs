//! One line per input and output, for `DESCRIBE MODEL`.

use super::audio_spec::{AudioFeatures, AudioSpec};
use super::diffusion::PictureRules;
use super::image_spec::{ImageSpec, Resize};
use super::joint::Matching;
use super::manifest::{Input, Manifest, Missing, Modality, OutputRef, Prediction};
use super::series_spec::{Channels, SeriesScale, SeriesSpec};
use super::text_spec::TextSpec;
use super::video_spec::{Sampling, VideoSpec};

impl Input {
    /// What the input takes and what is done to it, in one line.
    pub fn describe(&self) -> String {
        let detail = match &self.modality {
            Modality::Number { element, missing } => format!("{element}{}", describe_missing(missing.as_ref())),
            Modality::Category { missing } => format!("string{}", describe_missing(missing.as_ref())),
            Modality::Vector { width, element } => format!("{width} x {element}"),
            Modality::Text(spec) => describe_text(spec),
            Modality::Image(spec) => describe_image(spec),
            Modality::Audio(spec) => describe_sound(spec),
            Modality::Series(spec) => describe_series(spec),
            Modality::Video(spec) => describe_video(spec),
            Modality::Prompt => "a text".into(),
            Modality::Document => "a picture of any size, or all pages of a PDF or TIFF".into(),
        };
        let detail = if self.list { format!("{detail}, one or a list") } else { detail };
        if self.optional { format!("{detail}, optional") } else { detail }
    }
}

fn describe_missing(missing: Option<&Missing>) -> String {
    match missing {
        None => String::new(),
        Some(Missing::Number(value)) => format!(", absent = {value}"),
        Some(Missing::Text(value)) => format!(", absent = '{value}'"),
    }
}

fn describe_text(spec: &TextSpec) -> String {
    format!("at most {} tokens", spec.max_tokens)
}

fn describe_image(spec: &ImageSpec) -> String {
    let filter = format!("{:?}", spec.filter).to_lowercase();
    let resize = match spec.resize {
        None => "no resize".to_string(),
        Some(Resize::ShortestEdge { shortest_edge }) => format!("shortest edge to {shortest_edge} ({filter})"),
        Some(Resize::Exact(size)) => format!("resize to {}x{} ({filter})", size.height, size.width),
    };
    let crop = spec.crop.map_or(String::new(), |size| format!(", centre crop {}x{}", size.height, size.width));
    format!("{resize}{crop}, {} channels", spec.channels())
}

fn describe_sound(spec: &AudioSpec) -> String {
    let rate = spec.sampling_rate;
    let seconds = |samples: usize| samples as f64 / f64::from(rate);
    match &spec.features {
        AudioFeatures::Waveform { normalize: true, .. } => format!("{rate} Hz, normalised samples"),
        AudioFeatures::Waveform { normalize: false, .. } => format!("{rate} Hz, samples"),
        AudioFeatures::LogMel { mels, window, .. } => format!("{rate} Hz, {mels} mel bands, windows of {} s", seconds(*window)),
        AudioFeatures::Yamnet { pooling } => {
            format!("{rate} Hz, patches of 0.96 s in 64 mel bands, {} over patches", format!("{pooling:?}").to_lowercase())
        }
        AudioFeatures::UniversalSpeech { mels, hop, .. } => format!("{rate} Hz, {mels} mel bands every {} ms", seconds(*hop) * 1_000.0),
        AudioFeatures::FilterBank { mels, frames, .. } => format!("{rate} Hz, {mels} mel bands, the first {frames} frames of 10 ms"),
    }
}

fn describe_video(spec: &VideoSpec) -> String {
    let which = match spec.sampling {
        Sampling::Uniform => format!("{} frames", spec.frames),
        Sampling::KeyFrames => format!("at most {} key frames", spec.frames),
        Sampling::EverySeconds(seconds) => format!("a frame each {seconds} s, at most {}", spec.frames),
    };
    let pooling = spec.pooling.map_or(String::new(), |pooling| format!(", {} over frames", format!("{pooling:?}").to_lowercase()));
    format!("{which}, {}{pooling}", describe_image(&spec.image))
}

fn describe_series(spec: &SeriesSpec) -> String {
    let steps = spec.steps.map_or("any number of".into(), |steps| steps.to_string());
    let channels = match &spec.channels {
        Channels::Count(count) => format!("{count} channels"),
        Channels::Names(names) => names.join(", "),
    };
    let scale = match &spec.normalize {
        SeriesScale::None => "",
        SeriesScale::Window { .. } => ", each window normalised",
        SeriesScale::Fixed { .. } => ", normalised",
    };
    format!("{steps} steps of {channels}{scale}{}", describe_missing(spec.missing.as_ref()))
}

impl OutputRef {
    /// Where the value comes from and what is done to it.
    pub fn describe(&self) -> String {
        let pooling = self.pooling.map_or(String::new(), |pooling| format!(", {} pooling", format!("{pooling:?}").to_lowercase()));
        let normalize = if self.normalize { ", L2-normalised" } else { "" };
        format!("{}{pooling}{normalize}", self.output)
    }
}

impl Matching {
    /// How a cosine becomes a probability, in one line.
    pub fn describe(&self) -> String {
        let bias = if self.logit_bias == 0.0 { String::new() } else { format!(" {:+}", self.logit_bias) };
        let prompt = self.prompt.as_ref().map_or(String::new(), |prompt| format!(", prompt '{prompt}'"));
        format!("{} of cosine * {}{bias}{prompt}", format!("{:?}", self.activation).to_lowercase(), self.logit_scale)
    }
}

impl Manifest {
    /// What `mm_predict` makes of the outputs, in one line.
    pub fn describe_prediction(&self) -> String {
        match &self.prediction {
            Prediction::Classification { classes, scores, activation, .. } => {
                format!("{} classes from {}, {}", classes.len(), scores.output, format!("{activation:?}").to_lowercase())
            }
            Prediction::Regression { value } => value.describe(),
            Prediction::Transcript { speech } => {
                let language = match (&speech.language, speech.languages.len()) {
                    (Some(language), _) => language.clone(),
                    (None, 0) => "one language".into(),
                    (None, count) => format!("one of {count} languages"),
                };
                format!("text in {language}, {}", if speech.timestamps { "segments with times" } else { "without times" })
            }
            Prediction::Text { .. } if self.endpoint.is_some() => "an answer in a conversation, chosen as the endpoint does it".into(),
            Prediction::Text { generation } => {
                let asked = if generation.chat.is_some() { "an answer in a conversation" } else { "what follows a text" };
                let chosen = if generation.rules.is_drawn { "drawn" } else { "the likeliest tokens" };
                format!("{asked}, {chosen}, up to {} tokens with the prompt", generation.max_positions)
            }
            Prediction::Picture { diffusion } => {
                let PictureRules { steps, width, height, .. } = diffusion.rules;
                format!("a picture of {width}x{height} pixels, {steps} steps of {:?}", diffusion.scheduler.kind)
            }
            Prediction::Lines { ocr } => format!("lines of text in {} characters", ocr.characters.len()),
            Prediction::VoiceActivity { activity } => format!("speech from a probability of {} on", activity.threshold),
            Prediction::Outputs { fields } => fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }
}
