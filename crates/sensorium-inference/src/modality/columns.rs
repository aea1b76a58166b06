//! Arrow columns of any encoding, brought to the one type that their input needs.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, LargeBinaryArray, LargeListArray, LargeStringArray, PrimitiveArray,
    StringArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use super::json::json_of;
use super::row_wise::row_wise;
use super::series::{is_series, series};
use crate::error::{Error, Kind, Result};
use crate::execute::{Failure, Limits, Step};
use crate::package::{Channels, Element, Input, Missing, Modality, SeriesSpec};

/// The values of one input, one per row.
#[derive(Debug)]
pub(crate) struct Column {
    /// Values in the type of [`element_type`], `Utf8` or `LargeBinary`, conversations as JSON in `LargeUtf8`; vectors are flattened to `rows * width`, windows of
    /// measurements are lists of `steps * channels` double-precision numbers.
    pub(crate) values: ArrayRef,
    /// Which rows have a value; `None` where all have.
    present: Option<NullBuffer>,
    /// Where a row's values begin and end among `values`, where it may have several.
    lists: Option<OffsetBuffer<i64>>,
}

impl Column {
    /// One value a row.
    fn of(values: ArrayRef, present: Option<NullBuffer>) -> Self {
        Self { values, present, lists: None }
    }

    /// Whether the row has a value.
    pub(crate) fn is_present(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|present| present.is_valid(row))
    }

    /// The places of a row's values: one, but for lists.
    pub(crate) fn places(&self, row: usize) -> Range<usize> {
        match &self.lists {
            None => row..row + 1,
            Some(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        }
    }

    /// Whether a row may have several values.
    pub(crate) fn is_list(&self) -> bool {
        self.lists.is_some()
    }

    /// Whether there is a value at one of [`Self::places`].
    pub(crate) fn is_at(&self, place: usize) -> bool {
        self.values.is_valid(place) && (self.lists.is_some() || self.is_present(place))
    }

    /// Which rows have a value; `None` where all have.
    pub(crate) fn presence(&self) -> Option<&NullBuffer> {
        self.present.as_ref()
    }
}

/// The Arrow type that a graph's element type is filled from.
pub(crate) fn element_type(element: Element) -> DataType {
    match element {
        Element::Float16 | Element::Float32 => DataType::Float32,
        Element::Float64 => DataType::Float64,
        Element::Int8 => DataType::Int8,
        Element::Int32 => DataType::Int32,
        Element::Int64 => DataType::Int64,
        Element::Uint8 => DataType::UInt8,
        Element::Bool => DataType::Boolean,
        Element::String | Element::ZipMap => DataType::Utf8,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// A list of messages.
fn is_conversation(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            matches!(item.data_type(), DataType::Struct(fields) if fields.find("role").is_some())
        }
        _ => false,
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, values) => is_bytes(values),
        _ => false,
    }
}

fn is_medium(data_type: &DataType) -> bool {
    is_text(data_type) || is_bytes(data_type)
}

pub(crate) fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

/// A list of media; one of nothing is a list of none.
fn is_list_of_media(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_medium(item.data_type()) || item.data_type().is_null()
        }
        _ => false,
    }
}

/// The values of all lists one behind the other, and where those of each row begin and end; a row without a list has none.
pub(crate) fn flat(lists: &ArrayRef) -> Result<(ArrayRef, OffsetBuffer<i64>)> {
    let item = match lists.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type().clone(),
        _ => return Err(Error::new(Kind::Argument, "not a list")),
    };
    let lists = cast(lists, &DataType::LargeList(Arc::new(Field::new_list_field(item, true))))?;
    let lists = lists.as_list::<i64>();
    let length = |row: usize| if lists.is_null(row) { 0 } else { lists.value_length(row) as usize };
    let offsets = OffsetBuffer::from_lengths((0..lists.len()).map(length));
    let parts: Vec<ArrayRef> = (0..lists.len()).filter(|row| length(*row) > 0).map(|row| lists.value(row)).collect();
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values =
        if parts.is_empty() { lists.values().slice(0, 0) } else { arrow::compute::concat(&parts).map_err(|error| internal(&error))? };
    Ok((values, offsets))
}

fn is_number(data_type: &DataType, element: Element) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_number(values, element),
        DataType::Boolean => true,
        _ if element == Element::Bool => false,
        _ if data_type.is_integer() => true,
        _ => element.is_float() && (data_type.is_floating() || data_type.is_decimal()),
    }
}

