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
    /// The log-mel spectrogram of Universal Speech Models (<https://arxiv.org/abs/2303.01037>) as Gemma 3n hears it, `[frames, mels]`.
    UniversalSpeech {
        /// Number of mel bands.
        mels: usize,
        /// Samples of a frame.
        frame: usize,
        /// Samples from one frame to the next.
        hop: usize,
        /// Samples of one Fourier transform.
        n_fft: usize,
        /// Frequencies of the bands, from and to, in Hz.
        hertz: [f64; 2],
        /// So much of the sample before is taken away.
        preemphasis: f64,
        /// Smallest magnitude that the logarithm sees.
        floor: f64,
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
            AudioFeatures::Waveform { .. } | AudioFeatures::UniversalSpeech { .. } => None,
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
            AudioFeatures::UniversalSpeech { mels, frame, hop, n_fft, hertz: [lowest, highest], preemphasis, floor }
                if !(is_size(mels) && is_size(hop) && frame > 1 && n_fft >= frame && is_size(n_fft) && floor > 0.0)
                    || !(lowest >= 0.0 && lowest < highest && highest <= f64::from(self.sampling_rate) / 2.0)
                    || !(0.0..1.0).contains(&preemphasis) =>
            {
                wrong("mels, frame, hop and floor must be positive, frequencies within half the rate, and preemphasis below 1")
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
            "Gemma3nAudioFeatureExtractor" => universal_speech(config)?,
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

/// As `feature_extraction_gemma3n.py`; sizes are written down in samples or in milliseconds.
fn universal_speech(config: &Value) -> Result<AudioFeatures> {
    let value = |key: &str| config[key].as_f64().ok_or_else(|| unknown(&format!("preprocessor_config.json does not say '{key}'")));
    let is_idle = |key: &str, idle: f64| config[key].as_f64().is_none_or(|value| value == idle);
    if !config["preemphasis_htk_flavor"].as_bool().unwrap_or(true) || !is_idle("padding_value", 0.0) || !is_idle("input_scale_factor", 1.0)
    {
        return Err(unknown("preemphasis, padding or scale of another kind than Gemma 3n's"));
    }
    if ["per_bin_mean", "per_bin_stddev"].iter().any(|key| !config[*key].is_null()) {
        return Err(unknown("per_bin_mean and per_bin_stddev"));
    }
    let rate = value("sampling_rate")?;
    let samples = |name: &str| match config[name].as_u64() {
        Some(samples) => Ok(usize::try_from(samples).unwrap_or(0)),
        None => value(&format!("{name}_ms")).map(|milliseconds| (rate * milliseconds / 1_000.0).round_ties_even() as usize),
    };
    let (frame, hop) = (samples("frame_length")?, samples("hop_length")?);
    let overdrive = usize::from(config["fft_overdrive"].as_bool().unwrap_or(true));
    let n_fft = match config["fft_length"].as_u64() {
        Some(length) => usize::try_from(length).unwrap_or(0),
        None => frame.next_power_of_two() << overdrive,
    };
    Ok(AudioFeatures::UniversalSpeech {
        mels: number(config, "feature_size")?,
        frame,
        hop,
        n_fft,
        hertz: [value("min_frequency")?, value("max_frequency")?],
        preemphasis: value("preemphasis")?,
        floor: value("mel_floor")?,
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
