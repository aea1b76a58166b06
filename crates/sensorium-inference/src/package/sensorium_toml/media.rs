//! Inputs that are prepared before a graph sees them: texts, pictures, sounds, videos and series.

use std::path::Path;

use super::{InputEntry, Plan, find, wrong};
use crate::error::Result;
use crate::package::audio_spec::{AudioFeatures, AudioSpec};
use crate::package::hugging_face::{check_pixels, check_sound};
use crate::package::image_spec::ImageSpec;
use crate::package::import::ImportOptions;
use crate::package::manifest::{Modality, Source};
use crate::package::port::Port;
use crate::package::series_spec::SeriesSpec;
use crate::package::source::{Files, read_json};
use crate::package::text_spec::TextSpec;
use crate::package::video_spec::VideoSpec;

impl Plan {
    /// The graph is told of padding through its `attention_mask`, where that does not belong to a text.
    pub(super) fn audio(&mut self, files: &Files, name: &str, entry: &InputEntry, port: &Port, ports: &[Port]) -> Result<Modality> {
        let mask = ports.iter().find(|port| port.name == "attention_mask" && !self.sources.contains_key("attention_mask"));
        let mut spec = match (&entry.audio, &entry.preprocessor) {
            (Some(spec), _) => spec.clone().check()?,
            (None, Some(file)) => {
                let config = read_json(&files.root.join(file))?.ok_or_else(|| wrong(format!("no such file: {file}")))?;
                AudioSpec::from_preprocessor(&config, mask.is_some())?
            }
            (None, None) => {
                return Err(wrong(format!("[inputs.{name}]: sound needs its preprocessing")).with_hint(
                    "write `preprocessor = \"preprocessor_config.json\"` or the table `audio = { sampling_rate = .., features = .., .. }`",
                ));
            }
        };
        check_sound(port, &spec)?;
        match (&mut spec.features, mask) {
            (AudioFeatures::Waveform { .. }, Some(mask)) => self.feed(mask.name.clone(), Source::SoundMask { input: name.to_string() })?,
            (AudioFeatures::Waveform { masked: masked @ true, .. }, None) => *masked = false,
            _ => {}
        }
        Ok(Modality::Audio(spec))
    }

    pub(super) fn video(&mut self, files: &Files, name: &str, entry: &InputEntry, port: &Port, ports: &[Port]) -> Result<Modality> {
        let Some(video) = &entry.video else {
            return Err(wrong(format!("[inputs.{name}]: nothing says which frames the model looks at"))
                .with_hint("write `video = { frames = 8, sampling = \"uniform\" }` beside the preprocessing of a picture"));
        };
        let spec = VideoSpec {
            image: image_spec(files, name, entry)?,
            frames: video.frames,
            sampling: video.sampling,
            order: video.order,
            pooling: video.pooling,
        }
        .check()?;
        spec.check_port(port)?;
        if spec.pooling.is_some() && ports.len() > 1 {
            return Err(wrong(format!("[inputs.{name}]: a graph that looks at frames one by one has no other input")));
        }
        self.feed(port.name.clone(), Source::Frames { input: name.to_string() })?;
        Ok(Modality::Video(spec))
    }

    pub(super) fn series(&mut self, name: &str, entry: &InputEntry, port: &Port, ports: &[Port]) -> Result<Modality> {
        let Some(spec) = &entry.series else {
            return Err(wrong(format!("[inputs.{name}]: a series needs its preprocessing"))
                .with_hint("write the table `series = { channels = .., layout = \"channels_last\", steps = .., .. }`"));
        };
        let (masked, observed) = (entry.mask.is_some(), entry.observed.is_some());
        let spec = SeriesSpec { masked, observed, ..spec.clone() }.check()?;
        spec.check_port(port)?;
        let input = || name.to_string();
        self.feed(port.name.clone(), Source::Series { input: input() })?;
        if let Some(mask) = &entry.mask {
            self.feed(find(ports, mask)?.name.clone(), Source::SeriesMask { input: input() })?;
        }
        if let Some(observed) = &entry.observed {
            self.feed(find(ports, observed)?.name.clone(), Source::SeriesObserved { input: input() })?;
        }
        Ok(Modality::Series(spec))
    }
}

pub(super) fn text(files: &mut Files, entry: &InputEntry, options: &ImportOptions) -> Result<Modality> {
    let tokenizer = entry.tokenizer.as_deref().unwrap_or("tokenizer.json");
    let folder = Path::new(tokenizer).parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let mut spec = TextSpec::from_folder(&files.root, &folder, entry.max_tokens.or(options.max_tokens))?;
    spec.tokenizer = tokenizer.to_string();
    files.use_file(tokenizer)?;
    Ok(Modality::Text(spec))
}

pub(super) fn image(files: &Files, name: &str, entry: &InputEntry, port: &Port) -> Result<Modality> {
    let spec = image_spec(files, name, entry)?;
    check_pixels(port, &spec)?;
    Ok(Modality::Image(spec))
}

/// What is done to a picture.
fn image_spec(files: &Files, name: &str, entry: &InputEntry) -> Result<ImageSpec> {
    match (&entry.image, &entry.preprocessor) {
        (Some(spec), _) => spec.clone().check(),
        (None, Some(file)) => {
            let config = read_json(&files.root.join(file))?.ok_or_else(|| wrong(format!("no such file: {file}")))?;
            ImageSpec::from_preprocessor(&config)
        }
        (None, None) => Err(wrong(format!("[inputs.{name}]: an image needs its preprocessing"))
            .with_hint("write `preprocessor = \"preprocessor_config.json\"` or the table `image = { resize = .., filter = .., crop = .., scale = .., mean = .., std = .. }`")),
    }
}