/// Whether a column of `data_type` can be passed to `input`; the error says what can.
///
/// # Errors
/// [`Kind::Argument`].
pub fn input_accepts(input: &Input, data_type: &DataType) -> Result<()> {
    let refuse = |hint: &str| {
        Err(Error::new(Kind::Argument, format!("input '{}' takes {}, got {data_type}", input.name, input.modality.article()))
            .with_hint(hint))
    };
    if data_type.is_null() {
        return Ok(());
    }
    match &input.modality {
        Modality::Number { element, .. } if is_number(data_type, *element) => Ok(()),
        Modality::Number { element, .. } if element.is_float() => refuse("a column of numbers; CAST text to a number where it holds one"),
        Modality::Number { element: Element::Bool, .. } => refuse("a column of truth values"),
        Modality::Number { .. } => refuse("a column of integers; round and CAST(.. AS BIGINT) where that is meant"),
        Modality::Prompt if is_conversation(data_type) => Ok(()),
        Modality::Category { .. } | Modality::Text(_) | Modality::Prompt if is_text(data_type) => Ok(()),
        Modality::Category { .. } | Modality::Text(_) | Modality::Prompt => {
            refuse("a column of text; CAST(.. AS VARCHAR) where that is meant")
        }
        modality if modality.is_media() && is_medium(data_type) => Ok(()),
        modality if modality.is_media() && input.list && is_list_of_media(data_type) => Ok(()),
        _ if input.list => refuse("a column of URIs, of encoded media as bytes, or of lists of them"),
        Modality::Image(_) => refuse("a column of URIs, or of encoded pictures as bytes"),
        Modality::Audio(_) => refuse("a column of URIs, or of encoded sound as bytes"),
        Modality::Document => refuse("a column of URIs, or of pictures or documents as bytes"),
        Modality::Video(_) => refuse("a column of URIs, or of encoded videos as bytes"),
        Modality::Series(spec) if is_series(data_type, spec) => Ok(()),
        Modality::Series(spec) => refuse(&series_hint(spec)),
        Modality::Vector { width, element } => match data_type {
            DataType::FixedSizeList(item, length)
                if is_number(item.data_type(), *element) && usize::try_from(*length).is_ok_and(|length| length == *width) =>
            {
                Ok(())
            }
            DataType::List(item) | DataType::LargeList(item) if is_number(item.data_type(), *element) => Ok(()),
            _ => refuse(&format!("a list column with {width} numbers a row")),
        },
    }
}

fn series_hint(spec: &SeriesSpec) -> String {
    match &spec.channels {
        Channels::Count(1) => "a list of numbers, one a step: array_agg(x ORDER BY time)".into(),
        Channels::Count(channels) => format!("a list of lists, {channels} numbers a step: array_agg([x, y] ORDER BY time)"),
        Channels::Names(names) => {
            let fields: Vec<String> = names.iter().map(|name| format!("{name}: {name}")).collect();
            format!("a list of structs, one a step: array_agg({{{}}} ORDER BY time)", fields.join(", "))
        }
    }
}

/// Brings the argument of `input` to its type. `arguments` is empty for an absent optional input, one array, or for a
/// vector as many number columns as it is wide. Rows that cannot be used become failures.
pub(crate) fn prepare(input: &Input, arguments: &[ArrayRef], rows: usize, limits: &Limits, failures: &mut Vec<Failure>) -> Result<Column> {
    if let (Modality::Vector { width, element }, true) = (&input.modality, arguments.len() > 1) {
        return side_by_side(input, arguments, *width, *element, rows, failures);
    }
    let array = match arguments {
        [] => new_null_array(&DataType::Null, rows),
        [array] => Arc::clone(array),
        _ => return Err(Error::new(Kind::Argument, format!("input '{}' takes one column", input.name))),
    };
    input_accepts(input, array.data_type())?;
    match &input.modality {
        Modality::Number { element, missing } => number(input, &array, *element, missing.as_ref(), failures),
        Modality::Category { missing } => category(&array, missing.as_ref()),
        Modality::Prompt if is_conversation(array.data_type()) => conversations(&array),
        Modality::Text(_) | Modality::Prompt => strings(&array),
        _ if is_list_of_media(array.data_type()) => {
            let (values, lists) = flat(&array)?;
            let values = media(&values)?.values;
            Ok(Column { values, present: presence(&array), lists: Some(lists) })
        }
        Modality::Image(_) | Modality::Audio(_) | Modality::Video(_) | Modality::Document => media(&array),
        Modality::Vector { width, element } => vector(input, &array, *width, *element, failures),
        Modality::Series(spec) => {
            let (values, wrong) = series(&array, spec, limits.max_series_steps)?;
            failures.extend(wrong.into_iter().map(|(row, error)| Failure { row, uri: None, step: Step::Input, error }));
            Ok(Column::of(values, presence(&array)))
        }
    }
}

