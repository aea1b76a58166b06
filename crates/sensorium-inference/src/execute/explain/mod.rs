//! How much each input of a row has to do with what is predicted for it: Shapley values.
//!
//! Modalities are the players of one game; numbers and categories together are one of them, and share what it is worth in a game of
//! their own (Owen, Values of Games with a Priori Unions, 1977). The first game is played out: each set of modalities is tried, one that
//! is absent is masked if the model knows how, and else replaced by the mean of the rows that the model was fitted to. The second is
//! played out as well where a tree ensemble looks at numbers and categories ([`tree_shap`]); else it is sampled, with values drawn from
//! the distribution of each column ([`sampled`]).

mod coalitions;
mod explainer;
mod sampled;
mod tree_shap;
mod variants;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, MapArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
pub(super) use explainer::{Explainer, Place};
pub use explainer::{explanation_plan, explanation_rows};

use crate::error::{Error, Kind, Result};
use crate::package::{ClassNames, Explanation, Manifest, OutputRef, Prediction};

/// Numbers of a row before those of its inputs: the explained class, its score, the base, the error.
const CLASS: usize = 0;
const SCORE: usize = 1;
const BASE: usize = 2;
const ERROR: usize = 3;
const FIRST_INPUT: usize = 4;

/// What a run for an explanation gives in place of a graph's output.
pub(super) fn reference() -> OutputRef {
    OutputRef { stage: crate::package::EXPLAIN_STAGE.into(), output: String::new(), pooling: None, normalize: false, first: None }
}

/// Numbers of a row: behind those of its inputs, the score without each modality.
pub(super) fn width(manifest: &Manifest) -> usize {
    FIRST_INPUT + manifest.inputs.len() + manifest.modalities().len()
}

/// About what a row of the result takes, in bytes: names stand in each row's maps.
pub(super) fn result_bytes(manifest: &Manifest) -> usize {
    let entry = |name: &str| name.len() + size_of::<i32>() + size_of::<f64>();
    let features: usize = manifest.inputs.iter().filter(|input| input.is_tabular()).map(|input| entry(&input.name)).sum();
    let modalities: usize = manifest.modalities().iter().map(|name| entry(name)).sum();
    features + 2 * modalities + FIRST_INPUT * size_of::<f64>() + ROW_BYTES
}

/// Label and offsets of a row.
const ROW_BYTES: usize = 64;

fn contributions(name: &str) -> Field {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Float64, true)]);
    Field::new(name, DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false), true)
}

/// `{label, score, base, modalities, features, without, error}`; a number has no label.
///
/// # Errors
/// For a model that cannot be explained.
pub(super) fn explanation_type(manifest: &Manifest) -> Result<DataType> {
    manifest.explained()?;
    let label = match &manifest.prediction {
        Prediction::Classification { classes: ClassNames::Integers(_), .. } => Some(DataType::Int64),
        Prediction::Classification { classes: ClassNames::Strings(_), .. } => Some(DataType::Utf8),
        Prediction::Regression { .. } => None,
        _ => return Err(Error::new(Kind::Argument, format!("a model for {} cannot be explained", manifest.prediction.task()))),
    };
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let fields = label.map(|label| Field::new("label", label, true)).into_iter();
    Ok(DataType::Struct(
        fields
            .chain([
                number("score"),
                number("base"),
                contributions("modalities"),
                contributions("features"),
                contributions("without"),
                number("error"),
            ])
            .collect::<Fields>(),
    ))
}

