//! Model packages: from the forms people have to one [`Manifest`].
//!
//! Whatever cannot be known from the files is an error that says what to write; nothing is guessed.

mod audio_spec;
mod describe;
mod feeds;
mod hugging_face;
mod hugging_face_joint;
mod hugging_face_speech;
mod image_spec;
mod import;
mod joint;
mod logit_scale;
mod manifest;
mod onnx_file;
mod port;
mod sensorium_toml;
mod source;
mod speech;
mod tasks;
mod text_spec;

pub use audio_spec::{AudioFeatures, AudioSpec};
pub(crate) use hugging_face_speech::{DECODER, DECODER_WITH_PAST, ENCODER};
pub use image_spec::{Filter, ImageSpec, Layout, Resize, Size};
pub(crate) use import::digest;
pub use import::{Draft, ImportOptions, file_sha256, import};
pub use joint::Matching;
pub(crate) use manifest::hex;
pub use manifest::{
    Activation, ClassNames, Feed, FileRecord, Input, MANIFEST_FORMAT, Manifest, Missing, Modality, OutputRef, Pooling, Prediction, Source,
    Stage, TokenPart,
};
pub use port::{Element, Port};
pub(crate) use source::is_inside;
pub use speech::Speech;
pub use text_spec::TextSpec;
