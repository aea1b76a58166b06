//! What was said, as a column: `{text, segments: [{start, end, text}], language}`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, ListArray, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};

use super::segments::Segment;
use crate::error::{Error, Kind, Result};

/// The text of one clip.
#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) segments: Vec<Segment>,
    pub(super) language: Option<String>,
}

fn segment_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", DataType::Float64, true),
        Field::new("end", DataType::Float64, true),
        Field::new("text", DataType::Utf8, true),
    ])
}

/// Fields of the result; `language` is NULL where the model knows one language.
pub(in crate::execute) fn transcript_fields() -> Fields {
    let segment = Arc::new(Field::new_list_field(DataType::Struct(segment_fields()), true));
    Fields::from(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("segments", DataType::List(segment), true),
        Field::new("language", DataType::Utf8, true),
    ])
}

/// The result column; a row without a transcript is NULL.
pub(super) fn assemble(transcripts: &[Option<Transcript>]) -> Result<ArrayRef> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Model, format!("the texts cannot be returned: {error}"));
    let (mut texts, mut languages) = (StringBuilder::new(), StringBuilder::new());
    let (mut starts, mut ends, mut parts) = (Float64Builder::new(), Float64Builder::new(), StringBuilder::new());
    let mut lengths = Vec::with_capacity(transcripts.len());
    for transcript in transcripts {
        let segments = transcript.as_ref().map_or(&[][..], |transcript| &transcript.segments);
        lengths.push(segments.len());
        for segment in segments {
            starts.append_value(segment.start);
            ends.append_value(segment.end);
            parts.append_value(segment.text.trim());
        }
        let whole: String = segments.iter().map(|segment| segment.text.as_str()).collect();
        texts.append_option(transcript.as_ref().map(|_| whole.trim()));
        languages.append_option(transcript.as_ref().and_then(|transcript| transcript.language.as_deref()));
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(starts.finish()), Arc::new(ends.finish()), Arc::new(parts.finish())];
    let items = StructArray::try_new(segment_fields(), columns, None).map_err(failed)?;
    let fields = transcript_fields();
    let DataType::List(item) = fields[1].data_type() else { return Err(Error::new(Kind::Model, "segments are not a list")) };
    let is_there: Vec<bool> = transcripts.iter().map(Option::is_some).collect();
    let nulls = is_there.contains(&false).then(|| NullBuffer::from(is_there));
    let segments =
        ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), Arc::new(items), nulls.clone()).map_err(failed)?;
    let columns: Vec<ArrayRef> = vec![Arc::new(texts.finish()), Arc::new(segments), Arc::new(languages.finish())];
    StructArray::try_new(fields, columns, nulls).map(|array| Arc::new(array) as ArrayRef).map_err(failed)
}
