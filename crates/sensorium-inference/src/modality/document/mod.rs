//! Pages of documents: PDF, and TIFF with several pages. Every other picture is a document of one page.

mod paint;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use image::RgbImage;
use tiff::decoder::Decoder;

use self::paint::check_paint;
use super::image::{check_pixels, decode_on_white};
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

/// Points of a PDF that make an inch (ISO 32000-1, 8.3.2.3).
const POINTS_AN_INCH: f32 = 72.0;
/// Longest side of a page that the renderer can draw, in pixels.
const MAX_EDGE: f32 = 65_535.0;
/// What stands behind a URI for one page of it (RFC 8118, section 3).
const PAGE: &str = "#page=";

/// A document whose pages can be asked for one by one.
pub(crate) enum Document {
    Pdf(Box<Pdf>),
    /// The places of its pages.
    Tiff(Bytes, Vec<u64>),
    Picture(Bytes),
}

/// A URI without the page that it names, and that page, counted from 1.
pub(crate) fn split_page(uri: &str) -> (&str, Option<usize>) {
    match uri.rsplit_once(PAGE).map(|(file, page)| (file, page.parse())) {
        Some((file, Ok(page))) => (file, Some(page)),
        _ => (uri, None),
    }
}

fn broken(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Media, format!("not a readable document: {what}"))
}

impl Document {
    /// Reads what says where the pages are.
    ///
    /// # Errors
    /// [`Kind::Media`] for a damaged or encrypted document, [`Kind::Limit`] for more than `mm.max_document_pages`.
    pub(crate) fn open(bytes: &Bytes, limits: &Limits) -> Result<Self> {
        let document = match bytes.get(..4) {
            Some(b"%PDF") => Self::Pdf(Box::new(open_pdf(bytes)?)),
            Some(b"II*\0" | b"MM\0*") => Self::Tiff(bytes.clone(), tiff_pages(bytes, limits)?),
            _ => Self::Picture(bytes.clone()),
        };
        match document.pages() {
            0 => Err(broken(&"it has no pages")),
            pages if pages > limits.max_document_pages => {
                let error = Error::new(Kind::Limit, format!("{pages} pages are over the limit of {}", limits.max_document_pages));
                Err(error.with_hint("SET mm.max_document_pages"))
            }
            _ => Ok(document),
        }
    }

    /// How many pages there are.
    pub(crate) fn pages(&self) -> usize {
        match self {
            Self::Pdf(pdf) => pdf.pages().len(),
            Self::Tiff(_, places) => places.len(),
            Self::Picture(_) => 1,
        }
    }

    /// The pixels of a page, counted from 1. `check` is asked now and then whether to go on.
    ///
    /// # Errors
    /// [`Kind::Media`] for a page that is not there or cannot be drawn, [`Kind::Limit`] for one of too many pixels or too much to paint.
    pub(crate) fn page(&self, number: usize, limits: &Limits, check: &dyn Fn() -> Result<()>) -> Result<RgbImage> {
        let missing = || Error::new(Kind::Media, format!("no page {number} in a document of {}", self.pages()));
        let index = number.checked_sub(1).filter(|index| *index < self.pages()).ok_or_else(missing)?;
        match self {
            Self::Pdf(pdf) => draw(pdf, index, limits, check),
            Self::Tiff(bytes, places) => decode_on_white(&starting_at(bytes, places[index])?, limits),
            Self::Picture(bytes) => decode_on_white(bytes, limits),
        }
    }

    /// The pixels of the page that a URI names; where it names none, of the first of a TIFF, as Pillow opens it, or of the only
    /// one of a PDF.
    ///
    /// # Errors
    /// As [`Self::page`], and [`Kind::Media`] where a page must be named.
    pub(crate) fn picture(&self, page: Option<usize>, limits: &Limits, check: &dyn Fn() -> Result<()>) -> Result<RgbImage> {
        match (page, self, self.pages()) {
            (None, Self::Pdf(_), pages) if pages > 1 => {
                Err(Error::new(Kind::Media, format!("a document of {pages} pages")).with_hint("name one: 'file.pdf#page=1'"))
            }
            (page, ..) => self.page(page.unwrap_or(1), limits, check),
        }
    }
}

/// Whether the bytes are those of a document that is no plain picture, or may have several pages.
pub(crate) fn is_document(bytes: &[u8], page: Option<usize>) -> bool {
    page.is_some() || bytes.starts_with(b"%PDF")
}

