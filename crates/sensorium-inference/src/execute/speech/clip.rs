//! A row's sound on its way through the windows.

use super::super::encode::{Work, sound_samples, uri};
use super::super::fetch::Fetched;
use super::super::run::{Failure, Step};
use super::incomplete;
use super::segments::Segment;
use super::transcript::Transcript;
use crate::error::{Error, Kind, Result};
use crate::modality::log_mel_frames;
use crate::package::{AudioFeatures, AudioSpec, Input, Manifest, Modality, Prediction};

/// The sound input of a speech model and what is made of it.
#[derive(Clone, Copy)]
pub(super) struct Sound<'a> {
    input: &'a Input,
    spec: &'a AudioSpec,
    timestamps: bool,
    pub(super) mels: usize,
    n_fft: usize,
    hop: usize,
    window: usize,
}

/// Frames that become one step of the encoder's output, and so of the times that are written: 10 ms each.
pub(super) const FRAMES_A_STEP: usize = 2;

/// One row.
pub(super) struct Clip {
    pub(super) row: usize,
    /// `[mels, frames]`.
    features: Vec<f32>,
    pub(super) frames: usize,
    /// First frame of the next window.
    pub(super) seek: usize,
    pub(super) language: Option<String>,
    pub(super) segments: Vec<Segment>,
    pub(super) failed: bool,
}

impl<'a> Sound<'a> {
    pub(super) fn of(manifest: &'a Manifest) -> Result<Self> {
        let input = manifest.inputs.first().ok_or_else(|| incomplete("an input"))?;
        let (Modality::Audio(spec), Prediction::Transcript { speech }) = (&input.modality, &manifest.prediction) else {
            return Err(incomplete("a sound input"));
        };
        let AudioFeatures::LogMel { mels, n_fft, hop, window } = spec.features else { return Err(incomplete("a log-mel spectrogram")) };
        Ok(Self { input, spec, timestamps: speech.timestamps, mels, n_fft, hop, window })
    }

    /// Frames of a window.
    pub(super) fn window_frames(&self) -> usize {
        self.window / self.hop
    }

    /// Seconds of a step of the times that are written.
    pub(super) fn step_seconds(&self) -> f64 {
        (self.hop * FRAMES_A_STEP) as f64 / f64::from(self.spec.sampling_rate)
    }

    /// The row's clip, with the spectrogram of all of it: what is loud is decided by the whole.
    pub(super) fn clip(&self, work: &Work<'_>, row: usize, fetched: &Fetched) -> Result<Clip, Failure> {
        let column = work.columns.get(&self.input.name);
        let failed = |step: Step, error: Error| {
            let uri = column.and_then(|column| uri(self.input, column, row));
            Failure { row, uri, step, error }
        };
        let none = || failed(Step::Input, Error::new(Kind::Argument, "no sound"));
        let samples = sound_samples(work, self.input, self.spec, column.ok_or_else(none)?, row, fetched);
        let mut samples = samples.map_err(|(step, error)| failed(step, error))?.ok_or_else(none)?;
        if !self.timestamps {
            if samples.len() > self.window {
                let seconds = |samples: usize| samples as f64 / f64::from(self.spec.sampling_rate);
                let error = format!("{:.1} s are longer than a window of {} s", seconds(samples.len()), seconds(self.window));
                let error = Error::new(Kind::Limit, error).with_hint("create the model with OPTIONS (timestamps = true)");
                return Err(failed(Step::Decode, error));
            }
            samples.resize(self.window, 0.0);
        } else if samples.len() < self.hop {
            samples.resize(self.hop, 0.0);
        }
        let start = std::time::Instant::now();
        let features = log_mel_frames(&samples, self.spec.sampling_rate, self.mels, self.n_fft, self.hop);
        work.request.stats.feature_time.since(start);
        let frames = samples.len() / self.hop;
        Ok(Clip { row, features, frames, seek: 0, language: None, segments: Vec::new(), failed: false })
    }
}

impl Clip {
    /// Whether nothing is left to write.
    pub(super) fn is_over(&self) -> bool {
        self.failed || self.seek >= self.frames
    }

    /// Puts the next window into `values`, `[mels, frames of a window]`; what lies behind the clip is 0.
    pub(super) fn window(&self, values: &mut [f32], mels: usize) {
        let width = values.len() / mels.max(1);
        let end = self.frames.min(self.seek + width);
        for (own, window) in self.features.chunks_exact(self.frames).zip(values.chunks_exact_mut(width)) {
            let own = &own[self.seek..end];
            window[..own.len()].copy_from_slice(own);
            window[own.len()..].fill(0.0);
        }
    }

    pub(super) fn into_transcript(self) -> Transcript {
        Transcript { segments: self.segments, language: self.language }
    }
}