/// The result of rows of numbers as [`width`] says.
pub(super) fn assemble(manifest: &Manifest, values: &[f64], active: &[bool]) -> Result<ArrayRef> {
    let DataType::Struct(fields) = explanation_type(manifest)? else { return Err(Error::new(Kind::Package, "no struct")) };
    let width = width(manifest);
    let rows: Vec<&[f64]> = (0..active.len()).map(|row| values.get(row * width..(row + 1) * width).unwrap_or_default()).collect();
    let nulls = active.contains(&false).then(|| NullBuffer::from(active));
    let number = |place: usize| -> ArrayRef {
        let values: Vec<f64> = rows.iter().map(|row| row.get(place).copied().unwrap_or_default()).collect();
        Arc::new(Float64Array::new(values.into(), nulls.clone()))
    };
    let of_input = |place: &usize, row: &[f64]| row[FIRST_INPUT + place];
    let tabular: Vec<usize> = (0..manifest.inputs.len()).filter(|place| manifest.inputs[*place].is_tabular()).collect();
    let others: Vec<usize> = (0..manifest.inputs.len()).filter(|place| !manifest.inputs[*place].is_tabular()).collect();
    let features: Vec<&str> = tabular.iter().map(|place| manifest.inputs[*place].name.as_str()).collect();
    let modalities = manifest.modalities();
    let of_modalities = |row: &[f64]| -> Vec<f64> {
        let whole = (!tabular.is_empty()).then(|| tabular.iter().map(|place| of_input(place, row)).sum());
        whole.into_iter().chain(others.iter().map(|place| of_input(place, row))).collect()
    };
    let kept: Vec<&[f64]> = rows.iter().zip(active).filter(|(_, active)| **active).map(|(row, _)| *row).collect();
    let map = |field: &Field, names: &[&str], values: Vec<f64>| map(field, names, values, active, nulls.clone());
    let names: Vec<&str> = modalities.iter().map(String::as_str).collect();
    let mut columns = vec![
        number(SCORE),
        number(BASE),
        map(&contributions("modalities"), &names, kept.iter().flat_map(|row| of_modalities(row)).collect())?,
        map(
            &contributions("features"),
            &features,
            kept.iter().flat_map(|row| tabular.iter().map(|place| of_input(place, row)).collect::<Vec<_>>()).collect(),
        )?,
        map(&contributions("without"), &names, kept.iter().flat_map(|row| row[FIRST_INPUT + manifest.inputs.len()..].to_vec()).collect())?,
        number(ERROR),
    ];
    if let Prediction::Classification { classes, .. } = &manifest.prediction {
        let class = |row: &&[f64]| row.get(CLASS).map_or(0, |class| *class as usize);
        let label: ArrayRef = match classes {
            ClassNames::Integers(names) => {
                Arc::new(Int64Array::new(rows.iter().map(|row| names[class(row)]).collect::<Vec<_>>().into(), nulls.clone()))
            }
            ClassNames::Strings(names) => {
                let (offsets, texts, _) = StringArray::from_iter_values(rows.iter().map(|row| &names[class(row)])).into_parts();
                Arc::new(StringArray::new(offsets, texts, nulls.clone()))
            }
        };
        columns.insert(0, label);
    }
    Ok(Arc::new(StructArray::new(fields, columns, nulls)))
}

/// A map for each row that is active, all with the same keys.
fn map(field: &Field, names: &[&str], values: Vec<f64>, active: &[bool], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let DataType::Map(entries, _) = field.data_type() else { return Err(Error::new(Kind::Package, "no map")) };
    let DataType::Struct(pair) = entries.data_type() else { return Err(Error::new(Kind::Package, "no pairs")) };
    let rows = active.iter().filter(|active| **active).count();
    let keys = StringArray::from(names.repeat(rows));
    let pairs = StructArray::new(pair.clone(), vec![Arc::new(keys), Arc::new(Float64Array::from(values))], None);
    let lengths = OffsetBuffer::from_lengths(active.iter().map(|active| if *active { names.len() } else { 0 }));
    Ok(Arc::new(MapArray::new(Arc::clone(entries), lengths, pairs, nulls, false)))
}

