//! Output tensors to the Arrow values of a result column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, MapArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};

use super::explain;
use super::generate::text_fields;
use super::ocr::lines_type;
use super::rows::run_of;
use super::run::{Failure, Step};
use super::speech::transcript_fields;
use super::tensor::{Data, HostTensor};
use super::used::{modalities_used, used_field};
use super::voice_activity::voice_activity_fields;
use super::zero_shot::zero_shot_type;
use crate::error::{Error, Kind, Result};
use crate::modality::Column;
use crate::package::{Activation, ClassNames, Element, Manifest, OutputRef, Prediction};

/// Which of a model's results a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// What the model's task gives.
    Prediction,
    /// Its vector.
    Embedding,
    /// How much each input has to do with the prediction.
    Explanation,
    /// What a model that writes sees of its prompt.
    Prompt,
}

impl Wanted {
    pub(super) fn references(self, manifest: &Manifest) -> Result<Vec<OutputRef>> {
        Ok(match (self, &manifest.prediction) {
            (Self::Embedding, _) => vec![embedding(manifest)?.clone()],
            (Self::Explanation, _) => vec![explain::reference()],
            (_, Prediction::Classification { scores, label, .. }) => [scores].into_iter().chain(label).cloned().collect(),
            (_, Prediction::Regression { value }) => vec![value.clone()],
            (_, Prediction::Outputs { fields }) => fields.iter().map(|(_, reference)| reference.clone()).collect(),
            // They come from no single run of a graph.
            (
                _,
                Prediction::Transcript { .. }
                | Prediction::Text { .. }
                | Prediction::Picture { .. }
                | Prediction::Lines { .. }
                | Prediction::VoiceActivity { .. },
            ) => Vec::new(),
        })
    }
}

fn embedding(manifest: &Manifest) -> Result<&OutputRef> {
    manifest.embedding.as_ref().ok_or_else(|| {
        Error::new(Kind::Argument, "the model gives no embedding")
            .with_hint("write `embedding = \"...\"` with the output that is the vector in `sensorium.toml`")
    })
}

/// The type of the column that a call returns. Every value may be NULL.
///
/// # Errors
/// [`Kind::Argument`] when the model has no such result, [`Kind::Package`] when its width is not known.
pub fn result_type(manifest: &Manifest, wanted: Wanted) -> Result<DataType> {
    match (wanted, &manifest.prediction) {
        (Wanted::Explanation, _) => explain::explanation_type(manifest),
        (Wanted::Embedding, _) => Ok(vector_type(DataType::Float32, width(manifest, embedding(manifest)?)?)),
        (_, Prediction::Classification { classes, .. }) => {
            let used = manifest.may_lack_modalities().then(|| Arc::new(used_field()));
            Ok(DataType::Struct(class_fields(classes).iter().cloned().chain(used).collect()))
        }
        (_, Prediction::Regression { value }) => Ok(arrow_type(manifest.port(value)?.element)),
        (_, Prediction::Transcript { .. }) => Ok(DataType::Struct(transcript_fields())),
        (Wanted::Prompt, _) => Ok(DataType::Utf8),
        (_, Prediction::Text { generation }) if !generation.rules.labels.is_empty() => Ok(zero_shot_type()),
        (_, Prediction::Text { .. }) => Ok(DataType::Struct(text_fields())),
        (_, Prediction::Picture { .. }) => Ok(DataType::Binary),
        (_, Prediction::Lines { .. }) => Ok(lines_type()),
        (_, Prediction::VoiceActivity { .. }) => Ok(DataType::Struct(voice_activity_fields())),
        (_, Prediction::Outputs { fields }) => {
            let field = |(name, reference): &(String, OutputRef)| Ok(Field::new(name, output_type(manifest, reference)?, true));
            Ok(DataType::Struct(fields.iter().map(field).collect::<Result<Fields>>()?))
        }
    }
}