/// What stands at the end of a PDF: one of these within so many bytes (ISO 32000-1, 7.5.5 and Annex H, note 18).
const ENDS: [&[u8]; 3] = [b"%%EOF", b"startxref", b"trailer"];
const END_BYTES: usize = 1_024;

fn open_pdf(bytes: &Bytes) -> Result<Pdf> {
    // The reader would make do with the pages that are left: half a document must not pass for a document.
    let end = &bytes[bytes.len().saturating_sub(END_BYTES)..];
    if !ENDS.iter().any(|mark| end.windows(mark.len()).any(|part| part == *mark)) {
        return Err(broken(&"damaged PDF, it ends early"));
    }
    let opened = catch_unwind(AssertUnwindSafe(|| Pdf::new(Arc::new(bytes.clone()))));
    opened.map_err(|_| broken(&"the reader of PDF gave up on these bytes"))?.map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            Error::new(Kind::Media, "a PDF that asks for a password").with_hint("take the password off before it is read")
        }
        LoadPdfError::Decryption(error) => broken(&format!("encrypted PDF: {error:?}")),
        LoadPdfError::Invalid => broken(&"damaged PDF"),
    })
}

/// Draws a page on white at `mm.document_dpi`.
fn draw(pdf: &Pdf, index: usize, limits: &Limits, check: &dyn Fn() -> Result<()>) -> Result<RgbImage> {
    let page = &pdf.pages()[index];
    let scale = limits.document_dpi as f32 / POINTS_AN_INCH;
    let (width, height) = page.render_dimensions();
    let (width, height) = ((width * scale).floor(), (height * scale).floor());
    if !(width >= 1.0 && height >= 1.0) {
        return Err(broken(&format!("page {} is empty", index + 1)));
    }
    if width > MAX_EDGE || height > MAX_EDGE {
        let error = Error::new(Kind::Limit, format!("page {} has {width}x{height} pixels", index + 1));
        return Err(error.with_hint("SET mm.document_dpi to less"));
    }
    check_pixels(width as u32, height as u32, limits)?;
    check_paint(page, f64::from(scale), (width, height), limits, check)?;
    let settings = PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE };
    let drawn = catch_unwind(AssertUnwindSafe(|| {
        hayro::render(page, &RenderCache::new(), &InterpreterSettings::default(), &RenderSettings::default(), &settings)
    }));
    let drawn = drawn.map_err(|_| broken(&format!("page {} cannot be drawn", index + 1)))?;
    // White lies behind everything, so that no pixel is transparent.
    let pixels = drawn.data_as_u8_slice().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    RgbImage::from_raw(u32::from(drawn.width()), u32::from(drawn.height()), pixels).ok_or_else(|| broken(&"a page of no size"))
}

/// Places of the directories of a TIFF's pages.
fn tiff_pages(bytes: &Bytes, limits: &Limits) -> Result<Vec<u64>> {
    let failed = |error: tiff::TiffError| broken(&format!("TIFF: {error}"));
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let mut places = Vec::new();
    loop {
        places.extend(decoder.ifd_pointer().map(|place| place.0));
        // One more than allowed is enough to know.
        if !decoder.more_images() || places.len() > limits.max_document_pages {
            return Ok(places);
        }
        decoder.next_image().map_err(failed)?;
    }
}

/// The same TIFF with another page as its first: a header holds nothing but the place of that.
fn starting_at(bytes: &Bytes, place: u64) -> Result<Bytes> {
    let mut own = bytes.to_vec();
    let place = u32::try_from(place).map_err(|_| broken(&"TIFF: a page behind the end"))?;
    let encoded = if own.starts_with(b"II") { place.to_le_bytes() } else { place.to_be_bytes() };
    own.get_mut(4..8).ok_or_else(|| broken(&"TIFF: too short"))?.copy_from_slice(&encoded);
    Ok(own.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_behind_the_mark_is_a_page() {
        assert_eq!(split_page("a/b.pdf#page=12"), ("a/b.pdf", Some(12)));
        assert_eq!(split_page("a/b.pdf"), ("a/b.pdf", None));
        assert_eq!(split_page("a#page=x.pdf"), ("a#page=x.pdf", None));
        assert_eq!(split_page("b.pdf#page=-1"), ("b.pdf#page=-1", None));
    }
}