/// Bytes, or else URIs.
fn media(array: &ArrayRef) -> Result<Column> {
    if is_bytes(array.data_type()) { binary(array) } else { strings(array) }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let floats = match to {
        DataType::Float32 => to_f32(array),
        DataType::Float64 => to_f64(array),
        _ => None,
    };
    if let Some(floats) = floats {
        return Ok(floats);
    }
    let options = CastOptions { safe: true, ..Default::default() };
    cast_with_options(array, to, &options)
        .map_err(|error| Error::new(Kind::Argument, format!("cannot convert {} to {to}: {error}", array.data_type())))
}

/// Numbers to floats, as [`cast`] does it but without looking for values that do not fit, of which there are none.
macro_rules! to_floats {
    ($name:ident, $arrow:ty, $float:ty) => {
        fn $name(array: &ArrayRef) -> Option<ArrayRef> {
            macro_rules! convert {
                ($from:ty) => {
                    Some(Arc::new(array.as_primitive::<$from>().unary::<_, $arrow>(|value| value as $float)))
                };
            }
            match array.data_type() {
                DataType::Int8 => convert!(Int8Type),
                DataType::Int16 => convert!(Int16Type),
                DataType::Int32 => convert!(Int32Type),
                DataType::Int64 => convert!(Int64Type),
                DataType::UInt8 => convert!(UInt8Type),
                DataType::UInt16 => convert!(UInt16Type),
                DataType::UInt32 => convert!(UInt32Type),
                DataType::UInt64 => convert!(UInt64Type),
                DataType::Float32 => convert!(Float32Type),
                DataType::Float64 => convert!(Float64Type),
                _ => None,
            }
        }
    };
}

to_floats!(to_f32, Float32Type, f32);
to_floats!(to_f64, Float64Type, f64);

fn presence(array: &dyn Array) -> Option<NullBuffer> {
    array.logical_nulls().filter(|nulls| nulls.null_count() > 0)
}

fn number(input: &Input, array: &ArrayRef, element: Element, missing: Option<&Missing>, failures: &mut Vec<Failure>) -> Result<Column> {
    let to = element_type(element);
    let present = presence(array);
    let values = cast(array, &to)?;
    let is_lost = |row: &usize| values.is_null(*row) && present.as_ref().is_none_or(|present| present.is_valid(*row));
    let lost: Vec<usize> = if values.null_count() == 0 { Vec::new() } else { (0..values.len()).filter(is_lost).collect() };
    for row in lost {
        let error = Error::new(Kind::Media, format!("input '{}': the value does not fit into {element}", input.name));
        failures.push(Failure { row, uri: None, step: Step::Input, error });
    }
    let stand_in = match missing {
        Some(Missing::Number(value)) => *value,
        Some(Missing::Text(_)) => f64::NAN,
        None => 0.0,
    };
    Ok(Column::of(fill(&values, stand_in)?, present))
}

/// `array` with NULLs replaced.
fn fill(array: &ArrayRef, stand_in: f64) -> Result<ArrayRef> {
    if array.null_count() == 0 {
        return Ok(Arc::clone(array));
    }
    let value = PrimitiveArray::<Float64Type>::from(vec![stand_in]);
    let value = cast(&(Arc::new(value) as ArrayRef), array.data_type())?;
    let keep = arrow::compute::is_not_null(array).map_err(|error| internal(&error))?;
    arrow::compute::kernels::zip::zip(&keep, array, &arrow::array::Scalar::new(value)).map_err(|error| internal(&error))
}

fn internal(error: &ArrowError) -> Error {
    Error::new(Kind::Argument, format!("cannot read the column: {error}"))
}

fn category(array: &ArrayRef, missing: Option<&Missing>) -> Result<Column> {
    let column = strings(array)?;
    let Some(Missing::Text(stand_in)) = missing else { return Ok(column) };
    let filled: StringArray = column.values.as_string::<i32>().iter().map(|value| Some(value.unwrap_or(stand_in))).collect();
    Ok(Column::of(Arc::new(filled), column.present))
}

fn strings(array: &ArrayRef) -> Result<Column> {
    let values = cast(array, &DataType::Utf8)?;
    let present = presence(&values);
    Ok(Column::of(values, present))
}

/// Each list of messages as JSON, told from plain texts by its type.
fn conversations(array: &ArrayRef) -> Result<Column> {
    let present = presence(array);
    let one = |row: usize| if array.is_null(row) { Ok("[]".to_string()) } else { json_of(array, row) };
    let values: LargeStringArray = (0..array.len()).map(|row| one(row).map(Some)).collect::<Result<_>>()?;
    Ok(Column::of(Arc::new(values), present))
}

