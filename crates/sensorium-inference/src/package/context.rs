//! In-context models: rows with known labels go into the graph together with the rows that are asked about.
//!
//! Follows the interface of TabPFN (Hollmann et al. 2022, arXiv:2207.01848): training features, training labels and queries
//! are inputs of one graph, or of two where the first encodes the training rows once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use serde::{Deserialize, Serialize};

use super::import::ImportOptions;
use super::manifest::{Activation, Feed, Input, Manifest, Missing, Modality, Prediction, Source, Stage};
use super::onnx_file::ONLY_STAGE;
use super::port::{Element, Port, Signature};
use super::source::Files;
use super::tasks::{Task, output};
use crate::error::{Error, Kind, Result};
use crate::onnx::ClassNames;

/// The file of a version that holds the rows.
const FILE: &str = "context.arrow";
/// Name of the stage that encodes them, where there is one.
pub(crate) const CONTEXT_STAGE: &str = "context";
/// Most rows that an in-context model is given: attention over more takes more memory than a device has.
pub const MAX_CONTEXT_ROWS: usize = 100_000;

/// The rows that a version was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Arrow file in the package: the features in the order of the inputs, then the label.
    pub file: String,
    /// Number of rows.
    pub rows: usize,
    /// Name of the label's column.
    pub label: String,
}

/// `[context]` in `sensorium.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextEntry {
    /// Graph input of the features with known labels.
    features: String,
    /// Graph input of the labels.
    labels: String,
    /// Graph input of the features that are asked about.
    queries: String,
    /// A graph that encodes the rows with known labels once; its outputs are inputs of the other graph, by name.
    graph: Option<String>,
    /// What stands for a NULL feature.
    missing: Option<Missing>,
    /// Most rows that the model was trained to look at.
    max_rows: Option<usize>,
}

/// What `sensorium.toml` says besides.
pub(super) struct Facts {
    pub(super) graph: String,
    pub(super) task: Option<Task>,
    pub(super) activation: Option<Activation>,
    pub(super) scores: Option<String>,
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Package, format!("context: {message}"))
}

/// The model whose folder has `[context]`.
pub(super) fn read(files: &mut Files, entry: &ContextEntry, facts: &Facts, options: &ImportOptions) -> Result<Manifest> {
    let Some(rows) = &options.context else {
        return Err(wrong("the model answers by comparison with rows whose labels are known")
            .with_hint("CREATE MODEL name FROM 'folder' OPTIONS (label = 'y') AS SELECT a, b, y FROM t"));
    };
    let Some(label) = &options.label else {
        return Err(wrong("which column is the label?").with_hint("OPTIONS (label = 'y')"));
    };
    let schema = rows.schema();
    let mut seen = BTreeSet::new();
    if let Some(field) = schema.fields().iter().find(|field| !seen.insert(field.name())) {
        return Err(wrong(format!("two columns are called '{}'", field.name())).with_hint("give one of them another name: AS .."));
    }
    let most = entry.max_rows.unwrap_or(MAX_CONTEXT_ROWS).min(MAX_CONTEXT_ROWS);
    if rows.num_rows() == 0 || rows.num_rows() > most {
        return Err(wrong(format!("{} rows, from 1 to {most} are possible", rows.num_rows())).with_hint("ORDER BY random() LIMIT ..."));
    }
    let task = facts.task.filter(|task| matches!(task, Task::Classification | Task::Regression));
    let task = task.ok_or_else(|| wrong("write `task = \"classification\"` or \"regression\" into sensorium.toml"))?;
    let (features, mut inputs) = features(rows, label, entry)?;
    let (labels, classes) = labels(rows, label, task)?;
    let stages = stages(files, entry, &facts.graph, inputs.len())?;
    let queries = stages.iter().flat_map(|stage| &stage.feeds).find(|feed| feed.source == Source::Queries);
    if let Some(own) = queries.map(|feed| feed.port.element) {
        inputs.iter_mut().for_each(|input| {
            if let Modality::Number { element, .. } = &mut input.modality {
                *element = own;
            }
        });
    }
    let last = stages.last().map(|stage| stage.outputs.as_slice()).unwrap_or_default();
    let prediction = prediction(last, classes, facts)?;
    files.make_file(FILE, encode(&features, &inputs, &labels, label)?);
    let context = Context { file: FILE.into(), rows: rows.num_rows(), label: label.clone() };
    Ok(Manifest { context: Some(context), ..Manifest::new(inputs, stages, prediction, None) })
}

