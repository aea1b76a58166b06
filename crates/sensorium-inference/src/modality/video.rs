//! Videos to frames: H.264 in MP4, MOV and Matroska, and animated GIF, PNG and WebP.
//!
//! Each video is read twice, first for the times of its frames and then for those that are wanted, so that no more of them
//! are in memory than the model looks at. Frames come as they were coded: a container's wish for rotation is not followed,
//! as the loaders that models are trained with do not follow it either.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageError, RgbImage};
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;
use symphonia::core::codecs::video::well_known::CODEC_ID_H264;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::image::{check_pixels, rgb_to_tensor};
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;
use crate::package::{FrameOrder, Sampling, VideoSpec};

/// The frames of a video that `spec` asks for, prepared, one behind the other in the order of the graph.
///
/// # Errors
/// [`Kind::Media`] for bytes that are no video or of a codec that is not read, [`Kind::Limit`] for too many frames or pixels,
/// and what `go_on` gives, which is asked at every frame.
pub(crate) fn video_to_tensor(bytes: &Bytes, spec: &VideoSpec, limits: &Limits, go_on: &GoOn<'_>) -> Result<Vec<f32>> {
    // Frames are prepared one by one as they come, so that none waits in its full size.
    let prepare = |frame: RgbImage| rgb_to_tensor(frame, &spec.image);
    let frames = video_frames(bytes, spec, limits, go_on, &prepare)?;
    let (count, size, channels) = (frames.len(), spec.frame_values()?, spec.image.channels());
    let tensor = frames.concat();
    if spec.pooling.is_some() || spec.order == FrameOrder::FramesFirst {
        return Ok(tensor);
    }
    let plane = size / channels;
    let planes = (0..channels).flat_map(|channel| (0..count).map(move |frame| (frame * channels + channel) * plane));
    Ok(planes.flat_map(|start| &tensor[start..start + plane]).copied().collect())
}

/// What `make` makes of each frame that `spec` asks for.
///
/// # Errors
/// As [`video_to_tensor`].
pub(crate) fn video_frames<T: Clone>(
    bytes: &Bytes,
    spec: &VideoSpec,
    limits: &Limits,
    go_on: &GoOn<'_>,
    make: &dyn Fn(RgbImage) -> Result<T>,
) -> Result<Vec<T>> {
    let sampled = || {
        let video = Video::of(bytes)?;
        let places = places(&video.shown(limits, go_on)?, spec)?;
        let mut wanted = places.iter().copied().peekable();
        let mut frames: Vec<T> = Vec::with_capacity(places.len());
        video.each(limits, &mut |place, frame| {
            go_on()?;
            if wanted.next_if_eq(&place).is_some() {
                let made = make(frame()?)?;
                while wanted.next_if_eq(&place).is_some() {
                    frames.push(made.clone());
                }
                frames.push(made);
            }
            Ok(wanted.peek().is_some())
        })?;
        if frames.len() == places.len() {
            return Ok(frames);
        }
        Err(Error::new(Kind::Media, format!("the video ends behind {} of {} frames that are wanted", frames.len(), places.len())))
    };
    catch_unwind(AssertUnwindSafe(sampled)).unwrap_or_else(|_| Err(Error::new(Kind::Media, "the decoder gave up on these bytes")))
}

/// Whether the work is still wanted.
pub(crate) type GoOn<'a> = dyn Fn() -> Result<()> + 'a;

/// A file whose frames come one after another.
enum Video {
    Gif(Bytes),
    Apng(Bytes),
    WebP(Bytes),
    /// Packets of H.264 in a container.
    H264(Bytes),
}

/// When a frame is shown, in seconds from the first, and whether it was coded without looking at others.
#[derive(Debug, Clone, Copy)]
struct Shown {
    time: f64,
    is_key: bool,
}