/// About what a row of that column takes, in bytes: exact but for texts that the graph itself writes.
///
/// # Errors
/// As [`result_type`].
pub fn result_bytes(manifest: &Manifest, wanted: Wanted) -> Result<usize> {
    if let (Wanted::Prediction, Prediction::Classification { classes, .. }) = (wanted, &manifest.prediction) {
        let used =
            if manifest.may_lack_modalities() { manifest.modalities().iter().map(|name| name.len() + size_of::<i32>()).sum() } else { 0 };
        return Ok(match classes {
            ClassNames::Integers(_) => (classes.len() + 1) * (size_of::<i64>() + size_of::<f32>()) + used,
            ClassNames::Strings(names) => class_bytes(names) + used,
        });
    }
    if let (Wanted::Prediction, Prediction::Text { generation }) = (wanted, &manifest.prediction)
        && !generation.rules.labels.is_empty()
    {
        return Ok(class_bytes(&generation.rules.labels));
    }
    if let Prediction::Picture { diffusion } = &manifest.prediction {
        // A photograph as PNG takes about half of its pixels.
        return Ok(diffusion.rules.width * diffusion.rules.height * 3 / 2);
    }
    let data_type = result_type(manifest, wanted)?;
    if wanted == Wanted::Explanation {
        return Ok(explain::result_bytes(manifest));
    }
    Ok(value_bytes(&data_type))
}

/// A label, its score, and a probability of each.
fn class_bytes(names: &[String]) -> usize {
    let key = size_of::<i32>() + names.iter().map(String::len).sum::<usize>() / names.len().max(1);
    (names.len() + 1) * (key + size_of::<f32>())
}

fn value_bytes(data_type: &DataType) -> usize {
    const TEXT: usize = 64;
    match data_type {
        DataType::FixedSizeList(item, length) => value_bytes(item.data_type()) * usize::try_from(*length).unwrap_or(0),
        DataType::Struct(fields) => fields.iter().map(|field| value_bytes(field.data_type())).sum(),
        other => other.primitive_width().unwrap_or(TEXT),
    }
}

pub(super) fn class_fields(classes: &ClassNames) -> Fields {
    let label = match classes {
        ClassNames::Integers(_) => DataType::Int64,
        ClassNames::Strings(_) => DataType::Utf8,
    };
    let entries = Field::new("entries", DataType::Struct(entry_fields(&label)), false);
    Fields::from(vec![
        Field::new("label", label, true),
        Field::new("score", DataType::Float32, true),
        Field::new("probabilities", DataType::Map(Arc::new(entries), false), true),
    ])
}

pub(super) fn entry_fields(label: &DataType) -> Fields {
    Fields::from(vec![Field::new("key", label.clone(), false), Field::new("value", DataType::Float32, true)])
}

fn vector_type(item: DataType, width: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(item, true)), i32::try_from(width).unwrap_or(i32::MAX))
}

fn arrow_type(element: Element) -> DataType {
    match element {
        Element::Float16 | Element::Float32 => DataType::Float32,
        Element::Float64 => DataType::Float64,
        Element::Int8 | Element::Int32 | Element::Int64 | Element::Uint8 => DataType::Int64,
        Element::Bool => DataType::Boolean,
        Element::String | Element::ZipMap => DataType::Utf8,
    }
}

/// `[rows]` and `[rows, 1]` are single values, further dimensions become nested lists.
fn output_type(manifest: &Manifest, reference: &OutputRef) -> Result<DataType> {
    let port = manifest.port(reference)?;
    let item = if reference.pooling.is_some() || reference.normalize { DataType::Float32 } else { arrow_type(port.element) };
    let dimensions = trailing(manifest, reference)?;
    let nested = |item, size: &usize| vector_type(item, *size);
    Ok(if dimensions == [1] { item } else { dimensions.iter().rev().fold(item, nested) })
}

fn trailing(manifest: &Manifest, reference: &OutputRef) -> Result<Vec<usize>> {
    let port = manifest.port(reference)?;
    let mut dimensions = port.shape.get(1..).unwrap_or_default().to_vec();
    if reference.pooling.is_some() && dimensions.len() == 2 {
        dimensions.remove(0);
    }
    dimensions.into_iter().collect::<Option<Vec<usize>>>().ok_or_else(|| {
        Error::new(Kind::Package, format!("unknown width: output {port} leaves a dimension open"))
            .with_hint("export the graph with fixed dimensions behind the first")
    })
}

fn width(manifest: &Manifest, reference: &OutputRef) -> Result<usize> {
    Ok(trailing(manifest, reference)?.iter().product())
}

/// How errors of such rows end.
pub(super) const NOT_FINITE: &str = "is NaN or infinite";

