//! Rows of the columns of a metric. A row with a NULL in one of them is left out, as by every aggregate of SQL.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::compute::{cast, sum};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{DataFusionError, Result, exec_err};

use super::sums::Row;

/// What the second column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// Whether a row is of the class that the score is for: true or false, 1 or 0.
    Binary,
    /// Any number.
    Number,
}

/// Whether a column can be read as numbers.
pub(super) fn is_number(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_number(values),
        data_type => data_type.is_numeric() || data_type.is_null(),
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        data_type => data_type.is_string(),
    }
}

/// Whether a column can be read as true or false.
pub(super) fn is_binary(data_type: &DataType) -> bool {
    *data_type == DataType::Boolean || is_number(data_type)
}

fn numbers(function: &str, values: &ArrayRef) -> Result<Float64Array> {
    let may_be_infinite = !(values.data_type().is_integer() || *values.data_type() == DataType::Boolean);
    let values = cast(values, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
    // A sum over all finds what is not a number faster than a look at each.
    let is_suspect = || sum(&values).is_some_and(|sum| !sum.is_finite());
    if may_be_infinite && is_suspect() && values.iter().flatten().any(|value| !value.is_finite()) {
        return exec_err!("{function}: NaN or infinity among the numbers\n\nhint: leave such rows out: WHERE NOT isnan(x)");
    }
    Ok(values)
}

/// Weights of rows, where there are any.
pub(super) fn weights(function: &str, values: Option<&ArrayRef>) -> Result<Option<Float64Array>> {
    let weights = values.map(|values| numbers(function, values)).transpose()?;
    match weights.iter().flatten().flatten().find(|weight| *weight < 0.0) {
        Some(weight) => exec_err!("{function}: a weight less than 0: {weight}"),
        None => Ok(weights),
    }
}

/// Labels as numbers: 1 for true and 0 for false.
fn labels(function: &str, values: &ArrayRef, label: Label) -> Result<Float64Array> {
    let is_boolean = *values.data_type() == DataType::Boolean;
    let labels = numbers(function, values)?;
    if is_boolean {
        return Ok(labels);
    }
    let wrong = |value: &f64| label == Label::Binary && *value != 0.0 && *value != 1.0;
    match labels.iter().flatten().find(wrong) {
        Some(value) => {
            exec_err!(
                "{function}: a label that is neither true nor false, 1 nor 0: {value}\n\nhint: say which class the score is for: label = {value}"
            )
        }
        None => Ok(labels),
    }
}

/// Gives each row of (score, label[, weight]) to `take`.
pub(super) fn each_row(function: &str, values: &[ArrayRef], label: Label, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
    let scores = numbers(function, &values[0])?;
    let labels = labels(function, &values[1], label)?;
    let weights = weights(function, values.get(2))?;
    let nulls = [scores.nulls(), labels.nulls(), weights.as_ref().and_then(|weights| weights.nulls())].iter().any(Option::is_some);
    if !nulls && weights.is_none() {
        let rows = scores.values().iter().zip(labels.values());
        return rows.map(|(score, label)| Row { score: *score, label: *label, weight: 1.0 }).try_for_each(take);
    }
    for row in 0..scores.len() {
        if nulls && (scores.is_null(row) || labels.is_null(row) || weights.as_ref().is_some_and(|weights| weights.is_null(row))) {
            continue;
        }
        let weight = weights.as_ref().map_or(1.0, |weights| weights.value(row));
        take(Row { score: scores.value(row), label: labels.value(row), weight })?;
    }
    Ok(())
}

/// The prediction of a class: from a column of classes, of scores, or of answers of `mm_predict`.
#[derive(Debug)]
pub(super) enum Classes {
    /// Whether a row is of a class.
    Binary(BooleanArray),
    /// Its name.
    Named(StringArray),
}

/// Score from which on a row counts as of the class.
const HALF: f64 = 0.5;

/// Predictions and labels that can be compared with each other.
pub(super) fn classes(function: &str, predictions: &ArrayRef, labels_: &ArrayRef) -> Result<(Classes, Classes)> {
    let predictions = match predictions.as_struct_opt().and_then(|answer| answer.column_by_name("label")) {
        Some(label) => label,
        None => predictions,
    };
    let is_score = predictions.data_type().is_floating();
    let are_texts = (is_text(predictions.data_type()), is_text(labels_.data_type()));
    let are_whole = |values: &ArrayRef| values.data_type().is_integer();
    if are_texts.0 || are_texts.1 || are_whole(predictions) && are_whole(labels_) {
        // A truth value is called what SQL calls it; a number beside a text has no name that could be compared.
        if is_number(predictions.data_type()) && are_texts.1 || is_number(labels_.data_type()) && are_texts.0 {
            let (first, second) = (predictions.data_type(), labels_.data_type());
            return exec_err!("{function}: {first} is not comparable with {second}\n\nhint: CAST one of them, or compare: label = 'bad'");
        }
        let name = |values: &ArrayRef| cast(values, &DataType::Utf8).map(|names| Classes::Named(names.as_string::<i32>().clone()));
        return Ok((name(predictions)?, name(labels_)?));
    }
    let truth = |values: &ArrayRef| match values.as_boolean_opt() {
        Some(values) => Ok(values.clone()),
        None => gt_eq(&labels(function, values, Label::Binary)?, &Float64Array::new_scalar(1.0)).map_err(DataFusionError::from),
    };
    let predicted = if is_score { gt_eq(&numbers(function, predictions)?, &Float64Array::new_scalar(HALF))? } else { truth(predictions)? };
    Ok((Classes::Binary(predicted), Classes::Binary(truth(labels_)?)))
}
