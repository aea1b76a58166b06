//! Rows to learn from, as columns in memory.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use sensorium_inference::{Error, Kind, Result};

use crate::target::Target;

/// What a column of the rows is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A number or a truth value.
    Number,
    /// One of few texts.
    Category,
    /// A vector of so many numbers; those of an encoder stand for a text, a picture or a sound.
    Vector {
        /// Length of the vectors.
        width: usize,
    },
    /// What is to be predicted.
    Label,
    /// How much a row counts.
    Weight,
    /// Rows of one value stay together when rows are held back.
    Group,
    /// Rows with the latest values are held back.
    Time,
}

/// The values of a feature.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    /// NaN where there is none.
    Numbers(Vec<f32>),
    /// Places in `names`.
    Categories { codes: Vec<Option<u32>>, names: Vec<String> },
    /// Row by row; zeros where there is none.
    Vectors { width: usize, values: Vec<f32>, present: Vec<bool> },
}

/// One feature.
#[derive(Debug, Clone)]
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) values: Values,
}

/// Rows with their labels.
#[derive(Debug)]
pub struct Dataset {
    pub(crate) features: Vec<Feature>,
    pub(crate) target: Target,
    /// Column of the label.
    pub(crate) label: String,
    pub(crate) weights: Vec<f32>,
    /// Number of the group of each row.
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) times: Option<Vec<i64>>,
    pub(crate) rows: usize,
}

impl Dataset {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Most columns of vectors: one bit each says whether a sample goes without it.
const MAX_VECTORS: usize = 64;

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Argument, message.to_string())
}

/// Names that were met, in the order in which they came.
#[derive(Debug, Default)]
struct Names {
    places: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.places.insert(name.to_string(), place);
        self.names.push(name.to_string());
        place
    }
}

/// A column while its batches come.
#[derive(Debug)]
enum Growing {
    Numbers(Vec<f32>),
    Doubles(Vec<f64>),
    Categories(Vec<Option<u32>>, Names),
    Vectors(usize, Vec<f32>, Vec<bool>),
    Times(Vec<i64>),
}

/// Takes batches one by one, within a limit of memory.
#[derive(Debug)]
pub struct Builder {
    columns: Vec<(String, Role, Growing)>,
    is_regression: bool,
    max_bytes: usize,
    bytes: usize,
    rows: usize,
}

impl Builder {
    /// Rows of these columns, which come in this order. `is_regression`: the label is a number to be predicted, not a class.
    pub fn new(columns: &[(String, Role)], is_regression: bool, max_bytes: usize) -> Self {
        let growing = |role: &Role| match role {
            Role::Number | Role::Weight => Growing::Numbers(Vec::new()),
            Role::Label if is_regression => Growing::Doubles(Vec::new()),
            Role::Label | Role::Category | Role::Group => Growing::Categories(Vec::new(), Names::default()),
            Role::Vector { width } => Growing::Vectors(*width, Vec::new(), Vec::new()),
            Role::Time => Growing::Times(Vec::new()),
        };
        let columns = columns.iter().map(|(name, role)| (name.clone(), role.clone(), growing(role))).collect();
        Self { columns, is_regression, max_bytes, bytes: 0, rows: 0 }
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// [`Kind::Argument`] for a label, weight, group or time that is missing, or an infinite number; [`Kind::Limit`] for more rows than fit.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        for ((name, role, growing), column) in self.columns.iter_mut().zip(batch.columns()) {
            if !matches!(role, Role::Number | Role::Category | Role::Vector { .. }) && column.null_count() > 0 {
                let place = (0..column.len()).find(|row| column.is_null(*row)).unwrap_or_default();
                return Err(wrong(format!("row {}: column '{name}' is NULL", self.rows + place + 1))
                    .with_hint(format!("leave such rows out: WHERE {name} IS NOT NULL")));
            }
            self.bytes += grow(growing, column, name, role, self.rows)?;
        }
        self.rows += batch.num_rows();
        if self.bytes > self.max_bytes {
            return Err(Error::new(Kind::Limit, format!("{} rows are more than fit into {} bytes", self.rows, self.max_bytes))
                .with_hint("SET mm.max_training_bytes, or take a sample of the rows"));
        }
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All rows.
    ///
    /// # Errors
    /// [`Kind::Argument`] where there is nothing to learn: no rows, no features, one class only.
    pub fn finish(self) -> Result<Dataset> {
        let (mut features, mut target, mut groups, mut times) = (Vec::new(), None, None, None);
        let mut weights = vec![1.0; self.rows];
        let label = self.columns.iter().find(|(_, role, _)| *role == Role::Label).map(|(name, ..)| name.clone()).unwrap_or_default();
        for (name, role, growing) in self.columns {
            match (role, growing) {
                (Role::Weight, Growing::Numbers(values)) => weights = check_weights(&name, values)?,
                (Role::Label, Growing::Doubles(values)) => target = Some(Target::numbers(&name, values)?),
                (Role::Label, Growing::Categories(codes, names)) => {
                    target = Some(Target::classes(&name, codes.into_iter().flatten().collect(), &names.names)?);
                }
                (Role::Group, Growing::Categories(codes, _)) => groups = Some(codes.into_iter().flatten().collect()),
                (Role::Time, Growing::Times(values)) => times = Some(values),
                (_, Growing::Numbers(values)) => features.push(Feature { name, values: Values::Numbers(values) }),
                (_, Growing::Categories(codes, names)) => {
                    features.push(Feature { name, values: Values::Categories { codes, names: names.names } });
                }
                (_, Growing::Vectors(width, values, present)) => {
                    features.push(Feature { name, values: Values::Vectors { width, values, present } });
                }
                (..) => {}
            }
        }
        if features.is_empty() {
            return Err(wrong("no column to learn from beside the label"));
        }
        // First, so that their places are bits of a sample.
        features.sort_by_key(|feature: &Feature| !matches!(feature.values, Values::Vectors { .. }));
        let vectors = features.iter().filter(|feature| matches!(feature.values, Values::Vectors { .. })).count();
        if vectors > MAX_VECTORS {
            return Err(wrong(format!("{vectors} columns of texts, pictures, sounds and vectors, {MAX_VECTORS} are possible")));
        }
        let target = target.ok_or_else(|| wrong("no label"))?;
        debug_assert_eq!(self.is_regression, target.is_regression());
        Ok(Dataset { features, target, label, weights, groups, times, rows: self.rows })
    }
}