/// Whether a row failed for its values alone.
pub(super) fn is_not_finite(error: &Error) -> bool {
    error.to_string().ends_with(NOT_FINITE)
}

/// The values of one output for all rows of the call.
#[derive(Debug)]
pub(super) struct Collector {
    reference: OutputRef,
    width: Option<usize>,
    rows: usize,
    data: Option<Data>,
}

impl Collector {
    pub(super) fn new(manifest: &Manifest, reference: &OutputRef, rows: usize) -> Result<Self> {
        let width = match &manifest.prediction {
            _ if *reference == explain::reference() => Some(explain::width(manifest)),
            // The number of classes is known also where the graph leaves the width open.
            Prediction::Classification { scores, label, .. } if scores == reference || label.as_ref() == Some(reference) => None,
            _ => Some(width(manifest, reference)?),
        };
        Ok(Self { reference: reference.clone(), width, rows, data: None })
    }

    /// Puts row `i` of `tensor` into row `rows[i]`.
    pub(super) fn scatter(&mut self, rows: &[usize], tensor: HostTensor) -> Result<()> {
        let width = *self.width.get_or_insert(tensor.width());
        if tensor.width() != width || tensor.rows() != rows.len() {
            return Err(Error::new(
                Kind::Package,
                format!("output '{}' has {} values a row, expected {width}", self.reference.output, tensor.width()),
            ));
        }
        macro_rules! scatter {
            ($values:expr, $variant:ident, $default:expr) => {{
                let data = self.data.get_or_insert_with(|| Data::$variant(vec![$default; self.rows * width]));
                let Data::$variant(all) = data else {
                    return Err(Error::new(Kind::Model, format!("output '{}' changes its type", self.reference.output)));
                };
                if let Some(rows) = run_of(rows.iter().copied()) {
                    all[rows.start * width..rows.end * width].clone_from_slice(&$values);
                    return Ok(());
                }
                let mut values = $values.into_iter();
                for row in rows {
                    all[row * width..(row + 1) * width].iter_mut().zip(&mut values).for_each(|(place, value)| *place = value);
                }
            }};
        }
        match tensor.data {
            Data::Float32(values) => scatter!(values, Float32, 0.0),
            Data::Float64(values) => scatter!(values, Float64, 0.0),
            Data::Int64(values) => scatter!(values, Int64, 0),
            Data::Bool(values) => scatter!(values, Bool, false),
            Data::Text(values) => scatter!(values, Text, String::new()),
        }
        Ok(())
    }

    /// Rows with NaN or infinity become failures: such a score means nothing and must not pass for one.
    fn reject_nonfinite(&self, narrow: bool, active: &mut [bool], failures: &mut Vec<Failure>) {
        let width = self.width.unwrap_or(1);
        let finite = |row: usize| match &self.data {
            Some(Data::Float32(values)) => values[row * width..(row + 1) * width].iter().all(|value| value.is_finite()),
            // A number too large for 32 bits is infinite where those are returned.
            Some(Data::Float64(values)) if narrow => values[row * width..(row + 1) * width].iter().all(|value| (*value as f32).is_finite()),
            Some(Data::Float64(values)) => values[row * width..(row + 1) * width].iter().all(|value| value.is_finite()),
            _ => true,
        };
        let all_are_finite = match &self.data {
            Some(Data::Float32(values)) => values.iter().all(|value| value.is_finite()),
            Some(Data::Float64(values)) if !narrow => values.iter().all(|value| value.is_finite()),
            Some(Data::Float64(_)) => false,
            _ => true,
        };
        if all_are_finite {
            return;
        }
        for (row, active) in active.iter_mut().enumerate() {
            if *active && !finite(row) {
                *active = false;
                let error = Error::new(Kind::Model, format!("output '{}' {NOT_FINITE}", self.reference.output))
                    .with_hint("look for NaN, infinity or extreme values in the inputs of this row");
                failures.push(Failure { row, uri: None, step: Step::Model, error });
            }
        }
    }

    fn floats(self, expected: usize) -> Result<Vec<f32>> {
        let wrong = || Error::new(Kind::Model, format!("output '{}' does not hold {expected} numbers a row", self.reference.output));
        match self.data {
            None => Ok(vec![0.0; self.rows * expected]),
            Some(_) if self.width != Some(expected) => Err(wrong()),
            Some(Data::Float32(values)) => Ok(values),
            Some(Data::Float64(values)) => Ok(values.into_iter().map(|value| value as f32).collect()),
            Some(Data::Int64(values)) => Ok(values.into_iter().map(|value| value as f32).collect()),
            Some(_) => Err(wrong()),
        }
    }

