//! Columns that come over Arrow's C data interface (<https://arrow.apache.org/docs/format/CDataInterface.html>), as they lie in memory.

use std::ffi::CStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, RecordBatchReader, make_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow::ffi_stream::FFI_ArrowArrayStream;

type Result<T> = std::result::Result<T, ArrowError>;

/// An array of the type `data_type`.
///
/// Arrays of nulls have no buffers by the specification, and one of Polars has an empty one, which arrow would refuse.
///
/// # Errors
/// When it is not laid out as its type wants it.
///
/// # Safety
/// `array` is what the interface says, and of that type.
#[expect(unsafe_code, reason = "memory of another library, which only its own word describes")]
pub unsafe fn import_array(mut array: FFI_ArrowArray, data_type: DataType) -> Result<ArrayRef> {
    // SAFETY: the caller's.
    let data = unsafe {
        drop_buffers_of_nulls(&mut array, &data_type)?;
        from_ffi_and_data_type(array, data_type)?
    };
    Ok(make_array(data))
}

/// Sees to it that arrays of nulls have no buffers, and that there are as many arrays as the type has parts.
#[expect(unsafe_code, reason = "pointers of the C data interface")]
unsafe fn drop_buffers_of_nulls(array: &mut FFI_ArrowArray, data_type: &DataType) -> Result<()> {
    let parts = children(data_type);
    let found = usize::try_from(array.n_children).unwrap_or(0);
    if found != parts.len() || (found > 0 && array.children.is_null()) {
        return Err(ArrowError::CDataInterface(format!("{found} arrays for the {} parts of {data_type}", parts.len())));
    }
    if *data_type == DataType::Null {
        // What it points to belongs to whoever releases the array, and does not go by this number.
        array.n_buffers = 0;
    }
    for (index, field) in parts.into_iter().enumerate() {
        // SAFETY: there are `n_children` pointers to arrays of the types of the fields.
        match unsafe { (*array.children.add(index)).as_mut() } {
            // SAFETY: as above.
            Some(child) => unsafe { drop_buffers_of_nulls(child, field.data_type())? },
            None => return Err(ArrowError::CDataInterface(format!("no array for '{}'", field.name()))),
        }
    }
    if let DataType::Dictionary(_, values) = data_type
        && !array.dictionary.is_null()
    {
        // SAFETY: it points to an array of the type of the values.
        unsafe { drop_buffers_of_nulls(&mut *array.dictionary, values)? };
    }
    Ok(())
}

fn children(data_type: &DataType) -> Vec<&Field> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::Map(field, _) => vec![field],
        DataType::Struct(fields) => fields.iter().map(AsRef::as_ref).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.as_ref()).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends, values],
        _ => Vec::new(),
    }
}

/// Batches of a stream.
#[derive(Debug)]
pub struct ImportedStream {
    stream: FFI_ArrowArrayStream,
    schema: SchemaRef,
}

impl ImportedStream {
    /// Begins to read `stream`.
    ///
    /// # Errors
    /// When it has been read, gives no schema, or gives one with types that are not known here.
    ///
    /// # Safety
    /// `stream` is what the interface says.
    #[expect(unsafe_code, reason = "functions of another library")]
    pub unsafe fn try_new(mut stream: FFI_ArrowArrayStream) -> Result<Self> {
        let Some(get_schema) = stream.get_schema.filter(|_| stream.release.is_some()) else {
            return Err(ArrowError::CDataInterface("the stream has been read".into()));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the caller's, and `schema` may be written to.
        let code = unsafe { get_schema(&raw mut stream, &raw mut schema) };
        if code != 0 {
            return Err(last_error(&mut stream, code));
        }
        let schema = Arc::new(Schema::try_from(&schema)?);
        Ok(Self { stream, schema })
    }

    #[expect(unsafe_code, reason = "functions of another library")]
    fn read(&mut self) -> Result<Option<RecordBatch>> {
        let Some(get_next) = self.stream.get_next else { return Ok(None) };
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: whoever made this has said so, and `array` may be written to.
        let code = unsafe { get_next(&raw mut self.stream, &raw mut array) };
        if code != 0 {
            return Err(last_error(&mut self.stream, code));
        }
        if array.is_released() {
            return Ok(None);
        }
        // SAFETY: batches have the schema of their stream.
        let rows = unsafe { import_array(array, DataType::Struct(self.schema.fields().clone()))? };
        if rows.null_count() > 0 {
            return Err(ArrowError::CDataInterface(format!(
                "{} rows are null as a whole, which rows of a table cannot be",
                rows.null_count()
            )));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = rows.as_struct().columns().to_vec();
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map(Some)
    }
}

/// What the stream says of its failure.
#[expect(unsafe_code, reason = "functions of another library")]
fn last_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> ArrowError {
    let text = stream.get_last_error.and_then(|get| {
        // SAFETY: the text, if there is one, lives until the stream is used again.
        let text = unsafe { get(&raw mut *stream) };
        // SAFETY: as above, and it ends with a zero.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    });
    ArrowError::CDataInterface(text.unwrap_or_else(|| format!("the stream failed with code {code}")))
}

impl Iterator for ImportedStream {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl RecordBatchReader for ImportedStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