/// The places of the frames that are looked at, in order.
fn places(shown: &[Shown], spec: &VideoSpec) -> Result<Vec<usize>> {
    let Some(last) = shown.len().checked_sub(1) else { return Err(Error::new(Kind::Media, "a video without frames")) };
    match spec.sampling {
        Sampling::Uniform => {
            let step = if spec.frames > 1 { last as f64 / (spec.frames - 1) as f64 } else { 0.0 };
            Ok((0..spec.frames).map(|frame| (frame as f64 * step).round_ties_even() as usize).collect())
        }
        Sampling::EverySeconds(seconds) => {
            let at = |frame: usize| shown.partition_point(|shown| shown.time < frame as f64 * seconds - TIME_TOLERANCE);
            let found: Vec<usize> = (0..spec.frames).map(at).take_while(|place| *place <= last).collect();
            if spec.pooling.is_none() && found.len() < spec.frames {
                let error = format!("{} frames, one each {seconds} s, where the model looks at {}", found.len(), spec.frames);
                return Err(Error::new(Kind::Media, error));
            }
            Ok(found)
        }
        Sampling::KeyFrames => {
            let found: Vec<usize> = (0..shown.len()).filter(|place| shown[*place].is_key).take(spec.frames).collect();
            if found.is_empty() || (spec.pooling.is_none() && found.len() < spec.frames) {
                return Err(Error::new(Kind::Media, format!("{} key frames where the model looks at {}", found.len(), spec.frames))
                    .with_hint("animations have none; `sampling = \"uniform\"` looks at any frames"));
            }
            Ok(found)
        }
    }
}

/// Times of containers are rounded to a thousandth of a second.
const TIME_TOLERANCE: f64 = 0.001;

/// What is done with a frame, by its place; the answer is whether more of them are wanted.
type Visit<'a> = dyn FnMut(usize, &mut dyn FnMut() -> Result<RgbImage>) -> Result<bool> + 'a;

impl Video {
    fn of(bytes: &Bytes) -> Result<Self> {
        let still = |kind: &str| Error::new(Kind::Media, format!("a {kind} of one picture, no video"));
        match bytes.get(..16).unwrap_or(bytes) {
            [b'G', b'I', b'F', ..] => Ok(Self::Gif(bytes.clone())),
            [0x89, b'P', b'N', b'G', ..] => {
                let decoder = PngDecoder::new(Cursor::new(bytes.as_ref())).map_err(|error| broken(&error))?;
                if decoder.is_apng().map_err(|error| broken(&error))? { Ok(Self::Apng(bytes.clone())) } else { Err(still("PNG")) }
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                let decoder = WebPDecoder::new(Cursor::new(bytes.as_ref())).map_err(|error| broken(&error))?;
                if decoder.has_animation() { Ok(Self::WebP(bytes.clone())) } else { Err(still("WebP")) }
            }
            [_, _, _, _, b'f', b't', b'y', b'p', ..] | [0x1a, 0x45, 0xdf, 0xa3, ..] => Ok(Self::H264(bytes.clone())),
            [] => Err(Error::new(Kind::Media, "not a video: the file is empty")),
            start => {
                let start: String = String::from_utf8_lossy(start).escape_debug().collect();
                Err(Error::new(Kind::Media, format!("not a video: it starts with \"{start}\"")).with_hint(READ))
            }
        }
    }

    /// All frames in the order in which they are shown.
    fn shown(&self, limits: &Limits, go_on: &GoOn<'_>) -> Result<Vec<Shown>> {
        let mut all = Vec::new();
        if let Self::H264(bytes) = self {
            let mut packets = Packets::open(bytes)?;
            while let Some((shown, _)) = packets.next()? {
                go_on()?;
                all.push(shown);
                check_frames(all.len(), limits)?;
            }
            all.sort_by(|a, b| a.time.total_cmp(&b.time));
            let first = all.first().map_or(0.0, |shown| shown.time);
            all.iter_mut().for_each(|shown| shown.time -= first);
            return Ok(all);
        }
        let mut time = 0.0;
        for frame in self.animation(limits)? {
            go_on()?;
            let frame = frame.map_err(|error| broken(&error))?;
            all.push(Shown { time, is_key: false });
            check_frames(all.len(), limits)?;
            let (numerator, denominator) = frame.delay().numer_denom_ms();
            time += f64::from(numerator) / f64::from(denominator.max(1)) / 1_000.0;
        }
        Ok(all)
    }