    /// Numbers of all rows; zeros where no batch ran.
    fn doubles(self) -> Vec<f64> {
        match self.data {
            Some(Data::Float64(values)) => values,
            _ => vec![0.0; self.rows * self.width.unwrap_or(0)],
        }
    }

    fn into_array(self, data_type: &DataType, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
        let values: ArrayRef = match self.data {
            Some(Data::Float32(values)) => Arc::new(Float32Array::from(values)),
            Some(Data::Float64(values)) => Arc::new(Float64Array::from(values)),
            Some(Data::Int64(values)) => Arc::new(Int64Array::from(values)),
            Some(Data::Bool(values)) => Arc::new(BooleanArray::from(values)),
            Some(Data::Text(values)) => Arc::new(StringArray::from(values)),
            None => return Ok(arrow::array::new_null_array(data_type, self.rows)),
        };
        let failed = |error: arrow::error::ArrowError| Error::new(Kind::Model, format!("the output cannot be returned: {error}"));
        nest(cast(&values, innermost(data_type)).map_err(failed)?, data_type, nulls)
    }
}

fn innermost(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::FixedSizeList(item, _) => innermost(item.data_type()),
        other => other,
    }
}

/// Wraps flat values into the lists of `data_type`, with `nulls` at the outermost level.
fn nest(values: ArrayRef, data_type: &DataType, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Model, format!("the output cannot be returned: {error}"));
    match data_type {
        DataType::FixedSizeList(item, size) => {
            let inner = nest(values, item.data_type(), None)?;
            let list = FixedSizeListArray::try_new(Arc::clone(item), *size, inner, nulls.cloned()).map_err(failed)?;
            Ok(Arc::new(list))
        }
        _ => {
            let data = values.to_data().into_builder().nulls(nulls.cloned()).build().map_err(failed)?;
            Ok(arrow::array::make_array(data))
        }
    }
}

/// Makes the result column. Rows that are not `active` are NULL.
pub(super) fn assemble(
    manifest: &Manifest,
    wanted: Wanted,
    columns: &HashMap<String, Column>,
    collectors: Vec<Collector>,
    active: &mut [bool],
    failures: &mut Vec<Failure>,
) -> Result<ArrayRef> {
    let is_judged = wanted == Wanted::Embedding || !matches!(manifest.prediction, Prediction::Outputs { .. });
    if is_judged {
        let narrow = wanted == Wanted::Embedding || matches!(manifest.prediction, Prediction::Classification { .. });
        collectors.iter().for_each(|collector| collector.reject_nonfinite(narrow, active, failures));
    }
    let nulls = active.contains(&false).then(|| NullBuffer::from(&*active));
    let data_type = result_type(manifest, wanted)?;
    let mut collectors = collectors.into_iter();
    let mut next = || collectors.next().ok_or_else(|| Error::new(Kind::Package, "the model has no output"));
    if wanted == Wanted::Explanation {
        return explain::assemble(manifest, &next()?.doubles(), active);
    }
    match (&data_type, &manifest.prediction) {
        (DataType::Struct(fields), Prediction::Classification { classes, activation, label, .. }) if wanted == Wanted::Prediction => {
            let scores = next()?;
            let labels = if label.is_some() { Some(next()?) } else { None };
            let used = manifest.may_lack_modalities().then(|| modalities_used(manifest, columns, active));
            classification(fields, classes, *activation, scores, labels, used, active, nulls)
        }
        (DataType::Struct(fields), _) if wanted == Wanted::Prediction => {
            let arrays = fields.iter().map(|field| next()?.into_array(field.data_type(), nulls.as_ref())).collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::new(fields.clone(), arrays, nulls)))
        }
        _ => next()?.into_array(&data_type, nulls.as_ref()),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one struct")]
