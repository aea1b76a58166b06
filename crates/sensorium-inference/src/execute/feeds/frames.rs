//! Frames of videos and patches of sounds: all of a row at once, or one by one with their vectors pooled afterwards.

use ort::value::DynValue;

use super::{Batch, failed, floats};
use crate::error::Result;
use crate::package::{AudioFeatures, AudioSpec, FrameOrder, Layout, Modality, Pooling, Port, Source, Stage, VideoSpec, YAMNET_PATCH};

/// The patches of all sounds, one behind the other.
pub(super) fn patches(port: &Port, sounds: &[&[f32]], counts: Vec<usize>) -> Result<DynValue> {
    let size: usize = YAMNET_PATCH.iter().product();
    let mut values = Vec::with_capacity(counts.iter().sum::<usize>() * size);
    for (sound, count) in sounds.iter().zip(&counts) {
        values.extend_from_slice(sound);
        values.resize(values.len() + count * size - sound.len(), 0.0);
    }
    let channel = (port.shape.len() > YAMNET_PATCH.len() + 1).then_some(1);
    let shape = [counts.into_iter().sum()].into_iter().chain(channel).chain(YAMNET_PATCH).collect();
    floats(port, shape, values)
}

impl Batch<'_> {
    /// Frames of each row, where they are pictures of their own; a row whose video is absent has one that is black.
    fn frame_counts(&self, input: &str) -> Result<Option<Vec<usize>>> {
        let (Some(videos), Some(Modality::Video(spec))) =
            (self.encoded.pixels.get(input), self.manifest.input(input).map(|input| &input.modality))
        else {
            return Ok(None);
        };
        let size = spec.frame_values()?;
        let counts = self.positions.iter().map(|position| (videos[*position].len() / size).max(1));
        Ok(spec.pooling.is_some().then(|| counts.collect()))
    }

    /// Patches of each row, where a graph looks at them one by one; a row whose sound is absent has one that is silent.
    pub(super) fn patch_counts(&self, input: &str) -> Option<Vec<usize>> {
        let sounds = self.encoded.sounds.get(input)?;
        let size = YAMNET_PATCH.iter().product::<usize>();
        let is_cut =
            matches!(self.manifest.input(input)?.modality, Modality::Audio(AudioSpec { features: AudioFeatures::Yamnet { .. }, .. }));
        is_cut.then(|| self.positions.iter().map(|position| (sounds[*position].len() / size).max(1)).collect())
    }

    /// The frames or patches of each row of a stage that looks at them one by one, and how their vectors become one.
    pub(in crate::execute) fn frames_of(&self, stage: &Stage) -> Result<Option<(Vec<usize>, Pooling)>> {
        for feed in &stage.feeds {
            if let Source::Frames { input } = &feed.source
                && let Some(Modality::Video(VideoSpec { pooling: Some(how), .. })) = self.manifest.input(input).map(|input| &input.modality)
            {
                return Ok(self.frame_counts(input)?.map(|counts| (counts, *how)));
            }
            if let Source::Sound { input } = &feed.source
                && let Some(Modality::Audio(AudioSpec { features: AudioFeatures::Yamnet { pooling }, .. })) =
                    self.manifest.input(input).map(|input| &input.modality)
            {
                return Ok(self.patch_counts(input).map(|counts| (counts, *pooling)));
            }
        }
        Ok(None)
    }

    pub(super) fn frames(&self, port: &Port, input: &str) -> Result<DynValue> {
        let (Some(videos), Some(Modality::Video(spec))) =
            (self.encoded.pixels.get(input), self.manifest.input(input).map(|input| &input.modality))
        else {
            return Err(failed(port, &"not a video"));
        };
        let (size, channels, rows) = (spec.image.size()?, spec.image.channels(), self.positions.len());
        let (height, width) = (size.height as usize, size.width as usize);
        let counts = self.frame_counts(input)?;
        let shape = match (&counts, spec.order, spec.image.layout) {
            (Some(counts), _, Layout::Nchw) => vec![counts.iter().sum(), channels, height, width],
            (Some(counts), _, Layout::Nhwc) => vec![counts.iter().sum(), height, width, channels],
            (None, FrameOrder::FramesFirst, _) => vec![rows, spec.frames, channels, height, width],
            (None, FrameOrder::ChannelsFirst, _) => vec![rows, channels, spec.frames, height, width],
        };
        let mut values = Vec::with_capacity(shape.iter().product());
        for (place, position) in self.positions.iter().enumerate() {
            let frames = counts.as_ref().map_or(spec.frames, |counts| counts[place]);
            values.extend_from_slice(&videos[*position]);
            values.resize(values.len() + frames * spec.frame_values()? - videos[*position].len(), 0.0);
        }
        floats(port, shape, values)
    }
}