/// The features as double-precision numbers, and the inputs that they are of.
fn features(rows: &RecordBatch, label: &str, entry: &ContextEntry) -> Result<(Vec<ArrayRef>, Vec<Input>)> {
    let (mut columns, mut inputs) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()).filter(|(field, _)| field.name() != label) {
        let name = field.name();
        if !(field.data_type().is_numeric() || *field.data_type() == DataType::Boolean) {
            return Err(wrong(format!("column '{name}' holds {}, features are numbers", field.data_type()))
                .with_hint("turn categories into numbers in the query, here and where the model is asked"));
        }
        let numbers = cast(column, &DataType::Float64).map_err(wrong)?;
        let gap = match &entry.missing {
            None => None,
            Some(Missing::Number(value)) if value.is_finite() => Some(*value),
            Some(Missing::Text(text)) if text == "nan" => Some(f64::NAN),
            Some(_) => return Err(wrong("`missing` is a number or \"nan\"")),
        };
        let own = numbers.as_primitive::<Float64Type>();
        let missing = own.iter().filter(|value| value.is_none_or(f64::is_nan)).count();
        if missing > 0 && gap.is_none() {
            return Err(wrong(format!("column '{name}' is NULL in {missing} rows, which this model cannot look at")));
        }
        let known = |value: Option<f64>| value.filter(|value| !value.is_nan()).or(gap).unwrap_or(f64::NAN);
        let numbers: ArrayRef = Arc::new(own.iter().map(known).collect::<Float64Array>());
        if let Some(row) =
            numbers.as_primitive::<Float64Type>().iter().position(|value| value.is_some_and(|value| value.abs() > f64::from(f32::MAX)))
        {
            return Err(wrong(format!("column '{name}' is infinite or too large in row {row}")));
        }
        let modality = Modality::Number { element: Element::Float32, missing: entry.missing.clone() };
        inputs.push(Input { name: name.clone(), optional: entry.missing.is_some(), list: false, modality });
        columns.push(numbers);
    }
    if columns.is_empty() {
        return Err(wrong("no column besides the label"));
    }
    Ok((columns, inputs))
}

/// The label of each row as the graph takes it, and the names of the classes.
fn labels(rows: &RecordBatch, label: &str, task: Task) -> Result<(ArrayRef, Option<ClassNames>)> {
    let schema = rows.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let missing = || wrong(format!("no column '{label}' in the query")).with_nearest(label, names, "columns");
    let column = rows.column_by_name(label).ok_or_else(missing)?;
    if column.null_count() > 0 || column.data_type().is_null() {
        let hint = format!("WHERE {label} IS NOT NULL");
        return Err(wrong(format!("label '{label}' is NULL in {} rows", column.null_count().max(1))).with_hint(hint));
    }
    if task == Task::Regression {
        let values = cast(column, &DataType::Float64).map_err(wrong)?;
        let is_finite = values.null_count() == 0 && values.as_primitive::<Float64Type>().values().iter().all(|value| value.is_finite());
        return if is_finite { Ok((values, None)) } else { Err(wrong(format!("label '{label}' is not a finite number everywhere"))) };
    }
    if column.data_type().is_integer() {
        let exact = CastOptions { safe: false, ..CastOptions::default() };
        let own = cast_with_options(column, &DataType::Int64, &exact).map_err(wrong)?;
        let own = own.as_primitive::<Int64Type>().values();
        let mut classes = own.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let places: Int64Array = own.iter().filter_map(|value| classes.binary_search(value).ok()).map(|place| place as i64).collect();
        return Ok((Arc::new(places), Some(ClassNames::Integers(classes))));
    }
    if column.data_type().is_floating() {
        return Err(wrong(format!("label '{label}' holds {}, classes are texts or integers", column.data_type())));
    }
    let own = cast(column, &DataType::Utf8).map_err(wrong)?;
    let own: Vec<&str> = own.as_string::<i32>().iter().flatten().collect();
    let mut classes: Vec<String> = own.iter().map(ToString::to_string).collect();
    classes.sort_unstable();
    classes.dedup();
    let place = |value: &&str| classes.binary_search_by(|class| class.as_str().cmp(value)).ok();
    let places: Int64Array = own.iter().filter_map(place).map(|place| place as i64).collect();
    Ok((Arc::new(places), Some(ClassNames::Strings(classes))))
}

fn stages(files: &mut Files, entry: &ContextEntry, graph: &str, features: usize) -> Result<Vec<Stage>> {
    let (path, _) = files.use_graph(graph)?;
    let signature = Signature::read(&path)?;
    let mut stages = Vec::new();
    if let Some(graph) = &entry.graph {
        let (path, _) = files.use_graph(graph)?;
        let signature = Signature::read(&path)?;
        let feeds = signature.inputs.iter().map(|port| known(port, entry, features)).collect::<Result<_>>()?;
        stages.push(Stage { name: CONTEXT_STAGE.into(), graph: graph.clone(), feeds, outputs: signature.outputs });
    }
    let encoded: Vec<String> = stages.iter().flat_map(|stage: &Stage| &stage.outputs).map(|port| port.name.clone()).collect();
    let feed = |port: &Port| {
        if encoded.contains(&port.name) {
            return Ok(Feed { port: port.clone(), source: Source::ContextState { output: port.name.clone() } });
        }
        if entry.graph.is_none() && port.name != entry.queries {
            return known(port, entry, features);
        }
        if port.name != entry.queries {
            return Err(wrong(format!("nothing fills graph input {port}")));
        }
        check_width(port, features)?;
        Ok(Feed { port: port.clone(), source: Source::Queries })
    };
    let feeds = signature.inputs.iter().map(feed).collect::<Result<Vec<_>>>()?;
    if !feeds.iter().any(|feed| feed.source == Source::Queries) {
        let names = signature.inputs.iter().map(|port| port.name.as_str());
        return Err(wrong(format!("the graph has no input '{}'", entry.queries)).with_nearest(&entry.queries, names, "graph inputs"));
    }
    stages.push(Stage { name: ONLY_STAGE.into(), graph: graph.to_string(), feeds, outputs: signature.outputs });
    Ok(stages)
}

