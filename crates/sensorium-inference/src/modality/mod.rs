//! From column values to what a graph takes, one modality a file.

mod audio;
mod columns;
mod document;
mod image;
mod json;
mod row_wise;
mod series;
mod text;
mod video;

pub use audio::sound_to_tensor;
pub(crate) use audio::{log_mel_frames, samples, sound_features, wav};
pub use columns::input_accepts;
pub(crate) use columns::{Column, element_type, flat, is_list, prepare};
pub(crate) use document::{Document, is_document, split_page};
pub use image::picture_to_tensor;
pub(crate) use image::{check_pixels, resize_bilinear, rgb_to_tensor};
pub use json::json_of;
pub(crate) use row_wise::{row_wise, row_wise_of};
pub(crate) use series::{Window, window};
pub(crate) use text::{TextCodec, TextEncoder, Tokens, check_length};
pub(crate) use video::{video_frames, video_to_tensor};