    /// Decodes frame by frame for as long as `visit` wants more.
    fn each(&self, limits: &Limits, visit: &mut Visit<'_>) -> Result<()> {
        if let Self::H264(bytes) = self {
            return each_of_h264(Packets::open(bytes)?, limits, visit);
        }
        for (place, frame) in self.animation(limits)?.enumerate() {
            let frame = DynamicImage::ImageRgba8(frame.map_err(|error| broken(&error))?.into_buffer()).into_rgb8();
            if !visit(place, &mut || Ok(frame.clone()))? {
                break;
            }
        }
        Ok(())
    }

    fn animation(&self, limits: &Limits) -> Result<Frames<'_>> {
        let (Self::Gif(bytes) | Self::Apng(bytes) | Self::WebP(bytes) | Self::H264(bytes)) = self;
        let reader = Cursor::new(bytes.as_ref());
        let check = |decoder: &dyn ImageDecoder| check_pixels(decoder.dimensions().0, decoder.dimensions().1, limits);
        Ok(match self {
            Self::Gif(_) => {
                let decoder = GifDecoder::new(reader).map_err(|error| broken(&error))?;
                check(&decoder)?;
                decoder.into_frames()
            }
            Self::WebP(_) => {
                let decoder = WebPDecoder::new(reader).map_err(|error| broken(&error))?;
                check(&decoder)?;
                decoder.into_frames()
            }
            _ => {
                let decoder = PngDecoder::new(reader).map_err(|error| broken(&error))?;
                check(&decoder)?;
                decoder.apng().map_err(|error| broken(&error))?.into_frames()
            }
        })
    }
}

/// What can be read, for hints.
const READ: &str =
    "H.264 in MP4, MOV and Matroska, and animated GIF, PNG and WebP are read; `ffmpeg -i in.avi -c:v libx264 out.mp4` converts others";

fn broken(error: &ImageError) -> Error {
    Error::new(Kind::Media, format!("not a readable animation: {error}"))
}

fn damaged(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Media, format!("the video is damaged: {error}"))
}

fn check_frames(frames: usize, limits: &Limits) -> Result<()> {
    if frames <= limits.max_video_frames {
        return Ok(());
    }
    Err(Error::new(Kind::Limit, format!("more than {} frames", limits.max_video_frames)).with_hint("SET mm.max_video_frames"))
}

/// The packets of a container's video track.
struct Packets {
    format: Box<dyn FormatReader>,
    track: u32,
    /// Seconds of a unit of time.
    unit: f64,
    /// Parameter sets with start codes, which come before the first picture.
    header: Vec<u8>,
    /// Bytes of the length before each unit of a packet.
    length_bytes: usize,
    /// Units of time that the container promises, and the end of the last picture that came.
    promised: Option<u64>,
    reached: u64,
    /// Packets that came.
    seen: usize,
}

