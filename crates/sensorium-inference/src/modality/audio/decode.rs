//! Decoding to one channel at one rate, with the limits checked while samples come.
//!
//! Channels are mixed to their mean, as soundfile's and librosa's users do. A file that ends before its header says, or
//! whose packets cannot be decoded, is refused: half a call must not pass for a call.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::resample::Resampler;
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

/// Rates of a file that can be meant.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Lengths are stated to a frame or two of MP3, whose decoders differ in what they cut off.
const LENGTH_TOLERANCE: u64 = 2_304;

/// Samples from -1 to 1 at `rate` samples a second.
pub(super) fn decode(bytes: Bytes, rate: u32, limits: &Limits) -> Result<Vec<f32>> {
    if bytes.is_empty() {
        return Err(Error::new(Kind::Media, "not a sound: the file is empty"));
    }
    // Damaged bytes must cost one row, also where a decoder does not expect them.
    let decoded = catch_unwind(AssertUnwindSafe(|| Clip::open(bytes)?.read(rate, limits)));
    decoded.unwrap_or_else(|_| Err(Error::new(Kind::Media, "the decoder gave up on these bytes")))
}

/// The sound track of a file.
struct Clip {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// Frames that the header promises.
    promised: Option<u64>,
}

impl Clip {
    fn open(bytes: Bytes) -> Result<Self> {
        let start: String = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).escape_debug().collect();
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
        let (options, metadata) = (FormatOptions::default(), MetadataOptions::default());
        let format = symphonia::default::get_probe().probe(&Hint::new(), stream, options, metadata).map_err(|_| {
            Error::new(Kind::Media, format!("not a sound: it starts with \"{start}\""))
                .with_hint("WAV, AIFF, FLAC, MP3, Ogg/Vorbis, M4A/AAC, ALAC and Matroska are read")
        })?;
        let track = format.default_track(TrackType::Audio).ok_or_else(|| Error::new(Kind::Media, "the file has no sound track"))?;
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
        let parameters = parameters.ok_or_else(|| Error::new(Kind::Media, "the codec of the sound track is not known"))?;
        let decoder =
            symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(|error| {
                Error::new(Kind::Media, format!("the codec of the sound track is not read: {error}"))
                    .with_hint("convert it to FLAC: `ffmpeg -i in.opus out.flac`")
            })?;
        let (track, promised) = (track.id, track.num_frames);
        Ok(Self { format, decoder, track, promised })
    }

    fn read(mut self, rate: u32, limits: &Limits) -> Result<Vec<f32>> {
        let mut mixed: Option<Mixed> = None;
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // How the end of most containers shows; whether it came too early is looked at below.
                Err(SymphoniaError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(damaged(mixed.as_ref(), &error)),
            };
            if packet.track_id != self.track {
                continue;
            }
            let buffer = match self.decoder.decode(&packet) {
                Ok(buffer) => buffer,
                Err(error) => return Err(damaged(mixed.as_ref(), &error)),
            };
            if buffer.frames() == 0 {
                continue;
            }
            let source = buffer.spec().rate();
            let mixed = match &mut mixed {
                Some(mixed) => mixed,
                none => none.insert(Mixed::new(source, rate)?),
            };
            mixed.add(&buffer, source, limits)?;
        }
        let mixed = mixed.ok_or_else(|| Error::new(Kind::Media, "no samples: the sound has no length"))?;
        if let Some(promised) = self.promised.filter(|promised| *promised != u64::from(u32::MAX)) {
            mixed.check_length(promised)?;
        }
        mixed.resampler.finish()
    }
}

fn damaged(mixed: Option<&Mixed>, error: &SymphoniaError) -> Error {
    let seconds = mixed.map_or(0.0, |mixed| mixed.frames as f64 / f64::from(mixed.source));
    Error::new(Kind::Media, format!("damaged at second {seconds:.1}: {error}"))
}

/// One channel on its way to the model's rate.
struct Mixed {
    source: u32,
    frames: u64,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    resampler: Resampler,
}

impl Mixed {
    fn new(source: u32, rate: u32) -> Result<Self> {
        if !RATES.contains(&source) {
            return Err(Error::new(Kind::Media, format!("{source} samples a second: rates go from {} to {}", RATES.start(), RATES.end())));
        }
        Ok(Self { source, frames: 0, interleaved: Vec::new(), mono: Vec::new(), resampler: Resampler::new(source, rate)? })
    }

    fn add(&mut self, buffer: &GenericAudioBufferRef<'_>, source: u32, limits: &Limits) -> Result<()> {
        if source != self.source {
            return Err(Error::new(Kind::Media, format!("the rate changes within the sound, from {} to {source}", self.source)));
        }
        self.frames += buffer.frames() as u64;
        let most = limits.max_audio_seconds as u64 * u64::from(source);
        if self.frames > most {
            return Err(Error::new(Kind::Limit, format!("more than {} seconds of sound", limits.max_audio_seconds))
                .with_hint("SET mm.max_audio_seconds"));
        }
        let channels = buffer.spec().channels().count().max(1);
        self.interleaved.resize(buffer.samples_interleaved(), 0.0);
        buffer.copy_to_slice_interleaved(&mut self.interleaved);
        self.mono.clear();
        let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
        self.mono.extend(self.interleaved.chunks_exact(channels).map(mean));
        self.resampler.push(&self.mono)
    }

    fn check_length(&self, promised: u64) -> Result<()> {
        if self.frames + LENGTH_TOLERANCE >= promised {
            return Ok(());
        }
        let second = |frames: u64| frames as f64 / f64::from(self.source);
        Err(Error::new(
            Kind::Media,
            format!("the file ends at second {:.1} of the {:.1} that its header states", second(self.frames), second(promised)),
        ))
    }
}
