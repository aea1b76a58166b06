//! Late fusion: the weighted average of predictions, absent ones left out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef, Fields, Float32Type, Float64Type};
use datafusion::error::Result;
use sensorium_inference::{Answer, Error, Failure, Kind, Step};

use super::vectors::{Vectors, argument_error, is_vector, not_finite};

/// Fields of a classification that every classifier has.
const CLASS_FIELDS: usize = 3;

/// A classification without what only some classifiers say besides: which modalities were used.
fn classes_alone(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().take(CLASS_FIELDS).cloned().collect()),
        other => other.clone(),
    }
}

/// `{label, score, probabilities}` as a classifier returns it, types included.
fn is_classification(data_type: &DataType) -> bool {
    let DataType::Struct(fields) = data_type else { return false };
    let [label, score, probabilities, rest @ ..] = &fields[..] else { return false };
    let DataType::Map(entries, _) = probabilities.data_type() else { return false };
    let DataType::Struct(pair) = entries.data_type() else { return false };
    let types: Vec<&DataType> = pair.iter().map(|field| field.data_type()).collect();
    let are_named = fields.iter().take(CLASS_FIELDS).map(|field| field.name().as_str()).eq(["label", "score", "probabilities"]);
    are_named
        && rest.iter().all(|field| field.name() == "modalities_used")
        && score.data_type() == &DataType::Float32
        && types == [label.data_type(), &DataType::Float32]
}

/// `{weights: [..]}`
fn is_weights(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct(fields) if fields.len() == 1 && fields[0].name() == "weights" && is_vector(fields[0].data_type()))
}

/// Numbers give a number, classifications one of the same type.
pub(super) fn late_type(parts: &[FieldRef]) -> Result<DataType, Error> {
    let predictions = match parts.split_last() {
        Some((last, rest)) if is_weights(last.data_type()) && !rest.is_empty() => rest,
        _ => parts,
    };
    let first = predictions[0].data_type();
    if predictions.iter().all(|part| part.data_type().is_numeric()) {
        return Ok(DataType::Float64);
    }
    let alone = classes_alone(first);
    if predictions.iter().all(|part| is_classification(part.data_type()) && classes_alone(part.data_type()) == alone) {
        return Ok(alone);
    }
    let types: Vec<String> = predictions.iter().map(|part| part.data_type().to_string()).collect();
    Err(argument_error(
        format!("late fusion cannot average {}", types.join(" and ")),
        "numbers, or classifications with labels of one type",
    ))
}

pub(super) fn late_answer(parts: &[ArrayRef], data_type: &DataType) -> Result<Answer> {
    let (predictions, weights) = match parts.split_last() {
        Some((last, rest)) if is_weights(last.data_type()) && !rest.is_empty() => (rest, Some(Vectors::new(last.as_struct().column(0))?)),
        _ => (parts, None),
    };
    let weights = |row: usize| match &weights {
        None => Ok(vec![1.0; predictions.len()]),
        Some(weights) => {
            weights.row(row).map(<[f32]>::to_vec).filter(|weights| weights.len() == predictions.len() && usable(weights)).ok_or_else(|| {
                Error::new(Kind::Argument, format!("weights must be {} numbers that are not negative and not all zero", predictions.len()))
            })
        }
    };
    match data_type {
        DataType::Struct(fields) => average_classes(predictions, fields, weights),
        _ => average_numbers(predictions, weights),
    }
}

fn usable(weights: &[f32]) -> bool {
    weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) && weights.iter().sum::<f32>() > 0.0
}

fn failed(row: usize, error: Error) -> Failure {
    Failure { row, uri: None, step: Step::Input, error }
}

fn average_numbers(predictions: &[ArrayRef], weights: impl Fn(usize) -> Result<Vec<f32>, Error>) -> Result<Answer> {
    let columns = predictions
        .iter()
        .map(|part| Ok(cast(part, &DataType::Float64)?.as_primitive::<Float64Type>().clone()))
        .collect::<Result<Vec<_>>>()?;
    let mut failures = Vec::new();
    let mut average = |row: usize| {
        let weights = weights(row).map_err(|error| failures.push(failed(row, error))).ok()?;
        let present = columns.iter().zip(weights).filter(|(column, _)| column.is_valid(row));
        let (sum, total) = present
            .fold((0.0, 0.0), |(sum, total), (column, weight)| (sum + column.value(row) * f64::from(weight), total + f64::from(weight)));
        let mean = (total > 0.0).then(|| sum / total)?;
        if !mean.is_finite() {
            failures.push(not_finite(row));
            return None;
        }
        Some(mean)
    };
    let values: Float64Array = (0..predictions[0].len()).map(&mut average).collect();
    Ok(Answer::new(Arc::new(values), failures))
}

