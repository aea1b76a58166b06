//! Classes that a call names: the labels whose vectors are nearest to that of the input.
//!
//! As transformers' zero-shot pipelines: cosines, times the model's scale, plus its bias, then softmax over the labels
//! (CLIP) or sigmoid of each (SigLIP).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float32Builder, MapArray, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float32Type};

use super::answer::{class_fields, entry_fields, sigmoid, softmax};
use crate::error::{Error, Kind, Result};
use crate::package::{Activation, ClassNames, Matching};
use crate::vectors::dot;

/// Labels and their vectors.
#[derive(Debug, Clone)]
pub struct LabelSet {
    /// Their names, all different.
    pub names: Vec<String>,
    /// Their vectors, of any length but zero.
    pub vectors: Vec<Arc<[f32]>>,
}

/// `{label, score, probabilities}` with labels of text.
pub fn zero_shot_type() -> DataType {
    DataType::Struct(class_fields(&ClassNames::Strings(Vec::new())))
}

/// The best label of each row of `vectors`, a `FixedSizeList(Float32)`; NULL where the vector is, or where there are no
/// labels.
///
/// # Errors
/// [`Kind::Argument`] when vectors and labels are of different lengths.
pub fn zero_shot(vectors: &ArrayRef, labels: &[Option<Arc<LabelSet>>], matching: &Matching) -> Result<ArrayRef> {
    let list = vectors.as_fixed_size_list();
    let mut found = Vec::with_capacity(list.len());
    for (row, set) in labels.iter().enumerate() {
        found.push(match set.as_deref().filter(|set| list.is_valid(row) && !set.names.is_empty()) {
            Some(set) => Some((set.names.as_slice(), probabilities(vector(list, row), set, matching)?)),
            None => None,
        });
    }
    best_labels(&found)
}

/// `{label, score, probabilities}` from the names and the probabilities of each row; NULL where there are none.
pub(super) fn best_labels(found: &[Option<(&[String], Vec<f32>)>]) -> Result<ArrayRef> {
    let rows = found.len();
    let (mut label, mut score) = (StringBuilder::new(), Float32Builder::with_capacity(rows));
    let (mut keys, mut values, mut lengths) = (StringBuilder::new(), Vec::<f32>::new(), Vec::with_capacity(rows));
    let mut present = Vec::with_capacity(rows);
    for row in found {
        let Some((names, probabilities)) = row else {
            label.append_null();
            score.append_null();
            lengths.push(0);
            present.push(false);
            continue;
        };
        let best = probabilities.iter().enumerate().fold(0, |best, (place, value)| if *value > probabilities[best] { place } else { best });
        label.append_value(&names[best]);
        score.append_value(probabilities[best]);
        names.iter().for_each(|name| keys.append_value(name));
        lengths.push(names.len());
        values.extend(probabilities);
        present.push(true);
    }
    let nulls = present.contains(&false).then(|| NullBuffer::from(present));
    let DataType::Struct(fields) = zero_shot_type() else { return Err(Error::new(Kind::Argument, "labels without a type")) };
    let DataType::Map(entries, _) = fields[2].data_type() else { return Err(Error::new(Kind::Argument, "probabilities are not a map")) };
    let pairs = StructArray::new(entry_fields(&DataType::Utf8), vec![Arc::new(keys.finish()), Arc::new(Float32Array::from(values))], None);
    let map = MapArray::new(Arc::clone(entries), OffsetBuffer::from_lengths(lengths), pairs, nulls.clone(), false);
    let label: StringArray = label.finish();
    Ok(Arc::new(StructArray::new(fields.clone(), vec![Arc::new(label), Arc::new(score.finish()), Arc::new(map)], nulls)))
}

fn vector(list: &FixedSizeListArray, row: usize) -> &[f32] {
    let start = usize::try_from(list.value_offset(row)).unwrap_or(0);
    let width = usize::try_from(list.value_length()).unwrap_or(0);
    &list.values().as_primitive::<Float32Type>().values()[start..start + width]
}

fn probabilities(vector: &[f32], labels: &LabelSet, matching: &Matching) -> Result<Vec<f32>> {
    let logit = |label: &Arc<[f32]>| {
        if label.len() != vector.len() {
            return Err(Error::new(Kind::Argument, format!("a label of {} numbers for an input of {}", label.len(), vector.len())));
        }
        let length = (dot(vector, vector) * dot(label, label)).sqrt();
        Ok(matching.logit_scale * dot(vector, label) / length.max(f32::MIN_POSITIVE) + matching.logit_bias)
    };
    let mut values = labels.vectors.iter().map(logit).collect::<Result<Vec<_>>>()?;
    match matching.activation {
        Activation::Softmax => softmax(&mut values),
        Activation::Sigmoid => values.iter_mut().for_each(|value| *value = sigmoid(*value)),
        Activation::None => {}
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn labels() -> Arc<LabelSet> {
        Arc::new(LabelSet { names: vec!["x".into(), "y".into()], vectors: vec![vec![2.0, 0.0].into(), vec![0.0, 0.5].into()] })
    }

    fn vectors(values: Vec<f32>, nulls: Option<NullBuffer>) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        Arc::new(FixedSizeListArray::new(item, 2, Arc::new(Float32Array::from(values)), nulls))
    }

    #[test]
    fn lengths_of_vectors_do_not_count() {
        let matching = Matching { logit_scale: 2.0, logit_bias: 0.0, activation: Activation::Softmax, prompt: None };
        let found = zero_shot(&vectors(vec![0.0, 9.0], None), &[Some(labels())], &matching).expect("an answer");
        let found = found.as_struct();
        assert_eq!(found.column(0).as_string::<i32>().value(0), "y");
        let expected = 2.0_f32.exp() / (2.0_f32.exp() + 1.0);
        assert!((found.column(1).as_primitive::<Float32Type>().value(0) - expected).abs() < 1e-6);
    }

    #[test]
    fn sigmoids_do_not_add_up() {
        let matching = Matching { logit_scale: 1.0, logit_bias: -1.0, activation: Activation::Sigmoid, prompt: None };
        let found = zero_shot(&vectors(vec![1.0, 1.0], None), &[Some(labels())], &matching).expect("an answer");
        let score = found.as_struct().column(1).as_primitive::<Float32Type>().value(0);
        assert!((score - sigmoid(0.5_f32.sqrt() - 1.0)).abs() < 1e-6);
    }

    #[test]
    fn nothing_to_compare_is_null() {
        let matching = Matching { logit_scale: 1.0, logit_bias: 0.0, activation: Activation::Softmax, prompt: None };
        let nulls = NullBuffer::from(vec![false, true]);
        let found = zero_shot(&vectors(vec![1.0; 4], Some(nulls)), &[Some(labels()), None], &matching).expect("an answer");
        assert_eq!(found.null_count(), 2);
    }
}