/// What a graph is given of the rows with known labels.
fn known(port: &Port, entry: &ContextEntry, features: usize) -> Result<Feed> {
    let source = if port.name == entry.features {
        check_width(port, features)?;
        Source::ContextFeatures
    } else if port.name == entry.labels {
        Source::ContextLabels
    } else {
        let names = [entry.features.as_str(), &entry.labels, &entry.queries];
        return Err(wrong(format!("nothing fills graph input {port}")).with_nearest(&port.name, names, "known inputs"));
    };
    Ok(Feed { port: port.clone(), source })
}

fn check_width(port: &Port, features: usize) -> Result<()> {
    match port.shape.as_slice() {
        [_, width] if width.is_none_or(|width| width == features) && port.element.is_float() => Ok(()),
        _ => Err(wrong(format!("{features} features for graph input {port}"))),
    }
}

fn prediction(ports: &[Port], classes: Option<ClassNames>, facts: &Facts) -> Result<Prediction> {
    let names = || ports.iter().map(|port| port.name.as_str());
    let port = match (&facts.scores, ports) {
        (None, [port]) => port,
        (Some(name), _) => ports
            .iter()
            .find(|port| port.name == *name)
            .ok_or_else(|| wrong(format!("no output '{name}'")).with_nearest(name, names(), "outputs"))?,
        (None, _) => return Err(wrong("several outputs").with_hint("write `scores = \"...\"` into sensorium.toml")),
    };
    let Some(classes) = classes else { return Ok(Prediction::Regression { value: output(ONLY_STAGE, port) }) };
    let activation = facts.activation.ok_or_else(|| wrong("write `activation = \"softmax\"` for logits, \"none\" for probabilities"))?;
    let mut scores = output(ONLY_STAGE, port);
    match port.shape.as_slice() {
        [_, None] => scores.first = Some(classes.len()),
        [_, Some(width)] if *width >= classes.len() => scores.first = Some(classes.len()),
        _ => return Err(wrong(format!("{} classes for output {port}", classes.len()))),
    }
    Ok(Prediction::Classification { classes, scores, activation, label: None })
}

/// The rows as an Arrow file. Equal rows give equal bytes.
fn encode(features: &[ArrayRef], inputs: &[Input], labels: &ArrayRef, label: &str) -> Result<Vec<u8>> {
    let names = inputs.iter().map(|input| input.name.as_str()).chain([label]);
    let columns = names.zip(features.iter().chain([labels]).cloned());
    let batch = RecordBatch::try_from_iter(columns).map_err(wrong)?;
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).map_err(wrong)?;
    writer.write(&batch).and_then(|()| writer.finish()).map_err(wrong)?;
    writer.into_inner().map_err(wrong)
}

/// Features of all rows, row by row, and their labels.
pub(crate) fn load(context: &Context, folder: &Path) -> Result<(Vec<f64>, Vec<f64>)> {
    let file = std::fs::File::open(folder.join(&context.file)).map_err(wrong)?;
    let batches = FileReader::try_new(file, None).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let [batch] = batches.as_slice() else { return Err(wrong("damaged file of rows")) };
    let Some((labels, features)) = batch.columns().split_last() else { return Err(wrong("damaged file of rows")) };
    let features: Vec<&Float64Array> = features.iter().filter_map(|column| column.as_primitive_opt::<Float64Type>()).collect();
    let rows = (0..batch.num_rows()).flat_map(|row| features.iter().map(move |column| column.value(row))).collect();
    let labels = cast(labels, &DataType::Float64).map_err(wrong)?;
    Ok((rows, labels.as_primitive::<Float64Type>().values().to_vec()))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn classes_are_in_order_and_labels_their_places() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["low", "high", "low"]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, -1, 3]));
        let rows = RecordBatch::try_from_iter([("t", texts), ("n", numbers)]).expect("rows");
        let (places, classes) = labels(&rows, "t", Task::Classification).expect("labels");
        assert_eq!(places.as_primitive::<Int64Type>().values(), &[1, 0, 1]);
        assert_eq!(classes, Some(ClassNames::Strings(vec!["high".into(), "low".into()])));
        let (places, classes) = labels(&rows, "n", Task::Classification).expect("labels");
        assert_eq!(places.as_primitive::<Int64Type>().values(), &[2, 0, 1]);
        assert_eq!(classes, Some(ClassNames::Integers(vec![-1, 3, 7])));
        assert!(labels(&rows, "m", Task::Classification).is_err());
    }
}
