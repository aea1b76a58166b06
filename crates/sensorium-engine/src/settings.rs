//! Settings below `mm.`: one table of names, texts and checks.

use std::any::Any;
use std::str::FromStr;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::error::{DataFusionError, Result};
use sensorium_inference::{Device, Distinct, Error, Kind, Limits};

use crate::errors::to_datafusion;

/// What happens to a query when a row fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// It stops with an error that names the row.
    #[default]
    Fail,
    /// The row becomes NULL and is listed by `mm_errors()`.
    Null,
}

/// The values of all settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MmSettings {
    /// Bounds that calls are given.
    pub limits: Limits,
    /// `mm.on_error`.
    pub on_error: OnError,
    /// `mm.allowed_roots`.
    pub allowed_roots: Vec<String>,
    /// `mm.write_roots`.
    pub write_roots: Vec<String>,
    /// `mm.row_key`.
    pub row_key: Vec<String>,
    /// `mm.run_id`.
    pub run_id: String,
    /// `mm.max_errors`.
    pub max_errors: usize,
    /// `mm.max_training_bytes`.
    pub max_training_bytes: usize,
    /// `mm.max_metric_bytes`.
    pub max_metric_bytes: usize,
    /// `mm.keep_predicate_order`.
    pub keep_predicate_order: bool,
    /// `mm.window_rows`.
    pub window_rows: usize,
    /// `mm.window_bytes`.
    pub window_bytes: usize,
}

impl Default for MmSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            on_error: OnError::Fail,
            allowed_roots: Vec::new(),
            write_roots: Vec::new(),
            row_key: Vec::new(),
            run_id: String::new(),
            max_errors: 10_000,
            max_training_bytes: 4 * GIB,
            max_metric_bytes: GIB,
            keep_predicate_order: false,
            window_rows: 65_536,
            window_bytes: 64 << 20,
        }
    }
}

impl MmSettings {
    /// The settings in `config`, or the defaults where a session was made without them.
    pub(crate) fn of(config: &ConfigOptions) -> Self {
        config.extensions.get::<Self>().cloned().unwrap_or_default()
    }
}

/// One setting.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    get: fn(&MmSettings) -> String,
    set: fn(&mut MmSettings, &str) -> Result<(), Error>,
}

fn wrong(value: &str, expected: &str) -> Error {
    Error::new(Kind::Setting, format!("not a usable value: '{value}'")).with_hint(expected)
}

/// The parts of a list with commas.
fn parts(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_string).collect()
}

/// A whole number from `least` to `most`.
fn number(value: &str, least: usize, most: usize) -> Result<usize, Error> {
    let parsed = usize::from_str(value.trim().replace('_', "").as_str()).ok();
    parsed.filter(|number| (least..=most).contains(number)).ok_or_else(|| wrong(value, &format!("a whole number from {least} to {most}")))
}

fn truth(value: &str) -> Result<bool, Error> {
    bool::from_str(value.trim().to_lowercase().as_str()).map_err(|_| wrong(value, "true or false"))
}

const GIB: usize = 1 << 30;

