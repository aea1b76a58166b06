//! How a package wants pictures to be prepared.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// Decoded picture to tensor: resize, crop, scale, normalise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// First step, on 8-bit pixels.
    pub resize: Option<Resize>,
    /// Interpolation of the resize, as Pillow defines it.
    pub filter: Filter,
    /// Middle part that is kept; a smaller picture is padded with black.
    #[serde(default)]
    pub crop: Option<Size>,
    /// Factor on each 8-bit value, 1/255 for most.
    pub scale: f32,
    /// Subtracted from each scaled channel.
    pub mean: Vec<f32>,
    /// Divisor of each channel afterwards.
    pub std: Vec<f32>,
    /// Order of the tensor's dimensions.
    #[serde(default)]
    pub layout: Layout,
}

/// A height and a width in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Rows of pixels.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
}

/// What a resize aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Resize {
    /// The shorter side becomes this long, the ratio is kept.
    ShortestEdge {
        /// Length in pixels.
        shortest_edge: u32,
    },
    /// Both sides are set, the ratio is not kept.
    Exact(Size),
}

/// Interpolations, with Pillow's definitions (all antialiased but `Nearest`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Nearest neighbour.
    Nearest,
    /// Lanczos with three lobes.
    Lanczos,
    /// Triangle.
    Bilinear,
    /// Cubic with a = -0.5.
    Bicubic,
    /// Box.
    Box,
    /// Hamming-windowed sinc.
    Hamming,
}

/// Orders of a picture tensor's dimensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Rows, channels, height, width, as PyTorch exports.
    #[default]
    Nchw,
    /// Rows, height, width, channels, as TensorFlow exports.
    Nhwc,
}

/// Longest side that a prepared picture may have, in pixels.
const MAX_EDGE: u32 = 16_384;

impl ImageSpec {
    /// Size of the prepared picture.
    ///
    /// # Errors
    /// When neither a crop nor an exact resize fixes it.
    pub fn size(&self) -> Result<Size> {
        match (self.crop, self.resize) {
            (Some(size), _) | (None, Some(Resize::Exact(size))) => Ok(size),
            _ => Err(Error::new(Kind::Package, "unknown picture size: a shortest-edge resize without a crop leaves it open")
                .with_hint("add `crop = { height = 224, width = 224 }` or an exact resize")),
        }
    }

    /// Number of channels, 1 or 3.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Refuses values that cannot be meant.
    pub(crate) fn check(self) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(Kind::Package, format!("picture preprocessing: {what}")));
        let size = self.size()?;
        if !matches!(self.channels(), 1 | 3) || self.mean.len() != self.std.len() {
            return wrong("mean and std need 1 or 3 values each");
        }
        if self.std.iter().any(|value| !(value.is_finite() && *value > 0.0)) || !self.scale.is_finite() {
            return wrong("std must be positive and scale finite");
        }
        let edges = match self.resize {
            Some(Resize::ShortestEdge { shortest_edge }) => [shortest_edge; 2],
            Some(Resize::Exact(size)) => [size.height, size.width],
            None => [1; 2],
        };
        if [size.height, size.width].into_iter().chain(edges).any(|edge| !(1..=MAX_EDGE).contains(&edge)) {
            return wrong(&format!("sizes go from 1 to {MAX_EDGE} pixels"));
        }
        Ok(self)
    }

    /// Reads Hugging Face's `preprocessor_config.json`.
    ///
    /// Follows transformers' `image_processing_*.py`. Processors whose steps differ from the shared
    /// resize-crop-rescale-normalise are listed with their difference; unknown ones are refused.
    pub(crate) fn from_preprocessor(config: &Value) -> Result<Self> {
        let kind = ["image_processor_type", "feature_extractor_type"].iter().find_map(|key| config[*key].as_str()).unwrap_or("");
        let family = kind.trim_end_matches("Fast").trim_end_matches("ImageProcessor").trim_end_matches("FeatureExtractor");
        let known = [
            "ViT",
            "DeiT",
            "CLIP",
            "Bit",
            "ConvNext",
            "EfficientNet",
            "MobileNetV1",
            "MobileNetV2",
            "Siglip",
            "Beit",
            "BlipImage",
            "Blip",
            "VideoMAE",
        ];
        if family == "Idefics" {
            return idefics(config)?.check();
        }
        if !known.contains(&family) {
            return Err(unknown(&format!("image processor '{kind}'")));
        }
        let (scale, mean, std) = arithmetic(config, family)?;
        let (resize, crop) = geometry(config, family)?;
        Self { resize, filter: filter(config)?, crop, scale, mean, std, layout: Layout::Nchw }.check()
    }
}

/// As `image_processing_idefics.py`: warped to a square, always bicubically.
fn idefics(config: &Value) -> Result<ImageSpec> {
    let edge = config["image_size"].as_u64().and_then(|edge| u32::try_from(edge).ok());
    let edge = edge.ok_or_else(|| unknown("preprocessor_config.json does not say 'image_size'"))?;
    let scale = config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0) as f32;
    let (mean, std) = (channels(config, "image_mean")?, channels(config, "image_std")?);
    let resize = Some(Resize::Exact(Size { height: edge, width: edge }));
    Ok(ImageSpec { resize, filter: Filter::Bicubic, crop: None, scale, mean, std, layout: Layout::Nchw })
}

