//! How a package wants sound to be prepared.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::Pooling;
use crate::error::{Error, Kind, Result};

/// Decoded sound to tensor: one channel at one rate, then what the model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioSpec {
    /// Samples a second.
    pub sampling_rate: u32,
    /// What becomes of the samples.
    pub features: AudioFeatures,
}

/// Features that a model is given in place of sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AudioFeatures {
    /// The samples themselves, `[samples]`.
    Waveform {
        /// Whether each clip is brought to mean 0 and variance 1.
        normalize: bool,
        /// Whether padding leaves answers as they are, because the graph is told of it; if not, only clips of equal length
        /// share a batch.
        #[serde(default)]
        masked: bool,
    },
    /// Whisper's log-mel spectrogram of a window of fixed length, `[mels, window / hop]`.
    LogMel {
        /// Number of mel bands.
        mels: usize,
        /// Samples of one Fourier transform.
        n_fft: usize,
        /// Samples from one transform to the next.
        hop: usize,
        /// Samples of a window: shorter clips are filled with silence, longer ones are cut.
        window: usize,
    },
    /// YAMNet's log-mel patches of 0.96 s every 0.48 s, `[96, 64]` each; the graph looks at them one by one.
    Yamnet {
        /// How the vectors of patches become one: `"mean"` or `"max"`.
        pooling: Pooling,
    },
    /// Kaldi's log filter bank over 25 ms every 10 ms, `[frames, mels]`.
    FilterBank {
        /// Number of mel bands.
        mels: usize,
        /// Frames that shorter clips are padded to and longer ones cut to.
        frames: usize,
        /// Subtracted from each value.
        mean: f32,
        /// Divisor of each value afterwards.
        std: f32,
    },
}

/// Frames and bands of a patch of YAMNet's.
pub(crate) const YAMNET_PATCH: [usize; 2] = [96, 64];
/// The rate that they are made at.
const YAMNET_RATE: u32 = 16_000;
/// Rates that speech and sound models are trained on lie well within these.
const SAMPLING_RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;
/// Longest side of a tensor of features.
const MAX_EDGE: usize = 65_536;

impl AudioSpec {
    /// Shape of a clip's features, where all clips have the same, or of a part of them that the graph looks at alone.
    pub fn fixed_shape(&self) -> Option<[usize; 2]> {
        match self.features {
            AudioFeatures::Waveform { .. } => None,
            AudioFeatures::LogMel { mels, hop, window, .. } => Some([mels, window / hop.max(1)]),
            AudioFeatures::FilterBank { mels, frames, .. } => Some([frames, mels]),
            AudioFeatures::Yamnet { .. } => Some(YAMNET_PATCH),
        }
    }

    /// Whether only clips of equal length may share a batch.
    pub fn needs_equal_lengths(&self) -> bool {
        matches!(self.features, AudioFeatures::Waveform { masked: false, .. })
    }

