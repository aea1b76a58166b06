//! How lines of text are found in pictures and read.

use serde::{Deserialize, Serialize};

/// Names of the stages.
pub(crate) const DETECTOR: &str = "detector";
pub(crate) const ANGLE: &str = "angle";
pub(crate) const RECOGNISER: &str = "recogniser";

/// Height and width of what the classifier of turned lines sees, in pixels.
pub(crate) const ANGLE_SIZE: [u32; 2] = [48, 192];
/// Height of lines that the recogniser sees, and the width of short ones, in pixels.
pub(crate) const LINE_SIZE: [u32; 2] = [48, 320];

/// What a detector and a recogniser of PP-OCR's kind are steered by: differentiable binarization (Liao et al. 2019,
/// arXiv:1911.08947) and connectionist temporal classification, with the numbers that PP-OCRv4 is used with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ocr {
    /// Characters in the order of the recogniser's classes behind the blank.
    pub characters: Vec<String>,
    /// Pictures whose longer side is above are made smaller, in pixels.
    pub max_side: u32,
    /// The detector sees pictures with a shorter side of at least so many pixels.
    pub min_side: u32,
    /// Above it a pixel is text.
    pub threshold: f32,
    /// Boxes whose pixels have a lower mean are no text.
    pub box_threshold: f32,
    /// How far a box grows: this times its area divided by its perimeter.
    pub unclip_ratio: f32,
    /// Lines that are read with less certainty are left out.
    pub line_threshold: f32,
    /// Above it a line that the classifier takes to be upside down is turned.
    pub angle_threshold: f32,
    /// Height of lines that the recogniser sees, in pixels, and the width of short ones.
    pub line_size: [u32; 2],
    /// Lines of a picture that are read together; shorter ones are padded to the longest.
    pub lines_at_once: usize,
}

impl Ocr {
    /// With the numbers of PP-OCRv4.
    pub(crate) fn of_characters(characters: Vec<String>) -> Self {
        Self {
            characters,
            max_side: 2_000,
            min_side: 736,
            threshold: 0.3,
            box_threshold: 0.5,
            unclip_ratio: 1.6,
            line_threshold: 0.5,
            angle_threshold: 0.9,
            line_size: LINE_SIZE,
            lines_at_once: 6,
        }
    }
}
