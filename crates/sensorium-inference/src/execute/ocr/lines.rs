//! Lines of text as a column: `[{text, score, page, box: [{x, y}]}]`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};

use super::rectangle::Corner;
use crate::error::{Error, Kind, Result};

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) score: f32,
    /// Counted from 1.
    pub(super) page: usize,
    /// From the upper left one clockwise, in pixels of the picture.
    pub(super) corners: [Corner; 4],
}

fn corner_fields() -> Fields {
    Fields::from(vec![Field::new("x", DataType::Float32, true), Field::new("y", DataType::Float32, true)])
}

fn list_of(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Struct(fields), true)))
}

fn line_fields() -> Fields {
    Fields::from(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("score", DataType::Float32, true),
        Field::new("page", DataType::Int32, true),
        Field::new("box", list_of(corner_fields()), true),
    ])
}

/// The type of the result.
pub(in crate::execute) fn lines_type() -> DataType {
    list_of(line_fields())
}

fn list(
    data_type: &DataType,
    lengths: impl IntoIterator<Item = usize>,
    items: StructArray,
    nulls: Option<NullBuffer>,
) -> Result<ListArray> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Model, format!("the lines cannot be returned: {error}"));
    let DataType::List(item) = data_type else { return Err(Error::new(Kind::Model, "lines are not a list")) };
    ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), Arc::new(items), nulls).map_err(failed)
}

/// The result column; a row without an answer is NULL, one without text an empty list.
pub(super) fn assemble(rows: &[Option<Vec<Line>>]) -> Result<ArrayRef> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Model, format!("the lines cannot be returned: {error}"));
    let lines: Vec<&Line> = rows.iter().flatten().flatten().collect();
    let place = |axis: usize| -> ArrayRef {
        Arc::new(lines.iter().flat_map(|line| line.corners).map(|corner| corner[axis] as f32).collect::<Float32Array>())
    };
    let corners = StructArray::try_new(corner_fields(), vec![place(0), place(1)], None).map_err(failed)?;
    let boxes = list(&list_of(corner_fields()), lines.iter().map(|line| line.corners.len()), corners, None)?;
    let texts: StringArray = lines.iter().map(|line| Some(line.text.as_str())).collect();
    let scores: Float32Array = lines.iter().map(|line| line.score).collect();
    let pages: Int32Array = lines.iter().map(|line| i32::try_from(line.page).unwrap_or(i32::MAX)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(scores), Arc::new(pages), Arc::new(boxes)];
    let items = StructArray::try_new(line_fields(), columns, None).map_err(failed)?;
    let is_there: Vec<bool> = rows.iter().map(Option::is_some).collect();
    let nulls = is_there.contains(&false).then(|| NullBuffer::from(is_there));
    Ok(Arc::new(list(&lines_type(), rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)), items, nulls)?))
}
