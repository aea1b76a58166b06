//! Samples to what models were trained on: normalised waveforms, Whisper's and Kaldi's spectrograms.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::mel::{MelFilters, Scale};
use crate::package::YAMNET_PATCH;

/// Keeps a constant clip from being divided by zero; transformers' value.
const VARIANCE_FLOOR: f64 = 1e-7;
/// Smallest power that Whisper's logarithm sees.
const POWER_FLOOR: f64 = 1e-10;
/// How far below the loudest value, in powers of ten, Whisper cuts values off.
const RANGE: f32 = 8.0;
/// Milliseconds of Kaldi's frames, and from one to the next.
const FRAME_MS: u32 = 25;
const STEP_MS: u32 = 10;
/// Kaldi's pre-emphasis: this much of the sample before is taken away.
const PREEMPHASIS: f64 = 0.97;
/// Kaldi's lowest frequency, in Hz.
const LOWEST: f64 = 20.0;
/// Smallest power that Kaldi's logarithm sees: the resolution of a 32-bit float.
const KALDI_FLOOR: f64 = f32::EPSILON as f64;

/// Samples that clips for Universal Speech Models are filled up to multiples of.
const SPEECH_BLOCK: usize = 128;

/// YAMNet's rate, samples of a frame and from one to the next, Fourier transform, range of its bands, and what is added to
/// magnitudes before their logarithm.
const YAMNET_RATE: u32 = 16_000;
const YAMNET_WINDOW: usize = 400;
const YAMNET_STEP: usize = 160;
const YAMNET_FFT: usize = 512;
const YAMNET_HERTZ: [f64; 2] = [125.0, 7_500.0];
const YAMNET_OFFSET: f64 = 0.001;

/// Mean 0 and variance 1 if `normalize`, as transformers' `zero_mean_unit_var_norm`.
pub(super) fn waveform(mut samples: Vec<f32>, normalize: bool) -> Vec<f32> {
    if normalize {
        let count = samples.len().max(1) as f64;
        let mean = samples.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let variance = samples.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
        let deviation = (variance + VARIANCE_FLOOR).sqrt();
        samples.iter_mut().for_each(|value| *value = ((f64::from(*value) - mean) / deviation) as f32);
    }
    samples
}

/// Whisper's spectrogram of one window, `[mels, window / hop]`: a shorter clip is filled with silence, a longer one cut.
pub(super) fn log_mel_window(mut samples: Vec<f32>, rate: u32, mels: usize, n_fft: usize, hop: usize, window: usize) -> Vec<f32> {
    samples.resize(window, 0.0);
    log_mel_frames(&samples, rate, mels, n_fft, hop)
}

/// Whisper's spectrogram of all samples, `[mels, samples / hop]`, as transformers' `WhisperFeatureExtractor` and OpenAI's
/// `log_mel_spectrogram` make it: values from 8 powers of ten below the loudest, shifted and scaled to about -1 to 1.
pub(crate) fn log_mel_frames(samples: &[f32], rate: u32, mels: usize, n_fft: usize, hop: usize) -> Vec<f32> {
    let frames = samples.len() / hop;
    let filters = MelFilters::new(Scale::Slaney, mels, n_fft / 2 + 1, [0.0, f64::from(rate) / 2.0], rate);
    let mut spectrum = Spectrum::new(n_fft);
    let window: Vec<f64> = (0..n_fft).map(|place| 0.5 - 0.5 * (TAU * place as f64 / n_fft as f64).cos()).collect();
    let mut values = vec![0.0; mels * frames];
    for frame in 0..frames {
        // Frames are centred; what lies before the start or behind the end is mirrored.
        let start = (frame * hop) as isize - (n_fft / 2) as isize;
        let power = spectrum.power(|place| f64::from(samples[mirrored(start + place as isize, samples.len())]) * window[place]);
        for (band, power) in filters.apply(power).enumerate() {
            values[band * frames + frame] = power.max(POWER_FLOOR).log10() as f32;
        }
    }
    let least = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - RANGE;
    values.iter_mut().for_each(|value| *value = (value.max(least) + 4.0) / 4.0);
    values
}