    /// Refuses values that cannot be meant.
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(Kind::Package, format!("sound preprocessing: {what}")));
        if !SAMPLING_RATES.contains(&self.sampling_rate) {
            return wrong(&format!("sampling_rate goes from {} to {}", SAMPLING_RATES.start(), SAMPLING_RATES.end()));
        }
        let is_size = |size: usize| (1..=MAX_EDGE).contains(&size);
        match self.features {
            AudioFeatures::Yamnet { .. } if self.sampling_rate != YAMNET_RATE => wrong("YAMNet hears 16000 samples a second"),
            AudioFeatures::Yamnet { pooling: Pooling::Cls | Pooling::LastToken } => wrong("patches are pooled by \"mean\" or \"max\""),
            AudioFeatures::LogMel { mels, n_fft, hop, window }
                if !(is_size(mels) && n_fft > 1 && is_size(n_fft) && is_size(hop)) || window < n_fft =>
            {
                wrong("mels, n_fft and hop must be positive, and a window no shorter than n_fft")
            }
            AudioFeatures::FilterBank { mels, frames, mean, std }
                if !(is_size(mels) && is_size(frames) && mean.is_finite() && std.is_finite() && std > 0.0) =>
            {
                wrong("mels, frames and std must be positive, and mean finite")
            }
            _ => Ok(self),
        }
    }

    /// Reads Hugging Face's `preprocessor_config.json`.
    ///
    /// Follows transformers' `feature_extraction_*.py`; `masked` is whether the graph is told of padding.
    pub(crate) fn from_preprocessor(config: &Value, masked: bool) -> Result<Self> {
        let kind = config["feature_extractor_type"].as_str().unwrap_or("");
        let features = match kind {
            "Wav2Vec2FeatureExtractor" => waveform(config, masked)?,
            "WhisperFeatureExtractor" => log_mel(config)?,
            "ASTFeatureExtractor" => filter_bank(config)?,
            _ => return Err(unknown(&format!("feature extractor '{kind}'"))),
        };
        if config["dither"].as_f64().is_some_and(|dither| dither != 0.0) {
            return Err(unknown("'dither' adds noise, which would make every answer another"));
        }
        let sampling_rate = number(config, "sampling_rate")?;
        Self { sampling_rate: u32::try_from(sampling_rate).unwrap_or(0), features }.check()
    }
}

fn unknown(what: &str) -> Error {
    Error::new(Kind::Package, format!("unknown sound preprocessing: {what}")).with_hint(
        "write it under the input in `sensorium.toml`: audio = { sampling_rate = 16000, features = { waveform = { normalize = true } } }",
    )
}

fn number(config: &Value, key: &str) -> Result<usize> {
    let number = config[key].as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| unknown(&format!("preprocessor_config.json does not say '{key}'")))
}

fn flag(config: &Value, key: &str) -> Result<bool> {
    config[key].as_bool().ok_or_else(|| unknown(&format!("preprocessor_config.json does not say '{key}'")))
}

/// transformers' processor pads with zeros behind the clip, before which it normalises.
fn waveform(config: &Value, masked: bool) -> Result<AudioFeatures> {
    if config["padding_value"].as_f64().is_some_and(|value| value != 0.0) || config["padding_side"].as_str() == Some("left") {
        return Err(unknown("padding that is not zeros behind the clip"));
    }
    // A model that was trained without a mask must not be given one, though its graph takes it.
    let masked = masked && config["return_attention_mask"].as_bool().unwrap_or(false);
    Ok(AudioFeatures::Waveform { normalize: flag(config, "do_normalize")?, masked })
}

fn log_mel(config: &Value) -> Result<AudioFeatures> {
    if config["do_normalize"].as_bool().unwrap_or(false) {
        return Err(unknown("'do_normalize' of a Whisper processor"));
    }
    let rate = number(config, "sampling_rate")?;
    let window = match config["n_samples"].as_u64() {
        Some(samples) => usize::try_from(samples).unwrap_or(0),
        None => number(config, "chunk_length")?.saturating_mul(rate),
    };
    Ok(AudioFeatures::LogMel {
        mels: number(config, "feature_size")?,
        n_fft: number(config, "n_fft")?,
        hop: number(config, "hop_length")?,
        window,
    })
}

/// transformers divides by twice the deviation, and pads before that.
fn filter_bank(config: &Value) -> Result<AudioFeatures> {
    let (mels, frames) = (number(config, "num_mel_bins")?, number(config, "max_length")?);
    if !flag(config, "do_normalize")? {
        return Ok(AudioFeatures::FilterBank { mels, frames, mean: 0.0, std: 1.0 });
    }
    let value = |key: &str| config[key].as_f64().ok_or_else(|| unknown(&format!("preprocessor_config.json does not say '{key}'")));
    Ok(AudioFeatures::FilterBank { mels, frames, mean: value("mean")? as f32, std: 2.0 * value("std")? as f32 })
}