impl Packets {
    fn open(bytes: &Bytes) -> Result<Self> {
        let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes.clone())), Default::default());
        let (options, metadata) = (FormatOptions::default(), MetadataOptions::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, options, metadata)
            .map_err(|error| damaged(&error).with_hint(READ))?;
        let track = format.default_track(TrackType::Video);
        let track = track.ok_or_else(|| Error::new(Kind::Media, "no video track of a codec that is read").with_hint(READ))?;
        let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.video());
        let parameters = parameters.filter(|parameters| parameters.codec == CODEC_ID_H264);
        let parameters = parameters.ok_or_else(|| Error::new(Kind::Media, "the codec of the video is not H.264").with_hint(READ))?;
        let configuration = parameters.extra_data.first().ok_or_else(|| damaged(&"the codec has no configuration"))?;
        let (header, length_bytes) =
            configuration_of(&configuration.data).ok_or_else(|| damaged(&"the codec's configuration ends early"))?;
        let base = track.time_base.ok_or_else(|| damaged(&"nothing says what its times mean"))?;
        let unit = f64::from(base.numer.get()) / f64::from(base.denom.get());
        let (track, promised) = (track.id, track.duration.map(|duration| duration.get()));
        Ok(Self { format, track, unit, header, length_bytes, promised, reached: 0, seen: 0 })
    }

    /// When the picture of the next packet is shown, and its data with start codes.
    fn next(&mut self) -> Result<Option<(Shown, Vec<u8>)>> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return self.end(),
                Err(error) => return Err(damaged(&error)),
            };
            if packet.track_id == self.track {
                self.seen += 1;
                let end = packet.pts.get().saturating_add(i64::try_from(packet.dur.get()).unwrap_or(i64::MAX));
                self.reached = self.reached.max(u64::try_from(end).unwrap_or(0));
                let units = units_of(&packet.data, self.length_bytes).ok_or_else(|| damaged(&"a packet ends early"))?;
                let is_key = units.iter().any(|unit| unit.first().is_some_and(|header| header & UNIT_TYPE == KEY_SLICE));
                let shown = Shown { time: packet.pts.get() as f64 * self.unit, is_key };
                return Ok(Some((shown, with_start_codes(&units))));
            }
        }
    }

    /// Half a video must not pass for a video.
    fn end<T>(&self) -> Result<Option<T>> {
        let seconds = |units: u64| units as f64 * self.unit;
        match self.promised.map(seconds) {
            Some(promised) if seconds(self.reached) + END_TOLERANCE < promised => {
                Err(damaged(&format!("it ends at second {:.1} of {promised:.1}", seconds(self.reached))))
            }
            _ => Ok(None),
        }
    }
}

/// Seconds by which the length that a container states may differ from that of its pictures: sound may go on behind them.
const END_TOLERANCE: f64 = 0.5;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// The type of a unit in its first byte, and that of a slice of a picture that looks at no other (ITU-T H.264, table 7-1).
const UNIT_TYPE: u8 = 0x1f;
const KEY_SLICE: u8 = 5;

/// Sequence and picture parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1), with start codes,
/// and the bytes of the lengths in packets.
fn configuration_of(record: &[u8]) -> Option<(Vec<u8>, usize)> {
    let length_bytes = usize::from(record.get(4)? & 3) + 1;
    let (mut sets, mut at) = (Vec::new(), 5);
    for mask in [0x1f, 0xff] {
        let count = record.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([*record.get(at)?, *record.get(at + 1)?]));
            sets.extend(START_CODE);
            sets.extend(record.get(at + 2..at + 2 + length)?);
            at += 2 + length;
        }
    }
    Some((sets, length_bytes))
}

/// The units of a packet, each of which has its length before it.
fn units_of(packet: &[u8], length_bytes: usize) -> Option<Vec<&[u8]>> {
    let (mut rest, mut units) = (packet, Vec::new());
    while !rest.is_empty() {
        let length = rest.get(..length_bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        units.push(rest.get(length_bytes..length_bytes.checked_add(length)?)?);
        rest = &rest[length_bytes + length..];
    }
    Some(units)
}

/// Units with start codes between them (ITU-T H.264, annex B).
fn with_start_codes(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| START_CODE.iter().chain(*unit)).copied().collect()
}

fn each_of_h264(mut packets: Packets, limits: &Limits, visit: &mut Visit<'_>) -> Result<()> {
    let configuration = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), configuration).map_err(|error| damaged(&error))?;
    let mut data = std::mem::take(&mut packets.header);
    let mut place = 0;
    let mut show = |picture: &DecodedYUV<'_>| {
        place += 1;
        visit(place - 1, &mut || rgb(picture, limits))
    };
    while let Some((_, packet)) = packets.next()? {
        data.extend(packet);
        // Pictures that are shown before others come later: one goes in and an earlier one may come out.
        if let Some(picture) = decoder.decode(&data).map_err(|error| damaged(&error))?
            && !show(&picture)?
        {
            return Ok(());
        }
        data.clear();
    }
    for picture in decoder.flush_remaining().map_err(|error| damaged(&error))? {
        if !show(&picture)? {
            return Ok(());
        }
    }
    // A picture that is left out would put those behind it at wrong times.
    if place == packets.seen { Ok(()) } else { Err(damaged(&format!("{place} of {} frames can be decoded", packets.seen))) }
}

