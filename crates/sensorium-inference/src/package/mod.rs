//! Model packages: from the forms people have to one [`Manifest`].
//!
//! Whatever cannot be known from the files is an error that says what to write; nothing is guessed.

mod audio_spec;
mod context;
mod decoder;
mod describe;
mod diffusion;
mod endpoint;
mod explanation;
mod feeds;
mod generation;
mod hugging_face;
mod hugging_face_joint;
mod hugging_face_seq2seq;
mod hugging_face_series;
mod hugging_face_speech;
mod hugging_face_text;
mod hugging_face_vision_language;
mod image_spec;
mod import;
mod joint;
mod logit_scale;
mod manifest;
mod normal_form;
mod ocr;
mod onnx_file;
mod port;
mod pp_ocr;
mod scheduler;
mod sensorium_toml;
mod series_spec;
mod source;
mod speech;
mod stage;
mod tasks;
mod text_spec;
mod training;
mod video_spec;
mod voice_activity;

pub(crate) use audio_spec::YAMNET_PATCH;
pub use audio_spec::{AudioFeatures, AudioSpec};
pub(crate) use context::{CONTEXT_STAGE, load as load_context};
pub use context::{Context, MAX_CONTEXT_ROWS};
pub(crate) use decoder::{AUDIO_ENCODER, DECODER, DECODER_WITH_PAST, EMBED_TOKENS, INPUTS_EMBEDS, LOGITS, TEXT_ENCODER, VISION_ENCODER};
pub use diffusion::{Diffusion, PictureRules};
pub(crate) use diffusion::{INIT_IMAGE, PROMPT_ENCODER, UNET, VAE_DECODER, VAE_ENCODER};
pub use endpoint::{Endpoint, EndpointTask};
pub(crate) use explanation::EXPLAIN_STAGE;
pub use explanation::{ColumnsOf, Explanation, TreeColumns};
pub use generation::{Chat, Drawing, EarlyStopping, Generation, MediaMarker, Reader, Rules};
pub(crate) use hugging_face_speech::ENCODER;
pub use image_spec::{Filter, ImageSpec, Layout, Resize, Size};
pub(crate) use import::digest;
pub use import::{Draft, ImportOptions, file_sha256, import};
pub use joint::Matching;
pub use manifest::hex;
pub use manifest::{
    Activation, ClassNames, Feed, FileRecord, Input, MANIFEST_FORMAT, Manifest, Missing, Modality, OutputRef, Pooling, Prediction, Source,
    Stage, TokenPart,
};
pub use normal_form::write_package;
pub use ocr::Ocr;
pub(crate) use ocr::{ANGLE, ANGLE_SIZE, DETECTOR, RECOGNISER};
pub use port::{Element, Port};
pub use scheduler::{Betas, PredictionType, Scheduler, SchedulerKind, Spacing};
pub use series_spec::{Channels, Longer, SeriesLayout, SeriesScale, SeriesSpec, Shorter};
pub(crate) use source::is_inside;
pub use speech::Speech;
pub use text_spec::TextSpec;
pub use training::{FeatureProfile, Profile, QUANTILES, TRAINING_FILE, Training, Trial};
pub(crate) use video_spec::VIDEO;
pub use video_spec::{FrameOrder, Sampling, VideoSpec};
pub use voice_activity::VoiceActivity;
pub(crate) use voice_activity::{NEXT_STATE, PROBABILITY, STATE};