/// The classes of one row: where its keys start and how many there are.
fn classes(map: &MapArray, row: usize) -> (usize, usize) {
    let offsets = map.value_offsets();
    (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize)
}

fn average_classes(predictions: &[ArrayRef], fields: &Fields, weights: impl Fn(usize) -> Result<Vec<f32>, Error>) -> Result<Answer> {
    let rows = predictions[0].len();
    let maps: Vec<&MapArray> = predictions.iter().map(|part| part.as_struct().column(2).as_map()).collect();
    let mut failures = Vec::new();
    let (mut key_of, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(rows));
    let (mut best, mut scores, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let present: Vec<usize> = (0..maps.len()).filter(|part| predictions[*part].is_valid(row) && maps[*part].is_valid(row)).collect();
        let averaged = match present.first() {
            None => None,
            Some(first) => weights(row)
                .and_then(|weights| average_row(&maps, &present, row, &weights))
                .map_err(|error| failures.push(failed(row, error)))
                .ok()
                .flatten()
                .map(|values| (*first, values)),
        };
        let Some((first, averaged)) = averaged else {
            lengths.push(0);
            best.push((0, 0));
            scores.push(0.0);
            valid.push(false);
            continue;
        };
        let (start, count) = classes(maps[first], row);
        let top = (0..count).fold(0, |top, class| if averaged[class] > averaged[top] { class } else { top });
        key_of.extend((start..start + count).map(|key| (first, key)));
        lengths.push(count);
        best.push((first, start + top));
        scores.push(averaged[top]);
        valid.push(true);
        values.extend(averaged);
    }
    let keys: Vec<&dyn Array> = maps.iter().map(|map| map.keys().as_ref()).collect();
    let nulls = Some(NullBuffer::from(valid));
    let label = labels(&keys, &best, nulls.as_ref())?;
    let entries = StructArray::new(
        maps[0].entries().fields().clone(),
        vec![arrow::compute::interleave(&keys, &key_of)?, Arc::new(Float32Array::from(values))],
        None,
    );
    let DataType::Map(entry, ordered) = fields[2].data_type() else {
        return datafusion::common::internal_err!("probabilities are not a map");
    };
    let map = MapArray::try_new(Arc::clone(entry), OffsetBuffer::from_lengths(lengths), entries, nulls.clone(), *ordered)?;
    let score = Float32Array::new(scores.into(), nulls.clone());
    let values = StructArray::try_new(fields.clone(), vec![label, Arc::new(score), Arc::new(map)], nulls)?;
    Ok(Answer::new(Arc::new(values), failures))
}

/// The label of each row, NULL where there is none; batches in which no row has a class have no key to point at.
fn labels(keys: &[&dyn Array], best: &[(usize, usize)], nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    let is_valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let found: Vec<(usize, usize)> = best.iter().enumerate().filter(|(row, _)| is_valid(*row)).map(|(_, place)| *place).collect();
    let labels = arrow::compute::interleave(keys, &found)?;
    let mut next = 0_u64;
    let places: arrow::array::UInt64Array = (0..best.len())
        .map(|row| {
            is_valid(row).then(|| {
                next += 1;
                next - 1
            })
        })
        .collect();
    Ok(take(&labels, &places, None)?)
}

/// Weighted means of one row's probabilities; the classes must be the same, in the same order.
fn average_row(maps: &[&MapArray], present: &[usize], row: usize, weights: &[f32]) -> Result<Option<Vec<f32>>, Error> {
    let (start, count) = classes(maps[present[0]], row);
    let own = maps[present[0]].keys().slice(start, count);
    let total: f32 = present.iter().map(|part| weights[*part]).sum();
    if total <= 0.0 {
        return Ok(None);
    }
    let mut average = vec![0.0; count];
    for part in present {
        let (start, other) = classes(maps[*part], row);
        if other != count || maps[*part].keys().slice(start, other).as_ref() != own.as_ref() {
            return Err(Error::new(Kind::Argument, "late fusion of classifications with different classes"));
        }
        let values = maps[*part].values().as_primitive::<Float32Type>();
        average.iter_mut().enumerate().for_each(|(class, sum)| *sum += values.value(start + class) * weights[*part] / total);
    }
    Ok(Some(average))
}
