//! `mm_similarity`: cosine of two vectors.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{DocSection, Documentation, Expr, ScalarUDF, lit};
use sensorium_inference::{Answer, Cosines, Direction, Error, Failure, Input, Kind, Modality, Step, cosine};

use super::mm_embed;

use super::vectors::{Kernel, VectorFunction, Vectors, argument_error, is_vector, not_finite};
use crate::call::{Policy, model_literal};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The cosine of the angle between two vectors, from -1 to 1, as Float64. NULL where a vector is NULL, holds a NULL, or has length zero.",
        "mm_similarity(u, v) | mm_similarity(model, image, text)",
    )
    .with_argument("u", "A list of numbers")
    .with_argument("v", "A list of as many numbers")
    .with_argument("model", "Name of an image-text model as a literal: does this text fit this picture? With a text encoder both may be texts")
    .with_sql_example("SELECT id FROM loans ORDER BY mm_similarity(mm_embed('minilm', note), mm_embed('minilm', 'lost his job')) DESC LIMIT 5")
    .build()
});

/// Type check and computation, shared with the `mm_try_` twin.
pub(super) const KERNEL: Kernel = Kernel { result_type, compute, takes_single: true };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(VectorFunction::new("mm_similarity", KERNEL, Policy::Setting, engine, &DOCUMENTATION).with_model(of_model))
}

/// `mm_similarity(model, image, text)`: the vectors of both, each by its side of a joint model.
fn of_model(engine: &Arc<Engine>, args: &[Expr]) -> Result<Option<Vec<Expr>>> {
    let ([model, first, second], Some(reference)) = (args, model_literal(args)) else { return Ok(None) };
    let manifest = Arc::clone(&engine.resolve(reference)?.manifest);
    let input = |is: fn(&Modality) -> bool| manifest.inputs.iter().find(|input| is(&input.modality)).filter(|_| !manifest.joint.is_empty());
    let vector = |value: &Expr, input: Option<&Input>| {
        let is_named = matches!(value, Expr::ScalarFunction(call) if call.name() == "named_struct");
        let value = match input.filter(|_| !is_named) {
            Some(input) => named_struct(vec![lit(input.name.as_str()), value.clone()]),
            None => value.clone(),
        };
        mm_embed::function(engine).call(vec![model.clone(), value])
    };
    let image = vector(first, input(|modality| matches!(modality, Modality::Image(_))));
    let text = vector(second, input(|modality| matches!(modality, Modality::Text(_))));
    Ok(Some(vec![image, text]))
}

fn result_type(arguments: &[FieldRef], literals: &[Option<&ScalarValue>]) -> Result<DataType, Error> {
    let names_model = literals.first().is_some_and(|value| value.is_some_and(|value| value.try_as_str().flatten().is_some()));
    if names_model && arguments.len() == 3 {
        // The vectors take its place as soon as the call is bound.
        return Ok(DataType::Float64);
    }
    let [left, right] = arguments else {
        return Err(argument_error(format!("mm_similarity takes two vectors, got {} arguments", arguments.len()), "mm_similarity(u, v)"));
    };
    for argument in [left, right] {
        if !is_vector(argument.data_type()) && !argument.data_type().is_null() {
            return Err(argument_error(
                format!("mm_similarity takes vectors, got {}", argument.data_type()),
                "embed texts and pictures first: mm_embed(model, input)",
            ));
        }
    }
    if let (DataType::FixedSizeList(_, left), DataType::FixedSizeList(_, right)) = (left.data_type(), right.data_type())
        && left != right
    {
        return Err(argument_error(format!("vectors of {left} and {right} numbers cannot be compared"), "use one model for both sides"));
    }
    Ok(DataType::Float64)
}

fn compute(arguments: &[ArrayRef], rows: usize, _: &DataType) -> Result<Answer> {
    let mut failures = Vec::new();
    if arguments.iter().any(|argument| argument.data_type().is_null()) {
        return Ok(Answer::new(Arc::new(Float64Array::new_null(rows)), failures));
    }
    let (left, right) = (Vectors::new(&arguments[0])?, Vectors::new(&arguments[1])?);
    // A search compares one vector with all others.
    let single = |vectors: &Vectors| vectors.row(0).filter(|_| vectors.is_single()).map(Direction::of);
    let (direction, others) = match single(&left) {
        Some(direction) => (Some(direction), &right),
        None => (single(&right), &left),
    };
    // None is missing and all are of one width: no row is looked at alone.
    let whole =
        direction.as_ref().filter(|_| !others.is_single()).and_then(|direction| Some((direction, others.whole(direction.width())?)));
    if let Some((direction, rows)) = whole {
        return Ok(of_all(direction.cosines(rows)));
    }
    let mut cosine_of = |row: usize| {
        let (u, v) = (left.row(row)?, right.row(row)?);
        if u.len() != v.len() {
            let error = Error::new(Kind::Argument, format!("vectors of {} and {} numbers cannot be compared", u.len(), v.len()));
            failures.push(Failure { row, uri: None, step: Step::Input, error });
            return None;
        }
        let cosine = match &direction {
            Some(direction) => direction.cosine(others.row(row)?)?,
            None => cosine(u, v)?,
        };
        if !cosine.is_finite() {
            failures.push(not_finite(row));
            return None;
        }
        Some(cosine)
    };
    let values: Float64Array = (0..rows).map(&mut cosine_of).collect();
    Ok(Answer::new(Arc::new(values), failures))
}

fn of_all(cosines: Cosines) -> Answer {
    let is_none = |row: &usize| cosines.without.binary_search(row).is_ok();
    let is_finite = cosines.values.iter().sum::<f64>().is_finite();
    if is_finite && cosines.without.is_empty() {
        return Answer::new(Arc::new(Float64Array::from(cosines.values)), Vec::new());
    }
    let rows = || (0..cosines.values.len()).filter(|row| !is_none(row));
    let failures = rows().filter(|row| !cosines.values[*row].is_finite()).map(not_finite).collect();
    let value = |row: usize| Some(cosines.values[row]).filter(|value| value.is_finite() && !is_none(&row));
    Answer::new(Arc::new((0..cosines.values.len()).map(value).collect::<Float64Array>()), failures)
}