/// The place in a list that is continued by its mirror image, without repeating its ends.
fn mirrored(place: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last <= 0 {
        return 0;
    }
    let folded = place.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}

/// Kaldi's log filter bank, `[frames, mels]`, as torchaudio's `kaldi.fbank` makes it with a Hann window and without dither;
/// cut or padded with zeros to `frames`, then normalised.
pub(super) fn filter_bank(samples: &[f32], rate: u32, mels: usize, frames: usize, mean: f32, std: f32) -> Vec<f32> {
    let of_ms = |ms: u32| (rate as usize * ms as usize) / 1_000;
    let (length, step) = (of_ms(FRAME_MS).max(2), of_ms(STEP_MS).max(1));
    let n_fft = length.next_power_of_two();
    let filters = MelFilters::new(Scale::Kaldi, mels, n_fft / 2 + 1, [LOWEST, f64::from(rate) / 2.0], rate);
    let window: Vec<f64> = (0..length).map(|place| 0.5 - 0.5 * (TAU * place as f64 / (length - 1) as f64).cos()).collect();
    let mut spectrum = Spectrum::new(n_fft);
    let there = if samples.len() < length { 0 } else { (samples.len() - length) / step + 1 };
    let mut values = vec![0.0; frames * mels];
    for (frame, bands) in values.chunks_exact_mut(mels).enumerate().take(there) {
        let own = &samples[frame * step..frame * step + length];
        let offset = own.iter().map(|value| f64::from(*value)).sum::<f64>() / length as f64;
        let centred = |place: usize| f64::from(own[place]) - offset;
        let emphasised = |place: usize| centred(place) - PREEMPHASIS * centred(place.saturating_sub(1));
        let power = spectrum.power(|place| if place < length { emphasised(place) * window[place] } else { 0.0 });
        bands.iter_mut().zip(filters.apply(power)).for_each(|(band, power)| *band = power.max(KALDI_FLOOR).ln() as f32);
    }
    values.iter_mut().for_each(|value| *value = (*value - mean) / std);
    values
}

/// The spectrogram of Universal Speech Models, `[frames, mels]`, as transformers' `feature_extraction_gemma3n.py` makes it: silence
/// behind the end up to a multiple of 128 samples, pre-emphasis within each frame as HTK does it, logarithms of magnitudes in mel bands.
/// Sizes are bands, samples of a frame, samples from one to the next and samples of a transform.
pub(super) fn universal_speech(
    samples: &[f32],
    rate: u32,
    [mels, frame, hop, n_fft]: [usize; 4],
    hertz: [f64; 2],
    preemphasis: f64,
    floor: f64,
) -> Vec<f32> {
    let padded = samples.len().next_multiple_of(SPEECH_BLOCK);
    let frames = if padded > frame { (padded - frame - 1) / hop + 1 } else { 0 };
    let filters = MelFilters::new(Scale::Htk, mels, n_fft / 2 + 1, hertz, rate);
    let window: Vec<f64> = (0..frame).map(|place| 0.5 - 0.5 * (TAU * place as f64 / frame as f64).cos()).collect();
    let mut spectrum = Spectrum::new(n_fft);
    let mut values = Vec::with_capacity(frames * mels);
    for start in (0..frames).map(|frame| frame * hop) {
        let sample = |place: usize| samples.get(start + place).map_or(0.0, |sample| f64::from(*sample));
        let emphasised = |place: usize| match place {
            0 => sample(0) * (1.0 - preemphasis),
            _ => sample(place) - preemphasis * sample(place - 1),
        };
        let power = spectrum.power(|place| if place < frame { emphasised(place) * window[place] } else { 0.0 });
        let magnitude: Vec<f64> = power.iter().map(|power| power.sqrt()).collect();
        values.extend(filters.apply(&magnitude).map(|band| band.max(floor).ln() as f32));
    }
    values
}

