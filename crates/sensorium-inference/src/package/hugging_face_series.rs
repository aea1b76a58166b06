//! Export folders of transformers' time series models: PatchTST, PatchTSMixer and others that take `past_values`.

use serde_json::Value;

use super::hugging_face::{graph, id2label};
use super::import::{ImportOptions, distinct};
use super::manifest::{Activation, Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::onnx_file::ONLY_STAGE;
use super::port::{Port, Signature};
use super::series_spec::{Channels, SeriesLayout, SeriesScale, SeriesSpec};
use super::source::Files;
use super::tasks::output;
use crate::error::{Error, Kind, Result};

/// Name of the input.
const SERIES: &str = "series";
/// The graph inputs that transformers' models have.
const VALUES: &str = "past_values";
const OBSERVED: &str = "past_observed_mask";

/// Reads the folder; `None` where `config.json` is not that of a time series model.
pub(super) fn read(files: &mut Files, config: &Value, options: &ImportOptions) -> Result<Option<Manifest>> {
    if !config["context_length"].is_u64() || !config["num_input_channels"].is_u64() {
        return Ok(None);
    }
    if options.task.is_some() {
        return Err(Error::new(Kind::Setting, "option task has no effect: config.json says what the model is for")
            .with_hint("leave the option out, or write `sensorium.toml` into the folder"));
    }
    let graph = graph(files, options.variant.as_deref())?;
    let (path, _) = files.use_graph(&graph)?;
    let signature = Signature::read(&path)?;
    let spec = spec(config, signature.inputs.iter().any(|port| port.name == OBSERVED))?;
    let feeds = signature.inputs.iter().map(|port| feed(port, &spec)).collect::<Result<Vec<_>>>()?;
    let input = Input::new(SERIES, Modality::Series(spec));
    let prediction = prediction(config, &signature.outputs, options)?;
    let stage = Stage { name: ONLY_STAGE.into(), graph, feeds, outputs: signature.outputs };
    Ok(Some(Manifest::new(vec![input], vec![stage], prediction, None)))
}

/// The models scale what they are given themselves, and take windows of one length only.
fn spec(config: &Value, observed: bool) -> Result<SeriesSpec> {
    let size = |key: &str| config[key].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    SeriesSpec {
        channels: Channels::Count(size("num_input_channels")),
        layout: SeriesLayout::ChannelsLast,
        steps: Some(size("context_length")),
        shorter: None,
        longer: None,
        normalize: SeriesScale::None,
        missing: None,
        masked: false,
        observed,
    }
    .check()
}

fn feed(port: &Port, spec: &SeriesSpec) -> Result<Feed> {
    let input = SERIES.to_string();
    let source = match port.name.as_str() {
        VALUES => {
            spec.check_port(port)?;
            Source::Series { input }
        }
        OBSERVED => Source::SeriesObserved { input },
        _ => {
            return Err(Error::new(Kind::Package, format!("unknown input of a time series model: {port}"))
                .with_hint("describe the inputs in `sensorium.toml`"));
        }
    };
    Ok(Feed { port: port.clone(), source })
}

/// `...ForClassification` has its classes in `config.json`; forecasts and regressions are returned as they are.
fn prediction(config: &Value, ports: &[Port], options: &ImportOptions) -> Result<Prediction> {
    let architecture = config["architectures"][0].as_str().unwrap_or("");
    let scores = ports.iter().find(|port| ["prediction_logits", "prediction_outputs", "logits"].contains(&port.name.as_str()));
    let (true, Some(port)) = (architecture.ends_with("ForClassification") || architecture.ends_with("ForTimeSeriesClassification"), scores)
    else {
        return Ok(Prediction::Outputs { fields: ports.iter().map(|port| (port.name.clone(), output(ONLY_STAGE, port))).collect() });
    };
    let labels = match &options.labels {
        Some(labels) => labels.clone(),
        None => id2label(config)?,
    };
    let activation = options.activation.as_deref().map(str::parse).transpose()?.unwrap_or(Activation::Softmax);
    Ok(Prediction::Classification { classes: distinct(&labels), scores: output(ONLY_STAGE, port), activation, label: None })
}
