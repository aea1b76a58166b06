//! How a package wants videos to be prepared.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::image_spec::{ImageSpec, Layout};
use super::manifest::Pooling;
use super::port::Port;
use crate::error::{Error, Kind, Result};

/// Video to tensor: some of its frames, each prepared like a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoSpec {
    /// What is done to each frame.
    pub image: ImageSpec,
    /// How many frames the model looks at; with `every_seconds` at most.
    pub frames: usize,
    /// Which frames.
    pub sampling: Sampling,
    /// The order of frames and channels, where the graph takes all frames at once.
    #[serde(default)]
    pub order: FrameOrder,
    /// How the vectors of frames become one, where the graph takes pictures.
    pub pooling: Option<Pooling>,
}

/// Which frames of a video are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Equally spaced from the first to the last: places `round(linspace(0, count - 1, frames))`, halves to even. A video of
    /// fewer frames has some of them twice.
    Uniform,
    /// The first at or behind each multiple of this time; a graph that takes all frames at once needs them all.
    EverySeconds(f64),
    /// The first frames that were coded without looking at others, one of each scene or so; not of animations, which have none.
    KeyFrames,
}

/// The order of the dimensions behind the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameOrder {
    /// `[frames, channels, height, width]`, as transformers' models take it.
    #[default]
    FramesFirst,
    /// `[channels, frames, height, width]`, as torchvision's models take it.
    ChannelsFirst,
}

/// Name of the input of videos of models that are asked about media.
pub(crate) const VIDEO: &str = "video";
/// Frames of a video in a prompt, where the call does not say how many.
const FRAMES: usize = 8;
/// More frames than any model looks at.
const MAX_FRAMES: usize = 4_096;

impl VideoSpec {
    /// Of a video in a prompt, whose frames are shown as pictures; fewer where there is room for `most` only.
    pub(super) fn in_prompt(image: ImageSpec, most: usize) -> Self {
        let frames = FRAMES.min(most).max(1);
        Self { image, frames, sampling: Sampling::Uniform, order: FrameOrder::FramesFirst, pooling: None }
    }

    /// The same with other frames.
    ///
    /// # Errors
    /// [`Kind::Argument`] for what is no number of frames.
    pub(crate) fn with_frames(&self, frames: &Value) -> Result<Self> {
        let count = frames.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| (1..=MAX_FRAMES).contains(count));
        let wrong = || Error::new(Kind::Argument, format!("frames: not a usable value: {frames}"));
        let frames = count.ok_or_else(|| wrong().with_hint(format!("a number of frames from 1 to {MAX_FRAMES}")))?;
        Ok(Self { frames, ..self.clone() })
    }

    /// Values of one frame.
    pub(crate) fn frame_values(&self) -> Result<usize> {
        let size = self.image.size()?;
        Ok(size.height as usize * size.width as usize * self.image.channels())
    }

    /// Refuses values that cannot be meant.
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(Kind::Package, format!("video preprocessing: {what}")));
        if !(1..=MAX_FRAMES).contains(&self.frames) {
            return wrong(&format!("frames: from 1 to {MAX_FRAMES}"));
        }
        match (self.sampling, self.pooling, self.image.layout) {
            (Sampling::EverySeconds(seconds), ..) if !(seconds.is_finite() && seconds > 0.0) => wrong("every_seconds must be positive"),
            (_, Some(Pooling::Cls | Pooling::LastToken), _) => wrong("frames are pooled by \"mean\" or \"max\""),
            (_, None, Layout::Nhwc) => wrong("frames have their channels first"),
            _ => Ok(Self { image: self.image.check()?, ..self }),
        }
    }

    /// Refuses frames of another shape than the graph takes.
    pub(crate) fn check_port(&self, port: &Port) -> Result<()> {
        let size = self.image.size()?;
        let (height, width, channels) = (size.height as usize, size.width as usize, self.image.channels());
        let wanted = match (self.pooling, self.order, self.image.layout) {
            (Some(_), _, Layout::Nhwc) => vec![height, width, channels],
            (Some(_), ..) => vec![channels, height, width],
            (None, FrameOrder::FramesFirst, _) => vec![self.frames, channels, height, width],
            (None, FrameOrder::ChannelsFirst, _) => vec![channels, self.frames, height, width],
        };
        let trailing = port.shape.get(1..).unwrap_or_default();
        let fits =
            trailing.len() == wanted.len() && trailing.iter().zip(&wanted).all(|(size, wanted)| size.is_none_or(|size| size == *wanted));
        if fits && port.element.is_numeric() && (self.pooling.is_none() || port.shape[0].is_none()) {
            return Ok(());
        }
        Err(Error::new(Kind::Package, format!("frames of {wanted:?} for graph input {port}"))
            .with_hint("frames, resize, crop and order must give what the graph takes; a graph of pictures needs `pooling`"))
    }
}
