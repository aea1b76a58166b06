//! Encoded sound to tensor: decode within limits, mix to one channel, resample, then what the package says.

mod decode;
mod features;
mod mel;
mod resample;
mod wav;

use bytes::Bytes;

use crate::error::Result;
use crate::execute::Limits;
use crate::package::{AudioFeatures, AudioSpec};

pub(crate) use features::log_mel_frames;
pub(crate) use wav::wav;

/// The features of one encoded clip: samples, or a spectrogram of the size that `spec` fixes.
///
/// # Errors
/// [`crate::Kind::Media`] for bytes that are no sound, [`crate::Kind::Limit`] for more seconds than `limits` allows.
pub fn sound_to_tensor(bytes: Bytes, spec: &AudioSpec, limits: &Limits) -> Result<Vec<f32>> {
    Ok(sound_features(samples(bytes, spec, limits)?, spec))
}

/// The features of samples at the rate of `spec`.
pub(crate) fn sound_features(samples: Vec<f32>, spec: &AudioSpec) -> Vec<f32> {
    match spec.features {
        AudioFeatures::Waveform { normalize, .. } => features::waveform(samples, normalize),
        AudioFeatures::LogMel { mels, n_fft, hop, window } => {
            features::log_mel_window(samples, spec.sampling_rate, mels, n_fft, hop, window)
        }
        AudioFeatures::Yamnet { .. } => features::yamnet(&samples),
        AudioFeatures::UniversalSpeech { mels, frame, hop, n_fft, hertz, preemphasis, floor } => {
            features::universal_speech(&samples, spec.sampling_rate, [mels, frame, hop, n_fft], hertz, preemphasis, floor)
        }
        AudioFeatures::FilterBank { mels, frames, mean, std } => {
            features::filter_bank(&samples, spec.sampling_rate, mels, frames, mean, std)
        }
    }
}

/// One channel of samples from -1 to 1 at the rate of `spec`.
pub(crate) fn samples(bytes: Bytes, spec: &AudioSpec, limits: &Limits) -> Result<Vec<f32>> {
    decode::decode(bytes, spec.sampling_rate, limits)
}