/// What speaks most for the explained class of each row: `[{input, contribution, reason}]`, at most `k` of them, the strongest first.
///
/// `explanations` is a column of [`explanation_type`]. The class is the package's adverse one; where it names none, that which is
/// predicted. Of a number, what changes it most.
///
/// # Errors
/// When the column is another one.
pub fn reasons(manifest: &Manifest, explanations: &ArrayRef, k: usize) -> Result<ArrayRef> {
    let explanation = manifest.explained()?;
    let found = explanations.as_struct();
    let column = |name: &str| found.column_by_name(name).ok_or_else(|| Error::new(Kind::Package, format!("no {name}")));
    let (score, features, modalities) = (column("score")?, column("features")?, column("modalities")?);
    // One score for two classes: where each has its own, the explained class is the one that is predicted.
    let is_two = match &manifest.prediction {
        Prediction::Classification { classes, scores, .. } => {
            classes.len() == 2
                && manifest.port(scores).is_ok_and(|port| port.shape.get(1).copied().flatten().is_none_or(|width| width == 1))
        }
        _ => false,
    };
    let is_number = matches!(manifest.prediction, Prediction::Regression { .. });
    let score = score.as_primitive::<Float64Type>();
    let mut lengths = Vec::with_capacity(found.len());
    let (mut inputs, mut values, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..found.len() {
        if found.is_null(row) {
            lengths.push(0);
            continue;
        }
        // Of two classes, what speaks for one speaks against the other.
        let sign = if is_two && explanation.adverse.is_none() && score.value(row) < 0.0 { -1.0 } else { 1.0 };
        let mut all = entries(features.as_map(), row);
        all.extend(entries(modalities.as_map(), row).into_iter().filter(|(name, _)| manifest.input(name).is_some()));
        let strength = |value: f64| if is_number { value.abs() } else { value * sign };
        all.retain(|(_, value)| strength(*value) > 0.0);
        all.sort_by(|a, b| strength(b.1).total_cmp(&strength(a.1)));
        all.truncate(k);
        lengths.push(all.len());
        for (name, value) in all {
            texts.push(explanation.reasons.get(&name).cloned().unwrap_or_else(|| name.clone()));
            values.push(if is_number { value } else { value * sign });
            inputs.push(name);
        }
    }
    let DataType::List(item) = reasons_type() else { return Err(Error::new(Kind::Package, "no list")) };
    let DataType::Struct(fields) = item.data_type() else { return Err(Error::new(Kind::Package, "no struct")) };
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(inputs)), Arc::new(Float64Array::from(values)), Arc::new(StringArray::from(texts))];
    let rows = StructArray::new(fields.clone(), columns, None);
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(arrow::array::ListArray::new(Arc::clone(&item), offsets, Arc::new(rows), found.nulls().cloned())))
}

/// The type of [`reasons`].
pub fn reasons_type() -> DataType {
    let fields = Fields::from(vec![
        Field::new("input", DataType::Utf8, false),
        Field::new("contribution", DataType::Float64, false),
        Field::new("reason", DataType::Utf8, false),
    ]);
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields), true)))
}

fn entries(map: &MapArray, row: usize) -> Vec<(String, f64)> {
    let own = map.value(row);
    let (keys, values) = (own.column(0).as_string::<i32>(), own.column(1).as_primitive::<Float64Type>());
    keys.iter().zip(values.iter()).filter_map(|(key, value)| Some((key?.to_string(), value?))).collect()
}

/// The class whose score is explained, for scores of a row: the adverse one; else the second of two that have one score, or the best of
/// those that have one each. And whether the one score is that of the other class.
fn explained_class(prediction: &Prediction, explanation: &Explanation, scores: &[f32]) -> (usize, bool) {
    let Prediction::Classification { classes, .. } = prediction else { return (0, false) };
    let adverse = match (&explanation.adverse, classes) {
        (Some(adverse), ClassNames::Strings(names)) => names.iter().position(|name| name == adverse),
        _ => None,
    };
    match (adverse, scores) {
        (Some(0), [_]) => (0, true),
        (_, [_]) => (classes.len().saturating_sub(1).min(1), false),
        (Some(class), _) => (class, false),
        (None, scores) => ((0..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best }), false),
    }
}
