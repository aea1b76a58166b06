//! A fitted model as a folder: `head.onnx`, `sensorium.toml`, the record of its training, the columns of its trees, and the encoders in
//! folders of their own.

use std::fs;
use std::path::Path;

use sensorium_inference::{Error, Explanation, Kind, Manifest, Result, TRAINING_FILE, write_package};
use serde::Serialize;

use crate::dataset::{Dataset, Values};
use crate::encoding::{numbers_name, present_name, scores_name};
use crate::fit::Fitted;
use crate::options::TrainOptions;
use crate::target::Target;

/// What turned a column of texts, pictures or sounds into vectors.
#[derive(Debug)]
pub struct Encoder<'e> {
    /// Name of the column.
    pub column: String,
    /// The encoder's model.
    pub manifest: &'e Manifest,
    /// Where its files lie.
    pub folder: &'e Path,
}

/// Name of the head's file.
const HEAD: &str = "head.onnx";
/// Name of the file that makes the columns for trees.
pub(crate) const COLUMNS: &str = "columns.onnx";
/// What stands for a category that is not known.
const NO_CATEGORY: &str = "";

/// Folder of an encoder; not its column's name, which may be no name of a folder.
fn encoder_folder(place: usize) -> String {
    format!("encoder_{place}")
}

#[derive(Serialize)]
struct Description {
    graph: &'static str,
    task: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation: Option<&'static str>,
    scores: String,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    inputs: toml::Table,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    encoders: toml::Table,
    explain: Explanation,
}

/// Writes the model into an empty folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write(fitted: &Fitted, dataset: &Dataset, encoders: &[Encoder<'_>], options: &TrainOptions, folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(Kind::Package, format!("cannot write the model to {}: {error}", folder.display()));
    for (place, encoder) in encoders.iter().enumerate() {
        write_package(encoder.manifest, encoder.folder, &folder.join(encoder_folder(place)))?;
    }
    let text =
        toml::to_string(&describe(fitted, dataset, encoders, options)).map_err(|error| Error::new(Kind::Package, error.to_string()))?;
    let training = fitted.training.to_json()?;
    let columns = fitted.columns.iter().map(|(graph, _)| (COLUMNS, graph.as_slice()));
    let files = [(HEAD, fitted.graph.as_slice()), ("sensorium.toml", text.as_bytes()), (TRAINING_FILE, training.as_bytes())];
    files.into_iter().chain(columns).try_for_each(|(file, content)| fs::write(folder.join(file), content)).map_err(failed)
}

fn describe(fitted: &Fitted, dataset: &Dataset, encoders: &[Encoder<'_>], options: &TrainOptions) -> Description {
    let (mut inputs, mut own_encoders) = (toml::Table::new(), toml::Table::new());
    let numbers = dataset.features.iter().filter(|feature| matches!(feature.values, Values::Numbers(_)));
    let numbers: Vec<toml::Value> = numbers.map(|feature| toml::Value::from(feature.name.clone())).collect();
    if !numbers.is_empty() {
        let entry = [("columns", toml::Value::Array(numbers)), ("optional", true.into()), ("missing", "nan".into())];
        inputs.insert(numbers_name(dataset), table(entry));
    }
    for (feature, optional) in dataset.features.iter().zip(&fitted.optional) {
        let name = &feature.name;
        let present =
            || optional.then(|| [("optional", true.into()), ("present", present_name(name, dataset).into())]).into_iter().flatten();
        let encoder = encoders.iter().position(|encoder| encoder.column == *name);
        match (&feature.values, encoder) {
            (Values::Numbers(_), _) => {}
            (Values::Categories { .. }, _) => {
                let entry = [("modality", "category".into()), ("optional", true.into()), ("missing", NO_CATEGORY.into())];
                inputs.insert(name.clone(), table(entry));
            }
            (Values::Vectors { .. }, Some(place)) => {
                let package = ("package", toml::Value::from(encoder_folder(place)));
                own_encoders.insert(name.clone(), table(std::iter::once(package).chain(present())));
            }
            (Values::Vectors { .. }, None) => {
                inputs.insert(name.clone(), table(std::iter::once(("modality", "vector".into())).chain(present())));
            }
        }
    }
    let (task, labels, activation) = match &dataset.target {
        Target::Numbers(_) => ("regression", None, None),
        Target::Classes { names, .. } if names.len() == 2 => ("classification", Some(names.clone()), Some("sigmoid")),
        Target::Classes { names, .. } => ("classification", Some(names.clone()), Some("softmax")),
    };
    let explain = Explanation {
        training: TRAINING_FILE.into(),
        adverse: options.adverse.clone(),
        reasons: options.reasons.clone(),
        trees: fitted.columns.as_ref().map(|(_, columns)| columns.clone()),
    };
    Description { graph: HEAD, task, labels, activation, scores: scores_name(dataset), inputs, encoders: own_encoders, explain }
}

fn table<'v>(entries: impl IntoIterator<Item = (&'v str, toml::Value)>) -> toml::Value {
    toml::Value::Table(entries.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