/// YAMNet's patches one behind the other, each `[96 frames, 64 bands]`, as `features.py` and `params.py` of TensorFlow's
/// `research/audioset/yamnet` make them of samples at 16 kHz: logarithms of magnitudes in mel bands, a frame every 10 ms, a
/// patch every 0.48 s, silence behind the end so that the last one is whole.
pub(super) fn yamnet(samples: &[f32]) -> Vec<f32> {
    let [frames, bands] = YAMNET_PATCH;
    let first = (frames - 1) * YAMNET_STEP + YAMNET_WINDOW;
    let patches = 1 + samples.len().saturating_sub(first).div_ceil(frames / 2 * YAMNET_STEP);
    let filters = MelFilters::new(Scale::Kaldi, bands, YAMNET_FFT / 2 + 1, YAMNET_HERTZ, YAMNET_RATE);
    let window: Vec<f64> = (0..YAMNET_WINDOW).map(|place| 0.5 - 0.5 * (TAU * place as f64 / YAMNET_WINDOW as f64).cos()).collect();
    let mut spectrum = Spectrum::new(YAMNET_FFT);
    let mut all = vec![0.0; (patches + 1) * frames / 2 * bands];
    for (frame, values) in all.chunks_exact_mut(bands).enumerate() {
        let sample = |place: usize| samples.get(frame * YAMNET_STEP + place).map_or(0.0, |sample| f64::from(*sample));
        let power = spectrum.power(|place| if place < YAMNET_WINDOW { sample(place) * window[place] } else { 0.0 });
        let magnitude: Vec<f64> = power.iter().map(|power| power.sqrt()).collect();
        values.iter_mut().zip(filters.apply(&magnitude)).for_each(|(value, band)| *value = (band + YAMNET_OFFSET).ln() as f32);
    }
    let half = frames / 2 * bands;
    (0..patches).flat_map(|patch| &all[patch * half..patch * half + frames * bands]).copied().collect()
}

/// Power spectra of one length. In 64 bits: quiet bands next to loud ones would drown in the rounding of 32.
struct Spectrum {
    fft: Arc<dyn RealToComplex<f64>>,
    input: Vec<f64>,
    output: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    power: Vec<f64>,
}

impl Spectrum {
    fn new(length: usize) -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(length);
        let (input, output, scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        let power = vec![0.0; output.len()];
        Self { fft, input, output, scratch, power }
    }

    /// The power of each bin of what `sample` gives for each place.
    fn power(&mut self, sample: impl Fn(usize) -> f64) -> &[f64] {
        self.input.iter_mut().enumerate().for_each(|(place, value)| *value = sample(place));
        // Lengths are those that the transform itself asked for.
        let done = self.fft.process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch);
        debug_assert!(done.is_ok());
        self.power.iter_mut().zip(&self.output).for_each(|(power, value)| *power = value.norm_sqr());
        &self.power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_do_not_repeat_their_ends() {
        let places: Vec<usize> = (-3..8).map(|place| mirrored(place, 4)).collect();
        assert_eq!(places, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(mirrored(-5, 1), 0);
    }

    #[test]
    fn waveforms_have_mean_0_and_variance_1() {
        let made = waveform(vec![1.0, 2.0, 3.0, 4.0], true);
        assert!((made.iter().sum::<f32>()).abs() < 1e-6);
        assert!((made.iter().map(|value| value * value).sum::<f32>() / 4.0 - 1.0).abs() < 1e-6);
        assert_eq!(waveform(vec![0.5; 3], true), [0.0; 3]);
        assert_eq!(waveform(vec![0.5; 3], false), [0.5; 3]);
    }

    #[test]
    fn silence_is_the_floor() {
        let made = log_mel_window(Vec::new(), 16_000, 80, 400, 160, 16_000);
        assert_eq!(made.len(), 80 * 100);
        assert!(made.iter().all(|value| *value == (-10.0 + 4.0) / 4.0));
    }
}
