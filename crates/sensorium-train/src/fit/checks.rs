//! What cannot be learnt from is refused before anything is fitted.

use std::collections::HashMap;

use sensorium_inference::{Error, Kind, Result};

use crate::dataset::{Dataset, Feature, Values};
use crate::options::TrainOptions;
use crate::target::Target;

pub(super) fn check_reasons(dataset: &Dataset, options: &TrainOptions) -> Result<()> {
    let names = || dataset.features.iter().map(|feature| feature.name.as_str());
    if let Some(unknown) = options.reasons.keys().find(|name| names().all(|feature| feature != **name)) {
        return Err(Error::new(Kind::Setting, format!("reasons: no such column: '{unknown}'")).with_nearest(unknown, names(), "columns"));
    }
    match (&options.adverse, &dataset.target) {
        (Some(adverse), Target::Classes { names, .. }) if !names.contains(adverse) => Err(Error::new(
            Kind::Setting,
            format!("adverse: no such class: '{adverse}'"),
        )
        .with_nearest(adverse, names.iter().map(String::as_str), "classes")),
        (Some(_), Target::Numbers(_)) => {
            Err(Error::new(Kind::Setting, "adverse: a number has no classes").with_hint("leave the option out"))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_feature(feature: &Feature, options: &TrainOptions) -> Result<()> {
    let name = &feature.name;
    let (is_empty, missing) = match &feature.values {
        Values::Numbers(values) => (values.iter().all(|value| value.is_nan()), None),
        Values::Categories { names, .. } => (names.is_empty(), None),
        Values::Vectors { present, .. } => (present.iter().all(|present| !present), present.iter().position(|present| !present)),
    };
    if is_empty {
        return Err(Error::new(Kind::Argument, format!("column '{name}' is NULL in all rows")).with_hint("leave it out"));
    }
    match missing {
        Some(row) if !options.optional.contains(name) => Err(Error::new(Kind::Argument, format!("row {}: '{name}' is NULL", row + 1))
            .with_hint(format!("OPTIONS (optional = ['{name}']) if it may be absent, or leave such rows out: WHERE {name} IS NOT NULL"))),
        _ => Ok(()),
    }
}

/// A feature that is the label under another name: the same numbers, or each of its values goes with one class only and each
/// class with one value.
pub(super) fn check_leak(dataset: &Dataset, feature: &Feature) -> Result<()> {
    let value = |row: usize| match &feature.values {
        Values::Numbers(values) => Some(values[row]).filter(|value| !value.is_nan()).map(f32::to_bits),
        Values::Categories { codes, .. } => codes[row],
        Values::Vectors { .. } => None,
    };
    let label = |row: usize| (dataset.target.value(row) as f32).to_bits();
    let is_same = if dataset.target.is_regression() {
        matches!(feature.values, Values::Numbers(_)) && (0..dataset.rows).all(|row| value(row) == Some(label(row)))
    } else {
        let (mut label_of, mut value_of) = (HashMap::new(), HashMap::new());
        let goes_with_one = |row: usize| {
            let Some(value) = value(row) else { return false };
            *label_of.entry(value).or_insert(label(row)) == label(row) && *value_of.entry(label(row)).or_insert(value) == value
        };
        (0..dataset.rows).all(goes_with_one)
    };
    if !is_same {
        return Ok(());
    }
    Err(Error::new(Kind::Argument, format!("column '{}' says the label: each of its values goes with one", feature.name))
        .with_hint("leave it out; what is known only afterwards is no feature"))
}