/// Colours by ITU-R 601 with limited range, which is what a stream means that does not say otherwise.
fn rgb(picture: &DecodedYUV<'_>, limits: &Limits) -> Result<RgbImage> {
    let (width, height) = picture.dimensions();
    let edge = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    check_pixels(edge(width), edge(height), limits)?;
    let mut pixels = vec![0; width * height * 3];
    picture.write_rgb8(&mut pixels);
    RgbImage::from_raw(edge(width), edge(height), pixels).ok_or_else(|| damaged(&"a frame of no size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean colours of 4 by 3 cells, row by row.
    fn cells(frame: &RgbImage) -> Vec<f64> {
        let (width, height) = frame.dimensions();
        let mut means = Vec::new();
        for (row, column) in (0..3).flat_map(|row| (0..4).map(move |column| (row, column))) {
            let (rows, columns) = (height * row / 3..height * (row + 1) / 3, width * column / 4..width * (column + 1) / 4);
            let count = f64::from(rows.len() as u32 * columns.len() as u32);
            let pixels = rows.flat_map(|y| columns.clone().map(move |x| frame.get_pixel(x, y).0));
            let sums =
                pixels.fold([0.0; 3], |sums: [f64; 3], pixel| std::array::from_fn(|channel| sums[channel] + f64::from(pixel[channel])));
            means.extend(sums.map(|sum| sum / count));
        }
        means
    }

    /// Frames as ffmpeg and Pillow decode them (`tests/reference/video_models.py`), in the order in which they are shown.
    #[test]
    fn frames_are_those_of_other_decoders() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        let answers: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("videos.json")).expect("a fixture")).expect("JSON");
        for (name, tolerance) in
            [("baseline.mp4", 1.5), ("high.mp4", 1.5), ("main.mkv", 1.5), ("moving.gif", 0.01), ("moving.apng", 0.01), ("moving.webp", 1.0)]
        {
            let expected = &answers["videos"][name];
            let count = expected["frames"].as_u64().expect("a count") as usize;
            let bytes = Bytes::from(std::fs::read(folder.join("videos").join(name)).expect("a fixture"));
            let shown = Video::of(&bytes).and_then(|video| video.shown(&Limits::default(), &|| Ok(()))).expect("times");
            let times = expected["times"].as_array().expect("times");
            assert!(
                shown.len() == count && shown.iter().zip(times).all(|(own, time)| (own.time - time.as_f64().unwrap_or(-1.0)).abs() < 0.002),
                "{name}: {shown:?}"
            );
            let frames = video_frames(&bytes, &all_of(count), &Limits::default(), &|| Ok(()), &Ok).expect("frames");
            for described in expected["described"].as_array().expect("frames") {
                let place = described["frame"].as_u64().expect("a place") as usize;
                let colors = described["colors"].as_array().expect("cells").iter().flat_map(|cell| cell.as_array().into_iter().flatten());
                let apart = cells(&frames[place])
                    .iter()
                    .zip(colors)
                    .map(|(own, color)| (own - color.as_f64().unwrap_or(-1.0)).abs())
                    .fold(0.0, f64::max);
                assert!(apart < tolerance, "{name}, frame {place}: {apart} levels apart");
            }
        }
    }

    fn all_of(frames: usize) -> VideoSpec {
        let image = crate::package::ImageSpec {
            resize: None,
            filter: crate::package::Filter::Nearest,
            crop: None,
            scale: 1.0,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            layout: crate::package::Layout::Nchw,
        };
        VideoSpec { image, frames, sampling: Sampling::Uniform, order: FrameOrder::FramesFirst, pooling: None }
    }

    #[test]
    fn lengths_become_start_codes() {
        let units = units_of(&[0, 2, 7, 8, 0, 1, 9], 2).expect("units");
        assert_eq!(with_start_codes(&units), [0, 0, 0, 1, 7, 8, 0, 0, 0, 1, 9]);
        assert_eq!(units_of(&[0, 3, 7, 8], 2), None);
        let record = [1, 66, 0, 10, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 1, 0x68];
        assert_eq!(configuration_of(&record), Some((vec![0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68], 4)));
        assert_eq!(configuration_of(&record[..9]), None);
    }
}
