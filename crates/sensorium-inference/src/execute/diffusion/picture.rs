//! A picture that is done: what the loop made, and what the decoder made of that.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use image::{ImageFormat, RgbImage};

use super::super::encode::Work;
use super::super::loaded::LoadedModel;
use super::super::run::{Prepared, Request, places, prepare_columns};
use super::failed;
use crate::error::{Error, Kind, Result};
use crate::package::{Draft, Prediction, Size};

/// A row's picture before it is a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// What the loop ends with, `[channels, height / factor, width / factor]`, as diffusers' `output_type="latent"` gives it.
    pub latents: Vec<f32>,
    /// Pixels as the decoder gives them, `[3, height, width]`, from -1 to 1 and beyond.
    pub pixels: Vec<f32>,
    /// Its sides in pixels.
    pub size: Size,
}

impl Picture {
    /// Pixels from 0 to 1 that are not rounded yet, `[height, width, 3]`, as diffusers' `output_type="np"` gives them.
    pub fn colours(&self) -> Vec<f32> {
        let plane = self.pixels.len() / 3;
        let colour = |value: f32| (value * 0.5 + 0.5).clamp(0.0, 1.0);
        (0..plane).flat_map(|place| [0, 1, 2].map(|channel| colour(self.pixels[channel * plane + place]))).collect()
    }

    /// As a file.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        let bytes = self.colours().into_iter().map(|colour| (colour * 255.0).round_ties_even() as u8).collect();
        let picture = RgbImage::from_raw(self.size.width, self.size.height, bytes);
        let picture = picture.ok_or_else(|| failed(&"pixels of another number"))?;
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, ImageFormat::Png).map_err(|error| failed(&error))?;
        Ok(file.into_inner())
    }
}

/// What a draft draws for each row of `request`, by the code that queries run, for checks that bytes are too coarse for.
///
/// # Errors
/// When the draft is no model that draws, cannot be loaded, or a row fails.
pub fn drawn_pictures(draft: &Draft, request: &Request<'_>) -> Result<Vec<Picture>> {
    let manifest = Arc::new(draft.manifest.clone());
    let Prediction::Picture { diffusion } = &manifest.prediction else {
        return Err(Error::new(Kind::Package, "the model draws nothing"));
    };
    let model = LoadedModel::open(&manifest, &draft.root, request.limits, &Arc::default())?;
    let Prepared { columns, active, failures } = prepare_columns(&manifest, request)?;
    let work = Work { model: &model, columns: &columns, request };
    let drawn = Mutex::new(vec![None; request.rows]);
    let keep = |row: usize, picture: Picture| {
        drawn.lock().unwrap_or_else(PoisonError::into_inner)[row] = Some(picture);
        Ok(())
    };
    let failures = super::draw_all(&work, diffusion, &places(&active), failures, &keep)?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.error);
    }
    let drawn = drawn.into_inner().unwrap_or_else(PoisonError::into_inner);
    drawn.into_iter().map(|picture| picture.ok_or_else(|| failed(&"an input is NULL"))).collect()
}
