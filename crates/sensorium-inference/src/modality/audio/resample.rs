//! From the rate of a file to the rate of a model, piece by piece.

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::error::{Error, Kind, Result};

/// Frames that are resampled together, about.
const CHUNK: usize = 4_096;

/// Takes samples as they come and keeps what they became.
pub(super) struct Resampler {
    way: Option<Way>,
    done: Vec<f32>,
}

/// Where the rates differ.
struct Way {
    fft: Fft<f32>,
    ratio: f64,
    /// Samples that do not fill a chunk yet.
    waiting: Vec<f32>,
    chunk: Vec<f32>,
    taken: usize,
    /// Samples at the start that are the filter's delay.
    delay: usize,
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Media, format!("cannot be resampled: {error}"))
}

impl Resampler {
    pub(super) fn new(from: u32, to: u32) -> Result<Self> {
        if from == to {
            return Ok(Self { way: None, done: Vec::new() });
        }
        let fft = Fft::new(from as usize, to as usize, CHUNK, 1, FixedSync::Both).map_err(|error| failed(&error))?;
        let (chunk, delay) = (vec![0.0; fft.output_frames_max()], fft.output_delay());
        let way = Way { fft, ratio: f64::from(to) / f64::from(from), waiting: Vec::new(), chunk, taken: 0, delay };
        Ok(Self { way: Some(way), done: Vec::new() })
    }

    pub(super) fn push(&mut self, samples: &[f32]) -> Result<()> {
        let Some(way) = &mut self.way else {
            self.done.extend_from_slice(samples);
            return Ok(());
        };
        way.taken += samples.len();
        way.waiting.extend_from_slice(samples);
        way.run(&mut self.done)
    }

    /// All samples at the new rate: as many as last as long as those that were pushed.
    pub(super) fn finish(mut self) -> Result<Vec<f32>> {
        let Some(way) = &mut self.way else { return Ok(self.done) };
        let wanted = (way.taken as f64 * way.ratio).ceil() as usize;
        while self.done.len() < wanted + way.delay {
            let filled = way.fft.input_frames_next();
            way.waiting.resize(filled, 0.0);
            way.run(&mut self.done)?;
        }
        self.done.drain(..way.delay);
        self.done.truncate(wanted);
        Ok(self.done)
    }
}

impl Way {
    fn run(&mut self, done: &mut Vec<f32>) -> Result<()> {
        let mut start = 0;
        loop {
            let (needed, given) = (self.fft.input_frames_next(), self.fft.output_frames_next());
            if self.waiting.len() - start < needed {
                break;
            }
            let input = SequentialSlice::new(&self.waiting[start..start + needed], 1, needed).map_err(|error| failed(&error))?;
            let mut output = SequentialSlice::new_mut(&mut self.chunk[..given], 1, given).map_err(|error| failed(&error))?;
            let (read, written) = self.fft.process_into_buffer(&input, &mut output, None).map_err(|error| failed(&error))?;
            done.extend_from_slice(&self.chunk[..written]);
            start += read;
        }
        self.waiting.drain(..start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn tone(rate: u32, frequency: f64, seconds: f64) -> Vec<f32> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|place| (TAU * frequency * place as f64 / f64::from(rate)).sin() as f32).collect()
    }

    fn resampled(samples: &[f32], from: u32, to: u32, piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to).expect("a resampler");
        samples.chunks(piece).for_each(|piece| resampler.push(piece).expect("resampled"));
        resampler.finish().expect("resampled")
    }

    #[test]
    fn a_tone_stays_where_it_is() {
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (48_000, 16_000), (22_050, 16_000), (11_025, 8_000), (192_000, 16_000)] {
            let (given, expected) = (tone(from, 440.0, 1.0), tone(to, 440.0, 1.0));
            let made = resampled(&given, from, to, 1_000);
            assert_eq!(made.len(), expected.len(), "{from} -> {to}");
            // The clip begins and ends abruptly, where no filter knows what would have been.
            let inside = 400..made.len() - 400;
            let error = made[inside.clone()].iter().zip(&expected[inside]).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(error < 2e-3, "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let samples = tone(44_100, 1_000.0, 0.5);
        let whole = resampled(&samples, 44_100, 16_000, samples.len());
        for piece in [1, 7, 4_096, 5_000] {
            assert_eq!(resampled(&samples, 44_100, 16_000, piece), whole);
        }
        assert_eq!(resampled(&samples, 16_000, 16_000, 100), samples);
    }

    #[test]
    fn what_the_new_rate_cannot_carry_is_gone() {
        let made = resampled(&tone(48_000, 12_000.0, 0.5), 48_000, 16_000, 4_800);
        let loudest = made[800..made.len() - 800].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }
}
