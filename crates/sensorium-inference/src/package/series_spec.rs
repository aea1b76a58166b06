//! How a package wants windows of measurements to be prepared.

use serde::{Deserialize, Serialize};

use super::manifest::Missing;
use super::port::Port;
use crate::error::{Error, Kind, Result};

/// A list of time steps, each with one number or one number a channel, to a tensor.
///
/// In this order: gaps are filled (`missing = "linear"` or `"last"`), the window is cut or resampled to `steps`, it is
/// normalised, what is still missing becomes `missing`, and a short window is padded with zeros.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesSpec {
    /// How many channels a step has, or what they are called.
    pub channels: Channels,
    /// Where the graph has time and where the channels.
    pub layout: SeriesLayout,
    /// Steps that each window is brought to; without it windows keep their lengths.
    pub steps: Option<usize>,
    /// What is done with fewer steps; without it they are an error.
    pub shorter: Option<Shorter>,
    /// What is done with more steps; without it they are an error.
    pub longer: Option<Longer>,
    /// What is subtracted from the measurements and what they are divided by.
    #[serde(default)]
    pub normalize: SeriesScale,
    /// What stands for a measurement that is NULL or NaN: a number after normalisation, `"linear"` between its neighbours,
    /// or the `"last"` one before it; without it such a window is an error, unless the graph is told of each measurement.
    pub missing: Option<Missing>,
    /// Whether padding leaves answers as they are, because the graph is told of it.
    #[serde(default)]
    pub masked: bool,
    /// Whether the graph is told which measurements are there.
    #[serde(default)]
    pub observed: bool,
}

/// The channels of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Channels {
    /// So many numbers a step, in the order of the list.
    Count(usize),
    /// The fields of a step that is a struct; in a list they have this order.
    Names(Vec<String>),
}

impl Channels {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::Names(names) => names.len(),
        }
    }
}

/// Order of the dimensions behind the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesLayout {
    /// `[channels, steps]`, as convolutions want it.
    ChannelsFirst,
    /// `[steps, channels]`, as recurrent networks and transformers want it.
    ChannelsLast,
    /// `[steps]`, for a single channel.
    Flat,
}

/// What is done with a window that is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shorter {
    /// Zeros are added behind its last step.
    PadEnd,
    /// Zeros are added before its first step.
    PadStart,
    /// Linear interpolation between its first and last step.
    Resample,
}

/// What is done with a window that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Longer {
    /// The newest steps are kept.
    KeepLast,
    /// The oldest steps are kept.
    KeepFirst,
    /// Linear interpolation between its first and last step.
    Resample,
}

/// What measurements are brought to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SeriesScale {
    /// They stay as they are.
    #[default]
    None,
    /// Each channel of each window to mean 0 and variance 1: `(x - mean) / sqrt(variance + epsilon)`.
    Window {
        /// Added to the variance, so that a channel that never moves is not divided by 0.
        epsilon: f64,
    },
    /// `(x - mean[channel]) / std[channel]`, with what the model was trained on.
    Fixed {
        /// One number a channel.
        mean: Vec<f64>,
        /// One number a channel.
        std: Vec<f64>,
    },
}

/// More channels than any machine has sensors.
const MAX_CHANNELS: usize = 65_536;

impl SeriesSpec {
    /// Whether only windows of equal length may share a batch.
    pub fn needs_equal_lengths(&self) -> bool {
        self.steps.is_none() && !self.masked
    }

    /// Refuses values that cannot be meant.
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(Kind::Package, format!("series preprocessing: {what}")));
        let channels = self.channels.count();
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return wrong(&format!("channels: from 1 to {MAX_CHANNELS}"));
        }
        if self.layout == SeriesLayout::Flat && channels != 1 {
            return wrong("layout = \"flat\" is for a single channel");
        }
        if self.steps == Some(0) || (self.steps.is_none() && (self.shorter.is_some() || self.longer.is_some())) {
            return wrong("`shorter` and `longer` need `steps`, a positive number");
        }
        let resamples = self.shorter == Some(Shorter::Resample) || self.longer == Some(Longer::Resample);
        match (&self.missing, &self.normalize) {
            (Some(Missing::Number(value)), _) if !value.is_finite() => wrong("`missing` must be finite"),
            (Some(Missing::Text(text)), _) if text != "linear" && text != "last" => {
                wrong(&format!("`missing` is a number, \"linear\" or \"last\", not \"{text}\""))
            }
            (Some(Missing::Number(_)) | None, _) if resamples && (self.observed || self.missing.is_some()) => {
                wrong("resampling needs `missing = \"linear\"` or \"last\": there is nothing between a measurement and a gap")
            }
            (_, SeriesScale::Window { epsilon }) if !(epsilon.is_finite() && *epsilon >= 0.0) => wrong("epsilon must not be negative"),
            (_, SeriesScale::Fixed { mean, std })
                if mean.len() != channels
                    || std.len() != channels
                    || mean.iter().any(|mean| !mean.is_finite())
                    || std.iter().any(|std| !(std.is_finite() && *std > 0.0)) =>
            {
                wrong("mean and a positive std for each channel")
            }
            _ => Ok(self),
        }
    }

    /// Refuses windows of another shape than the graph takes.
    pub(crate) fn check_port(&self, port: &Port) -> Result<()> {
        let (channels, steps) = (Some(self.channels.count()), self.steps);
        let wanted: &[Option<usize>] = match self.layout {
            SeriesLayout::ChannelsFirst => &[channels, steps],
            SeriesLayout::ChannelsLast => &[steps, channels],
            SeriesLayout::Flat => &[steps],
        };
        let trailing = port.shape.get(1..).unwrap_or_default();
        // A graph of fixed length needs windows of that length.
        let fits = trailing.len() == wanted.len() && trailing.iter().zip(wanted).all(|(size, wanted)| size.is_none() || size == wanted);
        if fits && port.element.is_float() {
            return Ok(());
        }
        let sizes: Vec<String> = wanted.iter().map(|size| size.map_or("any length".into(), |size| size.to_string())).collect();
        Err(Error::new(Kind::Package, format!("series of [{}] for graph input {port}", sizes.join(", ")))
            .with_hint("channels, steps and layout must give what the graph takes"))
    }
}