/// All settings, by name.
pub(crate) const SETTINGS: [Setting; 41] = [
    Setting {
        name: "allowed_hosts",
        description: "Hosts, separated by commas and with a port where one is meant, at which models that run elsewhere may be asked; '' allows none",
        get: |settings| settings.limits.allowed_hosts.join(","),
        set: |settings, value| {
            settings.limits.allowed_hosts = parts(value);
            Ok(())
        },
    },
    Setting {
        name: "allowed_roots",
        description: "Folders and URL prefixes, separated by commas, that media may be read from besides the table's own folder and the current one",
        get: |settings| settings.allowed_roots.join(","),
        set: |settings, value| {
            settings.allowed_roots = parts(value);
            Ok(())
        },
    },
    Setting {
        name: "batch_rows",
        description: "Rows that a model sees at once; 0 lets the modality decide",
        get: |settings| settings.limits.batch_rows.to_string(),
        set: |settings, value| number(value, 0, 65_536).map(|number| settings.limits.batch_rows = number),
    },
    Setting {
        name: "batch_tokens",
        description: "Tokens, padding included, that a text model sees at once; 0 lets the device decide",
        get: |settings| settings.limits.batch_tokens.to_string(),
        set: |settings, value| number(value, 0, 1 << 22).map(|number| settings.limits.batch_tokens = number),
    },
    Setting {
        name: "cache_bytes",
        description: "Bytes of results that a session keeps for equal rows of later calls; 0 keeps none",
        get: |settings| settings.limits.cache_bytes.to_string(),
        set: |settings, value| number(value, 0, 1024 * GIB).map(|number| settings.limits.cache_bytes = number),
    },
    Setting {
        name: "cache_disk_bytes",
        description: "Bytes of results in mm.cache_path; those not used for longest are dropped first",
        get: |settings| settings.limits.cache_disk_bytes.to_string(),
        set: |settings, value| number(value, 0, 1_024 * 1_024 * GIB).map(|number| settings.limits.cache_disk_bytes = number),
    },
    Setting {
        name: "cache_path",
        description: "Folder of results that later sessions use too, by the content of their rows; '' keeps none",
        get: |settings| settings.limits.cache_path.to_string_lossy().into_owned(),
        set: |settings, value| {
            settings.limits.cache_path = value.trim().into();
            Ok(())
        },
    },
    Setting {
        name: "device",
        description: "Where models run: 'auto' takes the first GPU that works, else the CPU; 'cpu'; 'cuda'; 'cuda:1'; 'cuda:all' shares batches among all GPUs",
        get: |settings| settings.limits.device.to_string(),
        set: |settings, value| Device::from_str(value).map(|device| settings.limits.device = device),
    },
    Setting {
        name: "distinct",
        description: "Whether equal rows share one run of a model: 'auto' where that is cheaper than the model; 'always'; 'never'",
        get: |settings| {
            match settings.limits.distinct {
                Distinct::Auto => "auto",
                Distinct::Always => "always",
                Distinct::Never => "never",
            }
            .to_string()
        },
        set: |settings, value| {
            settings.limits.distinct = match value.trim().to_lowercase().as_str() {
                "auto" => Distinct::Auto,
                "always" => Distinct::Always,
                "never" => Distinct::Never,
                _ => return Err(wrong(value, "'auto', 'always' or 'never'")),
            };
            Ok(())
        },
    },
    Setting {
        name: "document_dpi",
        description: "Dots an inch at which pages of PDF are drawn before a model looks at them",
        get: |settings| settings.limits.document_dpi.to_string(),
        set: |settings, value| number(value, 1, 2_400).map(|number| settings.limits.document_dpi = number),
    },
    Setting {
        name: "endpoint_bytes",
        description: "Bytes of a call's requests to an endpoint that are ready or under way",
        get: |settings| settings.limits.endpoint_bytes.to_string(),
        set: |settings, value| number(value, 1, 64 * GIB).map(|number| settings.limits.endpoint_bytes = number),
    },
    Setting {
        name: "endpoint_retries",
        description: "Further attempts after a request to an endpoint failed in a way that may pass",
        get: |settings| settings.limits.endpoint_retries.to_string(),
        set: |settings, value| number(value, 0, 100).map(|number| settings.limits.endpoint_retries = number),
    },
    Setting {
        name: "endpoint_timeout_ms",
        description: "Milliseconds that a request to an endpoint may take, its whole answer included",
        get: |settings| settings.limits.endpoint_timeout_ms.to_string(),
        set: |settings, value| number(value, 1, 86_400_000).map(|number| settings.limits.endpoint_timeout_ms = number),
    },
    Setting {
        name: "fetch_bytes",
        description: "Bytes of remote files that may wait to be decoded",
        get: |settings| settings.limits.fetch_bytes.to_string(),
        set: |settings, value| number(value, 1, 64 * GIB).map(|number| settings.limits.fetch_bytes = number),
    },
    Setting {
        name: "fetch_concurrency",
        description: "Remote files that are read at once",
        get: |settings| settings.limits.fetch_concurrency.to_string(),
        set: |settings, value| number(value, 1, 1_024).map(|number| settings.limits.fetch_concurrency = number),
    },
    Setting {
        name: "fetch_retries",
        description: "Further attempts after a remote read that failed in a way that may pass",
        get: |settings| settings.limits.fetch_retries.to_string(),
        set: |settings, value| number(value, 0, 20).map(|number| settings.limits.fetch_retries = number),
    },
    Setting {
        name: "fetch_timeout_ms",
        description: "Time for one remote file, retries included, in milliseconds",
        get: |settings| settings.limits.fetch_timeout_ms.to_string(),
        set: |settings, value| number(value, 1, 3_600_000).map(|number| settings.limits.fetch_timeout_ms = number),
    },
    Setting {
        name: "gpu_memory_bytes",
        description: "Memory that a model may take on a GPU, in bytes; 0 for all there is",
        get: |settings| settings.limits.gpu.memory_bytes.to_string(),
        set: |settings, value| number(value, 0, 1_024 * GIB).map(|number| settings.limits.gpu.memory_bytes = number),
    },
    Setting {
        name: "gpu_tf32",
        description: "Whether GPUs may round products to TF32: 'true' is several times as fast on tensor cores, and scores differ by about 1e-3",
        get: |settings| settings.limits.gpu.tf32.to_string(),
        set: |settings, value| truth(value).map(|truth| settings.limits.gpu.tf32 = truth),
    },
    Setting {
        name: "keep_predicate_order",
        description: "Whether predicates with models run in the order in which they are written: 'true'; else the cheapest first",
        get: |settings| settings.keep_predicate_order.to_string(),
        set: |settings, value| truth(value).map(|truth| settings.keep_predicate_order = truth),
    },
    Setting {
        name: "kv_cache_bytes",
        description: "Caches of decoders that write texts, in bytes, all queries of the process together; rows wait until others have ended",
        get: |settings| settings.limits.kv_cache_bytes.to_string(),
        set: |settings, value| number(value, 1 << 10, 1_024 * GIB).map(|number| settings.limits.kv_cache_bytes = number),
    },
    Setting {
        name: "max_audio_seconds",
        description: "Longest sound, in seconds, checked while it is decoded",
        get: |settings| settings.limits.max_audio_seconds.to_string(),
        set: |settings, value| number(value, 1, 604_800).map(|number| settings.limits.max_audio_seconds = number),
    },
    Setting {
        name: "max_document_pages",
        description: "Pages of a PDF or TIFF, checked before one of them is drawn",
        get: |settings| settings.limits.max_document_pages.to_string(),
        set: |settings, value| number(value, 1, 1 << 20).map(|number| settings.limits.max_document_pages = number),
    },
    Setting {
        name: "max_errors",
        description: "Failed rows that mm_errors() lists; further ones are only counted",
        get: |settings| settings.max_errors.to_string(),
        set: |settings, value| number(value, 0, 10_000_000).map(|number| settings.max_errors = number),
    },
    Setting {
        name: "max_image_pixels",
        description: "Largest picture, in pixels, checked before it is decoded",
        get: |settings| settings.limits.max_image_pixels.to_string(),
        set: |settings, value| number(value, 1, 4 * GIB).map(|number| settings.limits.max_image_pixels = number),
    },
    Setting {
        name: "max_media_bytes",
        description: "Largest encoded picture or sound, in bytes",
        get: |settings| settings.limits.max_media_bytes.to_string(),
        set: |settings, value| number(value, 1, 16 * GIB).map(|number| settings.limits.max_media_bytes = number),
    },
    Setting {
        name: "max_media_per_row",
        description: "Media of an input that a row may have as a list, for models that are asked about several",
        get: |settings| settings.limits.max_media_per_row.to_string(),
        set: |settings, value| number(value, 1, 65_536).map(|number| settings.limits.max_media_per_row = number),
    },
    Setting {
        name: "max_metric_bytes",
        description: "Scores or classes that one group of a metric may keep, in bytes",
        get: |settings| settings.max_metric_bytes.to_string(),
        set: |settings, value| number(value, 1 << 10, 1 << 44).map(|number| settings.max_metric_bytes = number),
    },
    Setting {
        name: "max_page_paint_pixels",
        description: "Pixels that a page of a PDF may paint over, all its layers together, counted before it is drawn",
        get: |settings| settings.limits.max_page_paint_pixels.to_string(),
        set: |settings, value| number(value, 1_000_000, 1 << 48).map(|number| settings.limits.max_page_paint_pixels = number),
    },
    Setting {
        name: "max_response_bytes",
        description: "Longest answer of an endpoint, in bytes",
        get: |settings| settings.limits.max_response_bytes.to_string(),
        set: |settings, value| number(value, 1, 4 * GIB).map(|number| settings.limits.max_response_bytes = number),
    },
    Setting {
        name: "max_series_steps",
        description: "Longest window of measurements, in steps",
        get: |settings| settings.limits.max_series_steps.to_string(),
        set: |settings, value| number(value, 1, GIB).map(|number| settings.limits.max_series_steps = number),
    },
    Setting {
        name: "max_text_bytes",
        description: "Longest text, in bytes, checked before it is tokenized",
        get: |settings| settings.limits.max_text_bytes.to_string(),
        set: |settings, value| number(value, 1, GIB).map(|number| settings.limits.max_text_bytes = number),
    },
    Setting {
        name: "max_training_bytes",
        description: "Rows that CREATE MODEL AS SELECT learns from, as numbers in memory, in bytes",
        get: |settings| settings.max_training_bytes.to_string(),
        set: |settings, value| number(value, 1 << 10, 1 << 44).map(|number| settings.max_training_bytes = number),
    },
    Setting {
        name: "max_video_frames",
        description: "Frames of a video or animation, counted while they are decoded",
        get: |settings| settings.limits.max_video_frames.to_string(),
        set: |settings, value| number(value, 1, GIB).map(|number| settings.limits.max_video_frames = number),
    },
    Setting {
        name: "model_memory_bytes",
        description: "Weights that stay loaded, in bytes, all models of the session together; the longest unused are dropped first",
        get: |settings| settings.limits.model_memory_bytes.to_string(),
        set: |settings, value| number(value, 0, 1_024 * GIB).map(|number| settings.limits.model_memory_bytes = number),
    },
    Setting {
        name: "on_error",
        description: "What a row that fails does: 'fail' stops the query, 'null' makes the row NULL and lists it in mm_errors()",
        get: |settings| if settings.on_error == OnError::Fail { "fail".into() } else { "null".into() },
        set: |settings, value| {
            settings.on_error = match value {
                "fail" => OnError::Fail,
                "null" => OnError::Null,
                _ => return Err(wrong(value, "'fail' or 'null'")),
            };
            Ok(())
        },
    },
    Setting {
        name: "row_key",
        description: "Columns, separated by commas, by whose values mm_errors() names a failed row, where they reach the call",
        get: |settings| settings.row_key.join(","),
        set: |settings, value| {
            settings.row_key = parts(value);
            Ok(())
        },
    },
    Setting {
        name: "run_id",
        description: "What receipts say as their run_id; jobs set it to the name of the run",
        get: |settings| settings.run_id.clone(),
        set: |settings, value| {
            settings.run_id = value.trim().to_string();
            Ok(())
        },
    },
    Setting {
        name: "window_bytes",
        description: "Bytes of columns that one operator gathers before it runs its model on them",
        get: |settings| settings.window_bytes.to_string(),
        set: |settings, value| number(value, 1 << 10, 64 * GIB).map(|number| settings.window_bytes = number),
    },
    Setting {
        name: "window_rows",
        description: "Rows that one operator gathers at most before it runs its model on them; windows begin smaller",
        get: |settings| settings.window_rows.to_string(),
        set: |settings, value| number(value, 1, 1 << 22).map(|number| settings.window_rows = number),
    },
    Setting {
        name: "write_roots",
        description: "Folders and URL prefixes, separated by commas, that mm_write may write to; '' allows none",
        get: |settings| settings.write_roots.join(","),
        set: |settings, value| {
            settings.write_roots = parts(value);
            Ok(())
        },
    },
];

impl ExtensionOptions for MmSettings {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else {
            let names = SETTINGS.iter().map(|setting| setting.name);
            let unknown = Error::new(Kind::Setting, format!("no such setting: mm.{key}")).with_nearest(key, names, "settings");
            return Err(to_datafusion(unknown));
        };
        (setting.set)(self, value).map_err(|error| {
            let located = Error::new(error.kind(), format!("mm.{key}: {error}"));
            to_datafusion(error.hint().map_or(located.clone(), |hint| located.with_hint(hint)))
        })
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |setting: &Setting| ConfigEntry {
            key: format!("{}.{}", Self::PREFIX, setting.name),
            value: Some((setting.get)(self)),
            description: setting.description,
        };
        SETTINGS.iter().map(entry).collect()
    }
}

impl ConfigExtension for MmSettings {
    const PREFIX: &'static str = "mm";
}

/// Sets `mm.key` outside SQL, with SQL's checks.
pub(crate) fn set(config: &mut ConfigOptions, key: &str, value: &str) -> Result<()> {
    if key.starts_with("mm.") || key.starts_with("datafusion.") {
        return config.set(key, value);
    }
    Err(DataFusionError::Configuration(format!("no such setting: {key}")))
}
