//! Pictures, videos and sounds as parts of messages: as they are where every endpoint reads them so, else written anew as PNG or WAV, and
//! frames as JPEG.

use std::io::Cursor;

use arrow::array::AsArray;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use image::{ImageFormat, ImageReader, RgbImage};
use libjpeg_turbo_rs::{PixelFormat, Subsampling};
use serde_json::{Value, json};

use super::super::encode::{self, Outcome, Work, page};
use super::super::fetch::Fetched;
use super::super::run::{Failure, Step};
use super::places::Parts;
use crate::error::{Error, Kind, Result};
use crate::modality::{Document, check_pixels, samples, video_frames, wav};
use crate::package::{Endpoint, Modality};

/// The media of a row.
pub(super) fn parts(work: &Work<'_>, endpoint: &Endpoint, row: usize, fetched: &Fetched) -> Result<Parts, Box<Failure>> {
    let mut parts = Parts::default();
    for input in work.model.manifest.inputs.iter().filter(|input| input.modality.is_media()) {
        let Some(column) = work.columns.get(&input.name) else { continue };
        let places: Vec<usize> = column.places(row).filter(|place| column.is_at(*place)).collect();
        let limit = work.request.limits.max_media_per_row;
        let mut shown = places.len();
        if let Modality::Video(spec) = &input.modality {
            shown = parts.images.len().saturating_add(shown.saturating_mul(spec.frames));
            parts.videos = (!places.is_empty() || column.is_list()).then(Vec::new);
        }
        if shown > limit {
            let what =
                if parts.videos.is_some() { "pictures, frames of videos among them,".into() } else { format!("media of '{}'", input.name) };
            let message = format!("{shown} {what} are over the limit of {limit}");
            let error = Error::new(Kind::Limit, message).with_hint("SET mm.max_media_per_row");
            return Err(Box::new(Failure { row, uri: None, step: Step::Fetch, error }));
        }
        for place in places {
            let address = column.values.as_string_opt::<i32>().map(|uris| uris.value(place));
            let by_url = address.filter(|uri| endpoint.gives_address(input, uri));
            let mut one = || -> Outcome<()> {
                if let Some(url) = by_url {
                    work.request.access.locate(&input.name, url).map_err(|error| (Step::Fetch, error))?;
                    parts.images.push(picture(url));
                    return Ok(());
                }
                let Some(bytes) = encode::medium(work, input, column, place, fetched)? else { return Ok(()) };
                let failed = |error| (Step::Decode, error);
                if let Modality::Video(spec) = &input.modality {
                    let go_on = || work.request.cancel.check();
                    parts
                        .videos
                        .get_or_insert_default()
                        .push(video_frames(&bytes, spec, work.request.limits, &go_on, &|frame| jpeg(&frame)).map_err(failed)?);
                } else if let Modality::Audio(spec) = &input.modality {
                    let (format, bytes) = match sound_format(&bytes) {
                        Some(format) => (format, bytes),
                        None => ("wav", wav(&samples(bytes, spec, work.request.limits).map_err(failed)?, spec.sampling_rate).into()),
                    };
                    parts
                        .sounds
                        .push(json!({ "type": "input_audio", "input_audio": { "data": STANDARD.encode(&bytes), "format": format } }));
                } else {
                    parts.images.extend(pictures(work, &bytes, page(column, place)).map_err(failed)?);
                }
                Ok(())
            };
            one().map_err(|(step, error)| Failure { row, uri: encode::uri_at(column, place), step, error })?;
        }
    }
    Ok(parts)
}

fn picture(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

fn inline(kind: &str, bytes: &[u8]) -> Value {
    picture(&format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)))
}

/// A picture, or one for each page of a document.
fn pictures(work: &Work<'_>, bytes: &Bytes, page: Option<usize>) -> Result<Vec<Value>> {
    let limits = work.request.limits;
    let known = [(ImageFormat::Jpeg, "jpeg"), (ImageFormat::Png, "png")];
    let format = image::guess_format(bytes).ok();
    if let (Some((format, name)), None) = (known.iter().find(|(own, _)| Some(*own) == format), page) {
        let broken = |error: image::ImageError| Error::new(Kind::Media, format!("not a picture that can be read: {error}"));
        let (width, height) = ImageReader::with_format(Cursor::new(bytes), *format).into_dimensions().map_err(broken)?;
        check_pixels(width, height, limits)?;
        return Ok(vec![inline(name, bytes)]);
    }
    let document = Document::open(bytes, limits)?;
    let check = || work.request.cancel.check();
    let pages = match page {
        Some(page) => page..page + 1,
        None => 1..document.pages() + 1,
    };
    if pages.len() > limits.max_media_per_row {
        let message = format!("{} pages are over the limit of {} pictures", pages.len(), limits.max_media_per_row);
        return Err(Error::new(Kind::Limit, message).with_hint("SET mm.max_media_per_row, or name a page: 'file.pdf#page=1'"));
    }
    pages.map(|page| png(&document.page(page, limits, &check)?)).collect()
}

fn png(picture: &RgbImage) -> Result<Value> {
    let mut bytes = Cursor::new(Vec::new());
    let failed = |error: image::ImageError| Error::new(Kind::Media, format!("the picture cannot be written as PNG: {error}"));
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    Ok(inline("png", bytes.get_ref()))
}

/// What cameras write: a frame has been compressed before.
const QUALITY: u8 = 90;

fn jpeg(frame: &RgbImage) -> Result<Value> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let bytes = libjpeg_turbo_rs::compress(frame.as_raw(), width, height, PixelFormat::Rgb, QUALITY, Subsampling::S420);
    let failed = |error: libjpeg_turbo_rs::JpegError| Error::new(Kind::Media, format!("the frame cannot be written as JPEG: {error}"));
    Ok(inline("jpeg", &bytes.map_err(failed)?))
}

/// Formats that the protocol knows.
fn sound_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some("wav"),
        [b'I', b'D', b'3', ..] | [0xFF, 0xFB | 0xF3 | 0xF2, ..] => Some("mp3"),
        _ => None,
    }
}
