//! What each column of the rows is: by its type, and for texts by what is in it, unless OPTIONS say so.
//!
//! A column of texts holds pictures or sounds if nearly all of its values end as such files do, texts if they have four words or
//! more in the mean, and categories otherwise.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SQLOptions;
use sensorium_inference::{Error, Kind, Modality, ModelVersion};
use sensorium_train::Role;

use super::options::Request;
use crate::errors::to_datafusion;
use crate::session::Session;

/// A column and what it is for.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) means: Means,
}

/// What a column is for.
#[derive(Debug)]
pub(super) enum Means {
    /// As it is.
    Role(Role),
    /// A vector as it is.
    Vector,
    /// Made a vector by a model.
    Encoded { model: String, modality: &'static str },
}

/// Mean words from which on texts are no categories.
const WORDS: f64 = 4.0;
/// Share of values that must end like files of a kind.
const FILES: f64 = 0.99;
/// Most categories of a column.
const CATEGORIES: f64 = 1_000.0;
const PICTURES: &str = r"\.(jpe?g|png|gif|bmp|webp|tiff?|pdf)(#page=[0-9]+)?$";
const SOUNDS: &str = r"\.(wav|flac|mp3|ogg|m4a|aac|aiff?)$";

fn wrong(message: impl std::fmt::Display, hint: impl Into<String>) -> DataFusionError {
    to_datafusion(Error::new(Kind::Argument, message.to_string()).with_hint(hint))
}

/// Looks at the columns of a query.
pub(super) async fn column_kinds(session: &Session, query: &str, request: &Request) -> Result<Vec<Column>> {
    let plan = session.logical_plan(query).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    let fields: Vec<Arc<Field>> = plan.schema().fields().iter().cloned().collect();
    check_names(&fields, request)?;
    let mut columns = Vec::new();
    for field in &fields {
        let name = field.name();
        let special = [
            (Some(&request.label), Role::Label),
            (request.weight.as_ref(), Role::Weight),
            (request.group.as_ref(), Role::Group),
            (request.time.as_ref(), Role::Time),
        ];
        let role = special.into_iter().find(|(column, _)| *column == Some(name)).map(|(_, role)| role);
        let means = match role {
            Some(role) => Means::Role(role),
            None => feature(session, query, field, request).await?,
        };
        columns.push(Column { name: name.clone(), means });
    }
    Ok(columns)
}

fn check_names(fields: &[Arc<Field>], request: &Request) -> Result<()> {
    if let Some(twice) = fields.iter().enumerate().find(|(place, field)| fields[..*place].iter().any(|other| other.name() == field.name()))
    {
        return Err(wrong(format!("two columns are called '{}'", twice.1.name()), "give one of them another name: AS .."));
    }
    let asked = [Some(&request.label), request.weight.as_ref(), request.group.as_ref(), request.time.as_ref()];
    let asked = asked.into_iter().flatten().chain(request.columns.iter().map(|(_, column)| column)).chain(&request.options.optional);
    for column in asked {
        if fields.iter().all(|field| field.name() != column) {
            let names = fields.iter().map(|field| field.name().as_str());
            return Err(to_datafusion(
                Error::new(Kind::Setting, format!("no such column: '{column}'")).with_nearest(column, names, "columns"),
            ));
        }
    }
    Ok(())
}

async fn feature(session: &Session, query: &str, field: &Field, request: &Request) -> Result<Means> {
    let name = field.name();
    let said = request.columns.iter().find(|(_, column)| column == name).map(|(modality, _)| *modality);
    let data_type = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        data_type => data_type,
    };
    let modality = match (said, data_type) {
        (Some(modality), _) => modality,
        (None, data_type) if data_type.is_numeric() || *data_type == DataType::Boolean => return Ok(Means::Role(Role::Number)),
        (None, DataType::FixedSizeList(item, _) | DataType::List(item)) if item.data_type().is_numeric() => return Ok(Means::Vector),
        (None, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => look_at_texts(session, query, name).await?,
        (None, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => {
            let media: Vec<&str> = request.encoders.iter().map(|(modality, _)| *modality).filter(|modality| *modality != "text").collect();
            match media.as_slice() {
                [only] => *only,
                _ => {
                    return Err(wrong(
                        format!("column '{name}' is bytes: of what?"),
                        format!("image_columns = ['{name}'] or audio_columns"),
                    ));
                }
            }
        }
        (None, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)) => {
            return Err(wrong(
                format!("column '{name}' is a time, which says nothing about rows of other times"),
                format!(
                    "make it a number in the query, such as date_part('month', {name}); OPTIONS (time = '{name}') holds the latest rows back"
                ),
            ));
        }
        (None, other) => {
            return Err(wrong(
                format!("column '{name}' is {other}, which nothing can be learnt from"),
                "numbers, texts, pictures, sounds and vectors can be",
            ));
        }
    };
    if modality == "category" && !data_type.is_string() {
        return Err(wrong(
            format!("column '{name}' is {data_type}, and categories are texts"),
            format!("cast it in the query, here and where the model is asked: {name}::varchar AS {name}"),
        ));
    }
    if modality == "category" {
        return Ok(Means::Role(Role::Category));
    }
    match request.encoders.iter().find(|(of, _)| *of == modality) {
        Some((_, model)) => Ok(Means::Encoded { model: model.clone(), modality }),
        None => Err(wrong(
            format!("column '{name}' holds {modality}, and no encoder is named"),
            format!("OPTIONS ({modality} = 'model'), or category_columns = ['{name}'], or leave the column out"),
        )),
    }
}

/// What the texts of a column are.
async fn look_at_texts(session: &Session, query: &str, name: &str) -> Result<&'static str> {
    let column = format!("\"{}\"", name.replace('"', "\"\""));
    let text = format!("arrow_cast({column}, 'Utf8')");
    let share = |pattern: &str| format!("avg(CASE WHEN regexp_like(lower({text}), '{pattern}') THEN 1.0 ELSE 0.0 END)");
    let sql = format!(
        "SELECT avg(length(trim({text})) - length(replace(trim({text}), ' ', '')) + 1.0), {}, {}, approx_distinct({text}), count({column})
         FROM ({query}
         ) AS mm_rows WHERE {column} IS NOT NULL",
        share(PICTURES),
        share(SOUNDS)
    );
    let plan = session.logical_plan(&sql).await?;
    let frame = session.context().execute_logical_plan(plan).await?;
    let schema = Arc::clone(frame.schema().inner());
    let row = concat_batches(&schema, &frame.collect().await?)?;
    let figure = |place: usize| -> Result<f64> {
        let column = cast(row.column(place), &DataType::Float64)?;
        Ok(if column.is_null(0) { 0.0 } else { column.as_primitive::<Float64Type>().value(0) })
    };
    let (words, pictures, sounds, different, rows) = (figure(0)?, figure(1)?, figure(2)?, figure(3)?, figure(4)?);
    if rows == 0.0 {
        return Ok("category");
    }
    let found = match (pictures >= FILES, sounds >= FILES) {
        (true, _) => "image",
        (_, true) => "audio",
        _ if words >= WORDS => "text",
        _ => "category",
    };
    if found == "category" && different > CATEGORIES {
        return Err(wrong(
            format!("column '{name}' has about {different} different values: too many categories"),
            format!("leave it out, or text_columns = ['{name}'] if it is text"),
        ));
    }
    Ok(found)
}

/// The model that makes vectors of a modality, and the name of its input.
pub(super) fn encoder_of(version: &Arc<ModelVersion>, modality: &str) -> sensorium_inference::Result<(Arc<ModelVersion>, String)> {
    let is_of = |found: &Modality| found.name() == modality || modality == "image" && matches!(found, Modality::Document);
    let missing = || {
        Error::new(Kind::Argument, format!("model '{}' makes no vectors of {modality}", version.name))
            .with_hint(format!("name a model whose input is {modality} and that mm_embed can use"))
    };
    let input = version.manifest.inputs.iter().find(|input| is_of(&input.modality)).ok_or_else(missing)?;
    let name = input.name.clone();
    if version.manifest.joint.is_empty() {
        let is_encoder = version.manifest.embedding.is_some() && version.manifest.inputs.len() == 1;
        return if is_encoder { Ok((Arc::clone(version), name)) } else { Err(missing()) };
    }
    Ok((Arc::new(version.side(&name).ok_or_else(missing)?), name))
}