fn check_weights(name: &str, weights: Vec<f32>) -> Result<Vec<f32>> {
    match weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        None if weights.iter().all(|weight| *weight == 0.0) => Err(wrong(format!("weight '{name}' is 0 in all rows"))),
        Some(row) => Err(wrong(format!("row {}: weight '{name}' is {}", row + 1, weights[row])).with_hint("weights are numbers from 0 on")),
        None => Ok(weights),
    }
}

/// Adds a batch of a column; returns the bytes that it took.
fn grow(growing: &mut Growing, column: &ArrayRef, name: &str, role: &Role, before: usize) -> Result<usize> {
    // A text that is no number is an error, and not a missing number.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |to: DataType| cast_with_options(column, &to, &strict).map_err(|error| wrong(format!("column '{name}': {error}")));
    match growing {
        Growing::Numbers(values) => {
            let numbers = cast(DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            for (row, value) in numbers.iter().enumerate() {
                values.push(finite(value, name, before + row)?);
            }
            Ok(column.len() * size_of::<f32>())
        }
        Growing::Doubles(values) => {
            let numbers = cast(DataType::Float64)?;
            values.extend(numbers.as_primitive::<Float64Type>().values());
            Ok(column.len() * size_of::<f64>())
        }
        Growing::Times(values) => {
            let is_fractional = column.data_type().is_floating();
            if is_fractional {
                // In the order of the numbers.
                let bits = |value: &f64| if value.is_sign_negative() { !value.to_bits() as i64 ^ i64::MIN } else { value.to_bits() as i64 };
                values.extend(cast(DataType::Float64)?.as_primitive::<Float64Type>().values().iter().map(bits));
            } else {
                values.extend(cast(DataType::Int64)?.as_primitive::<Int64Type>().values());
            }
            Ok(column.len() * size_of::<i64>())
        }
        Growing::Categories(codes, names) => {
            let texts = cast(DataType::Utf8)?;
            let texts: &StringArray = texts.as_string();
            // The graph cannot tell an empty text from a missing one.
            let present = |text: Option<&str>| text.filter(|text| *role != Role::Category || !text.is_empty()).map(str::to_string);
            for text in texts {
                let code = present(text).map(|text| names.place(&text));
                codes.push(code);
            }
            Ok(column.len() * size_of::<Option<u32>>())
        }
        Growing::Vectors(width, values, present) => {
            let vectors = cast(DataType::FixedSizeList(
                std::sync::Arc::new(arrow::datatypes::Field::new_list_field(DataType::Float32, true)),
                i32::try_from(*width).map_err(|_| wrong("a vector too long"))?,
            ))?;
            let vectors = vectors.as_fixed_size_list();
            for row in 0..vectors.len() {
                let is_there = vectors.is_valid(row);
                present.push(is_there);
                if is_there {
                    let own = vectors.value(row);
                    let own: &Float32Array = own.as_primitive::<Float32Type>();
                    if own.null_count() > 0 || own.values().iter().any(|value| !value.is_finite()) {
                        return Err(wrong(format!("row {}: vector '{name}' has NaN, infinity or NULL in it", before + row + 1)));
                    }
                    values.extend_from_slice(own.values());
                } else {
                    values.resize(values.len() + *width, 0.0);
                }
            }
            Ok(column.len() * *width * size_of::<f32>())
        }
    }
}

/// A number as the graph will see it; NaN for a missing one.
fn finite(value: Option<f64>, name: &str, row: usize) -> Result<f32> {
    let number = value.map_or(f32::NAN, |value| value as f32);
    if number.is_infinite() {
        let value = value.unwrap_or_default();
        return Err(wrong(format!("row {}: column '{name}' is {value}, which is no finite number of 32 bits", row + 1))
            .with_hint("NULL stands for what is not known"));
    }
    Ok(number)
}
