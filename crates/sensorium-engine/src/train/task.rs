//! Whether labels are classes or numbers to be predicted: by their type and, for numbers, by what they are, unless OPTIONS say so.
//!
//! Texts and truth values are classes. Numbers with a fractional part are predicted as numbers, at most twenty different whole ones are
//! classes; more could be either, and are refused.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use sensorium_inference::{Error, Kind};

use super::options::Request;
use crate::errors::to_datafusion;
use crate::session::Session;

/// Most whole numbers that are taken for classes.
const MOST_CLASSES: f64 = 20.0;

/// Whether the labels of a query are numbers to be predicted.
pub(super) async fn is_regression(session: &Session, query: &str, request: &Request) -> Result<bool> {
    if let Some(said) = request.is_regression {
        return Ok(said);
    }
    let label = &request.label;
    let plan = session.logical_plan(query).await?;
    let is_number = plan.schema().fields().iter().any(|field| field.name() == label && field.data_type().is_numeric());
    if !is_number {
        return Ok(false);
    }
    let column = format!("\"{}\"", label.replace('"', "\"\""));
    let sql = format!(
        "SELECT approx_distinct(arrow_cast({column}, 'Utf8')), sum(CASE WHEN {column} = floor({column}) AND abs({column}) < 'inf'::double THEN 0 ELSE 1 END)
         FROM ({query}
         ) AS mm_rows WHERE {column} IS NOT NULL"
    );
    let frame = session.context().execute_logical_plan(session.logical_plan(&sql).await?).await?;
    let schema = Arc::clone(frame.schema().inner());
    let row = concat_batches(&schema, &frame.collect().await?)?;
    let figure = |place: usize| -> Result<f64> { Ok(cast(row.column(place), &DataType::Float64)?.as_primitive::<Float64Type>().value(0)) };
    let (different, fractional) = (figure(0)?, figure(1)?);
    if fractional > 0.0 {
        return Ok(true);
    }
    if different > MOST_CLASSES {
        let error =
            Error::new(Kind::Argument, format!("label '{label}' has about {different} different whole numbers: numbers or classes?"));
        return Err(to_datafusion(error.with_hint("OPTIONS (task = 'regression') or (task = 'classification')")));
    }
    Ok(false)
}