/// A number for each channel.
fn channels(config: &Value, key: &str) -> Result<Vec<f32>> {
    let values = config[key].as_array().ok_or_else(|| unknown(&format!("preprocessor_config.json does not say '{key}'")))?;
    let number = |value: &Value| value.as_f64().map(|value| value as f32);
    values.iter().map(|value| number(value).ok_or_else(|| unknown(&format!("'{key}' is not a list of numbers")))).collect()
}

fn unknown(what: &str) -> Error {
    Error::new(Kind::Package, format!("unknown picture preprocessing: {what}")).with_hint(
        "write it under the input in `sensorium.toml`: image = { resize = { shortest_edge = 256 }, filter = \"bicubic\", \
         crop = { height = 224, width = 224 }, scale = 0.00392157, mean = [..], std = [..] }",
    )
}

/// A switch of the configuration; transformers' processors differ in their defaults, so it must be written out.
fn flag(config: &Value, key: &str) -> Result<bool> {
    config[key].as_bool().ok_or_else(|| unknown(&format!("preprocessor_config.json does not say '{key}'")))
}

fn arithmetic(config: &Value, family: &str) -> Result<(f32, Vec<f32>, Vec<f32>)> {
    let rescale = config["do_rescale"].as_bool().unwrap_or(true);
    let scale = if !rescale { 1.0 } else { config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0) as f32 };
    let (mut mean, mut std) = if flag(config, "do_normalize")? {
        (channels(config, "image_mean")?, channels(config, "image_std")?)
    } else {
        (vec![0.0; 3], vec![1.0; 3])
    };
    if config["rescale_offset"].as_bool().unwrap_or(false) {
        mean.iter_mut().for_each(|value| *value += 1.0);
    }
    // EfficientNet's processor normalises a second time, by std alone, for models with their classifier on top.
    if family == "EfficientNet" && config["include_top"].as_bool().unwrap_or(true) {
        std.iter_mut().for_each(|value| *value *= *value);
    }
    Ok((scale, mean, std))
}

fn geometry(config: &Value, family: &str) -> Result<(Option<Resize>, Option<Size>)> {
    // These crop unless told otherwise, and take one number for the shorter side; the others warp to a square.
    let crops_by_default = ["CLIP", "Bit", "DeiT", "MobileNetV1", "MobileNetV2", "VideoMAE"].contains(&family);
    let one_is_shortest = crops_by_default && family != "DeiT";
    let crops = if crops_by_default { flag(config, "do_center_crop")? } else { config["do_center_crop"].as_bool().unwrap_or(false) };
    let crop = if crops { Some(size(&config["crop_size"]).ok_or_else(|| unknown("'crop_size' is missing"))?) } else { None };
    if !flag(config, "do_resize")? {
        return Ok((None, crop));
    }
    let target = &config["size"];
    let edge = target["shortest_edge"].as_u64().or(target.as_u64().filter(|_| one_is_shortest)).and_then(|edge| u32::try_from(edge).ok());
    if family == "ConvNext" {
        return convnext(config, edge.or_else(|| target.as_u64().and_then(|edge| u32::try_from(edge).ok())));
    }
    let resize = match edge {
        Some(shortest_edge) => Resize::ShortestEdge { shortest_edge },
        None => Resize::Exact(size(target).ok_or_else(|| unknown("'size' is neither shortest_edge nor height and width"))?),
    };
    Ok((Some(resize), crop))
}

/// Below 384 pixels: shorter side to size / crop_pct, then the middle; from 384 on the picture is warped to the square.
fn convnext(config: &Value, edge: Option<u32>) -> Result<(Option<Resize>, Option<Size>)> {
    let edge = edge.ok_or_else(|| unknown("'size' has no shortest_edge"))?;
    let square = Size { height: edge, width: edge };
    if edge >= 384 {
        return Ok((Some(Resize::Exact(square)), None));
    }
    let part = config["crop_pct"].as_f64().ok_or_else(|| unknown("preprocessor_config.json does not say 'crop_pct'"))?;
    Ok((Some(Resize::ShortestEdge { shortest_edge: (f64::from(edge) / part) as u32 }), Some(square)))
}

fn size(value: &Value) -> Option<Size> {
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    match number(value) {
        Some(edge) => Some(Size { height: edge, width: edge }),
        None => Some(Size { height: number(&value["height"])?, width: number(&value["width"])? }),
    }
}

/// Pillow's numbering of resampling filters.
fn filter(config: &Value) -> Result<Filter> {
    match config["resample"].as_u64() {
        Some(0) => Ok(Filter::Nearest),
        Some(1) => Ok(Filter::Lanczos),
        Some(2) => Ok(Filter::Bilinear),
        Some(3) => Ok(Filter::Bicubic),
        Some(4) => Ok(Filter::Box),
        Some(5) => Ok(Filter::Hamming),
        _ => Err(unknown("preprocessor_config.json does not say 'resample'")),
    }
}
