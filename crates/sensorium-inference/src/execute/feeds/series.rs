//! Windows of measurements, and what a graph is told of them.

use ort::value::DynValue;

use super::{Batch, failed, floats, numbers};
use crate::error::Result;
use crate::modality::Window;
use crate::package::{Modality, Port, SeriesLayout, SeriesSpec};

impl Batch<'_> {
    /// The windows of the batch, with the steps of the longest and what is known of them.
    fn windows(&self, port: &Port, input: &str) -> Result<(Vec<&Window>, usize, &SeriesSpec)> {
        let (Some(windows), Some(Modality::Series(spec))) =
            (self.encoded.series.get(input), self.manifest.input(input).map(|input| &input.modality))
        else {
            return Err(failed(port, &"not a series"));
        };
        let windows: Vec<&Window> = self.positions.iter().map(|position| &windows[*position]).collect();
        let longest = windows.iter().map(|window| window.values.len()).max().unwrap_or(0) / spec.channels.count();
        // A graph still needs something where all are absent.
        Ok((windows, spec.steps.unwrap_or(longest).max(1), spec))
    }

    /// The shape of a tensor with something for each measurement, which `of` gives for a window, and its values in the
    /// order of the package.
    fn measurements<'b, T: Copy + 'b>(
        &self,
        (windows, steps, spec): (Vec<&'b Window>, usize, &SeriesSpec),
        nothing: T,
        of: impl Fn(&'b Window) -> &'b [T],
    ) -> (Vec<usize>, Vec<T>) {
        let channels = spec.channels.count();
        let mut values = vec![nothing; windows.len() * steps * channels];
        for (window, place) in windows.iter().zip(values.chunks_exact_mut(steps * channels)) {
            let own = of(window);
            if spec.layout == SeriesLayout::ChannelsFirst {
                for (channel, place) in place.chunks_exact_mut(steps).enumerate() {
                    own.iter().skip(channel).step_by(channels).zip(place).for_each(|(value, place)| *place = *value);
                }
            } else {
                place[..own.len()].copy_from_slice(own);
            }
        }
        let shape = match spec.layout {
            SeriesLayout::ChannelsFirst => vec![windows.len(), channels, steps],
            SeriesLayout::ChannelsLast => vec![windows.len(), steps, channels],
            SeriesLayout::Flat => vec![windows.len(), steps],
        };
        (shape, values)
    }

    pub(super) fn series(&self, port: &Port, input: &str) -> Result<DynValue> {
        let (shape, values) = self.measurements(self.windows(port, input)?, 0.0, |window| &window.values);
        floats(port, shape, values)
    }

    pub(super) fn series_observed(&self, port: &Port, input: &str) -> Result<DynValue> {
        let (shape, values) = self.measurements(self.windows(port, input)?, false, |window| &window.observed);
        numbers(port, shape, values.into_iter().map(|is_observed| f64::from(u8::from(is_observed))))
    }

    pub(super) fn series_mask(&self, port: &Port, input: &str) -> Result<DynValue> {
        let (windows, steps, _) = self.windows(port, input)?;
        let mask = windows.iter().flat_map(|window| (0..steps).map(|step| f64::from(u8::from(window.valid.contains(&step)))));
        numbers(port, vec![windows.len(), steps], mask)
    }
}