fn binary(array: &ArrayRef) -> Result<Column> {
    // FixedSizeBinary has no direct cast to LargeBinary.
    let array = match array.data_type() {
        DataType::FixedSizeBinary(_) => Arc::new(array.as_fixed_size_binary().iter().collect::<LargeBinaryArray>()) as ArrayRef,
        _ => cast(array, &DataType::LargeBinary)?,
    };
    let present = presence(&array);
    Ok(Column::of(array, present))
}

fn vector(input: &Input, array: &ArrayRef, width: usize, element: Element, failures: &mut Vec<Failure>) -> Result<Column> {
    let rows = array.len();
    let present = presence(array);
    if array.data_type().is_null() {
        return Ok(Column::of(zeros(element, rows * width)?, present));
    }
    let to = element_type(element);
    if let Some(whole) = array.as_fixed_size_list_opt().filter(|list| list.null_count() == 0) {
        let values = cast(&fixed_values(whole), &to)?;
        if values.null_count() == 0 {
            return Ok(Column::of(values, present));
        }
    }
    let item = Field::new_list_field(to.clone(), true);
    let lists = cast(array, &DataType::LargeList(Arc::new(item)))?;
    flatten(input, lists.as_list::<i64>(), width, element, present, failures)
}

fn fixed_values(list: &FixedSizeListArray) -> ArrayRef {
    let width = usize::try_from(list.value_length()).unwrap_or(0);
    list.values().slice(list.value_offset(0) as usize, list.len() * width)
}

/// The slow path: rows that are NULL, of another length, or with NULLs inside are filled with zeros and, but for the
/// first, reported.
fn flatten(
    input: &Input,
    lists: &LargeListArray,
    width: usize,
    element: Element,
    present: Option<NullBuffer>,
    failures: &mut Vec<Failure>,
) -> Result<Column> {
    let empty = zeros(element, width)?;
    let mut parts = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        let value = lists.value(row);
        let is_present = present.as_ref().is_none_or(|present| present.is_valid(row));
        let usable = is_present && value.len() == width && value.null_count() == 0;
        if is_present && !usable {
            let why = if value.len() == width {
                "a NULL inside the list".into()
            } else {
                format!("a list of {} numbers, expected {width}", value.len())
            };
            let error = Error::new(Kind::Media, format!("input '{}': {why}", input.name));
            failures.push(Failure { row, uri: None, step: Step::Input, error });
        }
        parts.push(if usable { value } else { Arc::clone(&empty) });
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = if parts.is_empty() { zeros(element, 0)? } else { arrow::compute::concat(&parts).map_err(|error| internal(&error))? };
    Ok(Column::of(values, present))
}

fn zeros(element: Element, count: usize) -> Result<ArrayRef> {
    fill(&new_null_array(&element_type(element), count), 0.0)
}

/// A vector given as one number column for each of its places.
fn side_by_side(
    input: &Input,
    arguments: &[ArrayRef],
    width: usize,
    element: Element,
    rows: usize,
    failures: &mut Vec<Failure>,
) -> Result<Column> {
    if arguments.len() != width {
        return Err(Error::new(Kind::Argument, format!("input '{}' takes {width} numbers, got {}", input.name, arguments.len())));
    }
    let mut present = None;
    let mut columns = Vec::with_capacity(width);
    for array in arguments {
        let column = number(input, array, element, None, failures)?;
        present = NullBuffer::union(present.as_ref(), column.present.as_ref());
        columns.push(column.values);
    }
    Ok(Column::of(row_by_row(&columns, rows)?, present))
}

/// The values of all columns, those of one row side by side.
fn row_by_row(columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let width = columns.len();
    macro_rules! turn {
        ($arrow:ty) => {{
            let sources: Vec<&[<$arrow as ArrowPrimitiveType>::Native]> =
                columns.iter().map(|column| &column.as_primitive::<$arrow>().values()[..]).collect();
            let mut values = vec![Default::default(); rows * width];
            row_wise(&sources, &mut values);
            Ok(Arc::new(PrimitiveArray::<$arrow>::new(values.into(), None)) as ArrayRef)
        }};
    }
    match columns.first().map(|column| column.data_type()) {
        Some(DataType::Float32) => turn!(Float32Type),
        Some(DataType::Float64) => turn!(Float64Type),
        Some(DataType::Int64) => turn!(Int64Type),
        _ => {
            let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
            let order: Vec<(usize, usize)> = (0..rows).flat_map(|row| (0..width).map(move |place| (place, row))).collect();
            arrow::compute::interleave(&columns, &order).map_err(|error| internal(&error))
        }
    }
}
