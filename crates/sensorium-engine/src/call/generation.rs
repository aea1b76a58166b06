//! Calls of models that write texts: what a call says about how.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::create_physical_expr;
use sensorium_inference::{Answer, Error, Kind as ErrorKind, ModelVersion, Prediction, Wanted, json_of, result_type};

use super::evaluate::Asked;
use super::policy::Policy;
use crate::errors::to_datafusion;

/// Parts the inputs of a call from its options: a struct behind them.
pub(super) fn split_options<T>(arguments: &[T], is_struct: impl Fn(&T) -> bool) -> (&[T], Option<&T>) {
    match arguments {
        [inputs @ .., last] if !inputs.is_empty() && is_struct(last) => (inputs, Some(last)),
        _ => (arguments, None),
    }
}

/// Whether it is a struct, as options are.
pub(super) fn is_struct(expr: &Expr, schema: &DFSchema) -> bool {
    expr.to_field(schema).is_ok_and(|(_, field)| matches!(field.data_type(), DataType::Struct(_)))
}

fn not_literal() -> Error {
    Error::new(ErrorKind::Argument, "the options of the call are not written out")
        .with_hint("mm_generate('model', prompt, {max_tokens: 64, temperature: 0.7})")
}

/// What the options say, as JSON.
///
/// # Errors
/// When they depend on a row, or are of a type that no option has.
pub(super) fn evaluate_options(expr: &Expr) -> Result<String> {
    let computed = create_physical_expr(expr, &DFSchema::empty(), &ExecutionProps::new(), &PhysicalPlanningContext::default())
        .map_err(|_| to_datafusion(not_literal()))?;
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &RecordBatchOptions::new().with_row_count(Some(1)))?;
    options_text(&computed.evaluate(&row)?.into_array(1)?).map_err(to_datafusion)
}

/// The options of the first row, as JSON; they are the same for all.
pub(super) fn options_text(options: &ArrayRef) -> Result<String, Error> {
    if options.is_empty() {
        return Ok("{}".into());
    }
    json_of(options, 0)
}

/// The type of the result: the picture, the text, or for a `mm_try_` twin all that is known of it.
///
/// # Errors
/// [`ErrorKind::Argument`] where the model writes no texts.
pub(super) fn text_type(version: &ModelVersion, asked: Asked, policy: Policy) -> Result<DataType, Error> {
    let prediction = &version.manifest.prediction;
    if asked == Asked::Picture {
        return match prediction {
            Prediction::Picture { .. } => result_type(&version.manifest, Wanted::Prediction),
            _ => Err(Error::new(
                ErrorKind::Argument,
                format!("model '{}' draws no pictures: its task is {}", version.name, prediction.task()),
            )
            .with_hint("use a pipeline such as Stable Diffusion's")),
        };
    }
    if !matches!(prediction, Prediction::Text { .. }) {
        let error =
            Error::new(ErrorKind::Argument, format!("model '{}' does not write texts: its task is {}", version.name, prediction.task()));
        return Err(error.with_hint("use a generative model such as GPT-2 or Llama, or mm_predict for this one"));
    }
    match (asked, policy) {
        (Asked::Text, Policy::Try) => result_type(&version.manifest, Wanted::Prediction),
        _ => Ok(DataType::Utf8),
    }
}

/// The texts alone.
pub(super) fn texts(answer: Answer, policy: Policy) -> Result<Answer> {
    if policy == Policy::Try {
        return Ok(answer);
    }
    let Answer { values, failures } = answer;
    let values = values.field("text").map_err(to_datafusion)?;
    Ok(Answer { values, failures })
}
