//! Labels that a call names: compared with the input by their vectors, or scored as the answers of a model that writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use sensorium_inference::{
    Answer, Error, Failure, Kind as ErrorKind, LabelSet, Matching, Modality, ModelVersion, Prediction, Stats, Step, zero_shot,
    zero_shot_type,
};

use super::evaluate::{Arguments, Asked, Bound, Kind, answer};
use super::generation::evaluate_options;
use super::policy::Policy;
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

const HINT: &str = "mm_classify(model, input, ['good', 'bad'])";

/// Labels whose vectors are kept for a query; more are forgotten and made again.
const MAX_LABELS: usize = 65_536;

/// Vectors of the texts that stand for labels.
#[derive(Debug, Default)]
pub(crate) struct LabelVectors(Mutex<HashMap<String, Arc<[f32]>>>);

/// The type of the result, once the labels and the model are known to fit.
///
/// # Errors
/// When `arguments` are not an input and a list of texts, or the model cannot compare them.
pub(super) fn classes_type(whole: &ModelVersion, arguments: &[FieldRef]) -> Result<DataType, Error> {
    if !is_writer(whole) {
        matching(whole)?;
    }
    match arguments {
        [.., _, labels] if is_writer(whole) && is_texts(labels.data_type()) => Ok(zero_shot_type()),
        [_, labels] if is_texts(labels.data_type()) => Ok(zero_shot_type()),
        [.., _, labels] if is_writer(whole) || arguments.len() == 2 => {
            Err(Error::new(ErrorKind::Argument, format!("labels are a list of texts, got {}", labels.data_type())).with_hint(HINT))
        }
        _ => Err(Error::new(
            ErrorKind::Argument,
            format!("an input and a list of labels, got {} arguments behind the model", arguments.len()),
        )
        .with_hint(HINT)),
    }
}

/// Whether a model writes its answers, so that labels are scored as these.
pub(super) fn is_writer(whole: &ModelVersion) -> bool {
    matches!(whole.manifest.prediction, Prediction::Text { .. })
}

/// The labels of a call of such a model, as JSON.
///
/// # Errors
/// When they depend on a row.
pub(super) fn evaluate_labels(labels: &Expr) -> Result<String> {
    let text = evaluate_options(labels).map_err(|_| {
        to_datafusion(Error::new(ErrorKind::Argument, "the labels of a generative model are not written out").with_hint(HINT))
    })?;
    let is_list = text.starts_with('[');
    if is_list { Ok(text) } else { Err(to_datafusion(Error::new(ErrorKind::Argument, "no labels").with_hint(HINT))) }
}

fn is_texts(data_type: &DataType) -> bool {
    let is_text = |item: &Field| matches!(item.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => is_text(item),
        _ => false,
    }
}

fn matching(whole: &ModelVersion) -> Result<&Matching, Error> {
    whole.manifest.matching.as_ref().ok_or_else(|| {
        let (name, manifest) = (&whole.name, &whole.manifest);
        let error = |what: &str| Error::new(ErrorKind::Argument, format!("model '{name}' cannot compare its input with labels: {what}"));
        match (manifest.joint.is_empty(), &manifest.embedding) {
            (false, _) => error("nothing in the package says how cosines become probabilities")
                .with_hint("OPTIONS (logit_scale = 100), or as the model was trained; model.onnx with both sides has it inside"),
            (true, Some(_)) => error("it was not told how cosines become probabilities")
                .with_hint("CREATE MODEL .. OPTIONS (logit_scale = 20), the factor of sentence-transformers' losses"),
            (true, None) => error("it gives no vector").with_hint("use an image-text model such as CLIP, or a text encoder"),
        }
    })
}

/// The label of each row.
pub(super) fn classify(engine: &Engine, kind: Kind, bound: &Bound, arguments: &Arguments<'_>, settings: &MmSettings) -> Result<Answer> {
    let matching = matching(&bound.whole).map_err(to_datafusion)?;
    let Some((labels, inputs)) = arguments.arrays.split_last() else {
        return Err(to_datafusion(Error::new(ErrorKind::Argument, "no labels")));
    };
    let own = Arguments { arrays: inputs, fields: &arguments.fields[..inputs.len()], ..*arguments };
    let Answer { values, mut failures } = answer(engine, kind, bound, &own, settings)?;
    let mut sets: Vec<Option<Arc<LabelSet>>> = Vec::with_capacity(arguments.rows);
    let mut last: Option<(ArrayRef, Result<Arc<LabelSet>, Error>)> = None;
    let lists = cast(labels, &DataType::LargeList(Arc::new(Field::new_list_field(DataType::Utf8, true))))?;
    let lists = lists.as_list::<i64>();
    for row in 0..lists.len() {
        if lists.is_null(row) {
            sets.push(None);
            continue;
        }
        let list = lists.value(row);
        // Nearly always the same labels for all rows.
        let set = match &last {
            Some((known, set)) if **known == *list => set.clone(),
            _ => label_set(engine, bound, arguments, settings, matching, list.as_string::<i32>())?,
        };
        last = Some((list, set.clone()));
        sets.push(set.map_err(|error| failures.push(Failure { row, uri: None, step: Step::Input, error })).ok());
    }
    failures.sort_by_key(|failure| failure.row);
    let vectors = values.whole().map_err(to_datafusion)?;
    let classes = zero_shot(&vectors, &sets, matching).map_err(to_datafusion)?;
    Ok(Answer::new(classes, failures))
}

