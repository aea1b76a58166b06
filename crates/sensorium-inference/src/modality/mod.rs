//! From column values to what a graph takes, one modality a file.

mod audio;
mod columns;
mod image;
mod row_wise;
mod text;

pub use audio::sound_to_tensor;
pub(crate) use audio::{log_mel_frames, samples, sound_features};
pub use columns::input_accepts;
pub(crate) use columns::{Column, prepare};
pub use image::picture_to_tensor;
pub(crate) use row_wise::{row_wise, row_wise_of};
pub(crate) use text::{TextDecoder, TextEncoder, Tokens};