fn classification(
    fields: &Fields,
    classes: &ClassNames,
    activation: Activation,
    scores: Collector,
    labels: Option<Collector>,
    used: Option<ArrayRef>,
    active: &[bool],
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let count = classes.len();
    let probabilities = probabilities(scores, count, activation)?;
    let best: Vec<usize> = match labels {
        Some(labels) => chosen(labels, classes, active)?,
        None => probabilities.chunks_exact(count).map(argmax).collect(),
    };
    let label: ArrayRef = names(classes, best.iter().copied(), nulls.clone());
    let score: Vec<f32> = best.iter().enumerate().map(|(row, class)| probabilities[row * count + class]).collect();
    let kept: Vec<usize> = (0..active.len()).filter(|row| active[*row]).collect();
    let keys = names(classes, kept.iter().flat_map(|_| 0..count), None);
    let values: Float32Array = kept.iter().flat_map(|row| &probabilities[row * count..(row + 1) * count]).copied().map(Some).collect();
    let DataType::Map(entries, _) = fields[2].data_type() else {
        return Err(Error::new(Kind::Package, "probabilities are not a map"));
    };
    let pairs = StructArray::new(entry_fields(fields[0].data_type()), vec![keys, Arc::new(values)], None);
    let lengths = OffsetBuffer::from_lengths(active.iter().map(|active| if *active { count } else { 0 }));
    let map = MapArray::new(Arc::clone(entries), lengths, pairs, nulls.clone(), false);
    let score = Float32Array::new(score.into(), nulls.clone());
    let columns = [label, Arc::new(score) as ArrayRef, Arc::new(map)].into_iter().chain(used).collect();
    Ok(Arc::new(StructArray::new(fields.clone(), columns, nulls)))
}

fn names(classes: &ClassNames, indices: impl Iterator<Item = usize>, nulls: Option<NullBuffer>) -> ArrayRef {
    match classes {
        ClassNames::Integers(names) => Arc::new(Int64Array::new(indices.map(|index| names[index]).collect::<Vec<_>>().into(), nulls)),
        ClassNames::Strings(names) => {
            let chosen: Vec<&String> = indices.map(|index| &names[index]).collect();
            let (offsets, values, _) = StringArray::from_iter_values(chosen).into_parts();
            Arc::new(StringArray::new(offsets, values, nulls))
        }
    }
}

fn argmax(row: &[f32]) -> usize {
    let better = |best: usize, (index, value): (usize, &f32)| if *value > row[best] { index } else { best };
    row.iter().enumerate().fold(0, better)
}

/// The class that the graph itself chose for each row.
fn chosen(labels: Collector, classes: &ClassNames, active: &[bool]) -> Result<Vec<usize>> {
    let unknown = |label: &dyn std::fmt::Display| {
        Error::new(Kind::Model, format!("the graph returned the label '{label}', which is none of its classes"))
    };
    match (labels.data, classes) {
        (None, _) => Ok(vec![0; active.len()]),
        (Some(Data::Text(found)), ClassNames::Strings(names)) => {
            let places: HashMap<&str, usize> = names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
            let place = |(row, label): (usize, &String)| {
                if active[row] { places.get(label.as_str()).copied().ok_or_else(|| unknown(label)) } else { Ok(0) }
            };
            found.iter().enumerate().map(place).collect()
        }
        (Some(Data::Int64(found)), ClassNames::Integers(names)) => {
            let places: HashMap<i64, usize> = names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
            let place =
                |(row, label): (usize, &i64)| if active[row] { places.get(label).copied().ok_or_else(|| unknown(label)) } else { Ok(0) };
            found.iter().enumerate().map(place).collect()
        }
        _ => Err(Error::new(Kind::Model, "the graph's labels are of another type than its classes")),
    }
}

pub(super) fn sigmoid(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

/// `[rows, classes]` from the graph's scores. One sigmoid score for two classes is the second's.
fn probabilities(scores: Collector, classes: usize, activation: Activation) -> Result<Vec<f32>> {
    if activation == Activation::Sigmoid && classes == 2 && scores.width == Some(1) {
        let positive = scores.floats(1)?.into_iter().map(sigmoid);
        return Ok(positive.flat_map(|score| [1.0 - score, score]).collect());
    }
    let mut values = scores.floats(classes)?;
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values.iter_mut().for_each(|value| *value = sigmoid(*value)),
        Activation::Softmax => values.chunks_exact_mut(classes.max(1)).for_each(softmax),
    }
    Ok(values)
}

pub(super) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}