/// The outer error ends the query, the inner one the row.
fn label_set(
    engine: &Engine,
    bound: &Bound,
    arguments: &Arguments<'_>,
    settings: &MmSettings,
    matching: &Matching,
    names: &StringArray,
) -> Result<Result<Arc<LabelSet>, Error>> {
    let refuse = |what: String| Ok(Err(Error::new(ErrorKind::Argument, what).with_hint("name each label once: ['good', 'bad']")));
    if names.is_empty() {
        return refuse("no labels".into());
    }
    if names.null_count() > 0 {
        return refuse("a NULL among the labels".into());
    }
    let names: Vec<String> = names.iter().flatten().map(str::to_string).collect();
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return refuse(format!("label '{twice}' twice"));
    }
    let texts: Vec<String> = names.iter().map(|name| matching.text(name)).collect();
    let vectors = bound.labels.of(&texts, |missing| embed(engine, bound, arguments, settings, missing))?;
    Ok(Ok(Arc::new(LabelSet { names, vectors })))
}

impl LabelVectors {
    /// The vectors of `texts`; `embed` makes those that are not known yet, while nobody else does.
    fn of(&self, texts: &[String], embed: impl FnOnce(&[&String]) -> Result<Vec<Arc<[f32]>>>) -> Result<Vec<Arc<[f32]>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + texts.len() > MAX_LABELS {
            known.clear();
        }
        let missing: Vec<&String> = texts.iter().filter(|text| !known.contains_key(*text)).collect();
        if !missing.is_empty() {
            let made = embed(&missing)?;
            known.extend(missing.into_iter().cloned().zip(made));
        }
        Ok(texts.iter().map(|text| Arc::clone(&known[text])).collect())
    }
}

/// The vectors of texts, by the side of the model that takes them.
fn embed(engine: &Engine, bound: &Bound, arguments: &Arguments<'_>, settings: &MmSettings, texts: &[&String]) -> Result<Vec<Arc<[f32]>>> {
    let whole = &bound.whole;
    let text = whole.manifest.inputs.iter().find(|input| matches!(input.modality, Modality::Text(_)));
    let side = text.and_then(|input| whole.side(&input.name)).map_or_else(|| Arc::clone(whole), Arc::new);
    let column: ArrayRef = Arc::new(texts.iter().map(|text| Some(text.as_str())).collect::<StringArray>());
    let fields = [Arc::new(Field::new("label", DataType::Utf8, false))];
    // They are no rows of the query, and count as none.
    let (arrays, stats) = ([column], Stats::default());
    let own = Arguments { arrays: &arrays, fields: &fields, rows: texts.len(), stats: &stats, ..*arguments };
    let kind = Kind { function: "mm_embed", asked: Asked::Embedding, policy: Policy::Try };
    let labels = Bound::new(bound.reference(), Arc::clone(whole), side, BTreeMap::new());
    let Answer { values, failures } = answer(engine, kind, &labels, &own, settings)?;
    if let Some(failure) = failures.into_iter().next() {
        let error = Error::new(ErrorKind::Argument, format!("label '{}': {}", texts[failure.row], failure.error));
        return Err(to_datafusion(error));
    }
    let vectors = values.whole().map_err(to_datafusion)?;
    let list = vectors.as_fixed_size_list();
    Ok((0..list.len()).map(|row| Arc::from(&list.value(row).as_primitive::<Float32Type>().values()[..])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_embedded_once_and_not_kept_without_end() {
        let labels = LabelVectors::default();
        let texts = |numbers: std::ops::Range<usize>| numbers.map(|number| number.to_string()).collect::<Vec<_>>();
        let made = |missing: &[&String]| Ok(missing.iter().map(|_| Arc::from(vec![1.0])).collect());
        labels.of(&texts(0..3), made).expect("vectors");
        let again = labels.of(&texts(0..3), |missing| Err(datafusion::error::DataFusionError::Plan(format!("{missing:?}"))));
        assert_eq!(again.expect("known").len(), 3);
        (0..3).for_each(|part| _ = labels.of(&texts(part * MAX_LABELS..(part + 1) * MAX_LABELS), made).expect("vectors"));
        assert!(labels.0.lock().is_ok_and(|known| known.len() <= MAX_LABELS));
    }
}
