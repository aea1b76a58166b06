//! Bounds of one call; the engine fills them from its settings.

use std::path::PathBuf;

use crate::runtime::{Device, GpuOptions};

/// What a call may take, and in what pieces it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Where models run.
    pub device: Device,
    /// How GPUs are used.
    pub gpu: GpuOptions,
    /// Rows of one batch; 0 lets the modality decide.
    pub batch_rows: usize,
    /// Tokens of one batch, padding included; 0 lets the device decide.
    pub batch_tokens: usize,
    /// Largest encoded picture or sound, in bytes.
    pub max_media_bytes: usize,
    /// Most media of an input of a row, where it may have several.
    pub max_media_per_row: usize,
    /// Largest decoded picture, in pixels.
    pub max_image_pixels: usize,
    /// Dots an inch at which pages of PDF are drawn.
    pub document_dpi: usize,
    /// Most pages of a document.
    pub max_document_pages: usize,
    /// Most that a page of a PDF may paint over, in pixels, all layers together.
    pub max_page_paint_pixels: usize,
    /// Most frames of a video that are decoded for a row.
    pub max_video_frames: usize,
    /// Longest sound, in seconds.
    pub max_audio_seconds: usize,
    /// Longest window of measurements, in steps.
    pub max_series_steps: usize,
    /// Longest text, in bytes.
    pub max_text_bytes: usize,
    /// Time for one fetch with its retries.
    pub fetch_timeout_ms: usize,
    /// Further attempts after a fetch that failed in a way that may pass.
    pub fetch_retries: usize,
    /// Fetches under way at once.
    pub fetch_concurrency: usize,
    /// Bytes of remote files that wait to be decoded.
    pub fetch_bytes: usize,
    /// Hosts that models at endpoints may be asked at.
    pub allowed_hosts: Vec<String>,
    /// Time for one request to an endpoint.
    pub endpoint_timeout_ms: usize,
    /// Bytes of a call's requests to an endpoint that are ready or under way.
    pub endpoint_bytes: usize,
    /// Further attempts after a request to an endpoint that failed in a way that may pass.
    pub endpoint_retries: usize,
    /// Longest answer of an endpoint, in bytes.
    pub max_response_bytes: usize,
    /// Whether equal rows share a result.
    pub distinct: Distinct,
    /// Bytes of results that are kept for equal rows of later calls; 0 keeps none.
    pub cache_bytes: usize,
    /// Folder of results that later processes use too; empty for none.
    pub cache_path: PathBuf,
    /// Bytes of results in that folder.
    pub cache_disk_bytes: usize,
    /// Bytes of decoders' caches at once, all calls of the process together.
    pub kv_cache_bytes: usize,
    /// Bytes of weights that stay loaded, all models together.
    pub model_memory_bytes: usize,
}

/// When rows of a call are told apart, so that equal ones run once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distinct {
    /// Where the model costs more than that: with texts, pictures, or more than a few megabytes of weights.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            gpu: GpuOptions::default(),
            batch_rows: 0,
            batch_tokens: 0,
            max_media_bytes: 64 << 20,
            max_media_per_row: 64,
            max_image_pixels: 89_478_485,
            document_dpi: 144,
            max_document_pages: 1_000,
            max_page_paint_pixels: 4_000_000_000,
            max_video_frames: 10_000,
            max_audio_seconds: 3_600,
            max_series_steps: 1_000_000,
            max_text_bytes: 1_000_000,
            fetch_timeout_ms: 30_000,
            fetch_retries: 3,
            fetch_concurrency: 32,
            fetch_bytes: 256 << 20,
            allowed_hosts: Vec::new(),
            endpoint_timeout_ms: 120_000,
            endpoint_bytes: 256 << 20,
            endpoint_retries: 5,
            max_response_bytes: 16 << 20,
            distinct: Distinct::Auto,
            cache_bytes: 256 << 20,
            cache_path: PathBuf::new(),
            cache_disk_bytes: 10 << 30,
            kv_cache_bytes: 2 << 30,
            model_memory_bytes: 4 << 30,
        }
    }
}
