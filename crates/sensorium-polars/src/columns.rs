//! Columns of Polars as columns of Arrow and back, through the C data interface: buffers are handed over, not copied.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use polars::prelude::{ArrowField, Column, CompatLevel, DataFrame, PlSmallStr, PolarsError, Series};
use polars_arrow::ffi;
use sensorium_engine::import_array;

/// What Polars says went wrong.
pub(crate) fn from_polars(error: PolarsError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn from_arrow(error: ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(error), None)
}

/// The chunks of a frame as batches, with their schema, which has Polars' own notes on enumerations and categories.
///
/// # Errors
/// When a column has a type that Arrow lacks, such as a number of 128 bits.
pub fn to_batches(frame: &DataFrame) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let schema = schema_of(frame)?;
    let mut aligned = frame.clone();
    aligned.align_chunks();
    if frame.width() == 0 {
        let options = RecordBatchOptions::new().with_row_count(Some(frame.height()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), Vec::new(), &options).map_err(from_arrow)?;
        return Ok((schema, vec![batch]));
    }
    let chunks = aligned.first_col_n_chunks();
    let batch = |chunk: usize| {
        let column = |(place, column): (usize, &Column)| export(column, chunk, schema.field(place));
        let columns = aligned.columns().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&schema), columns).map_err(from_arrow)
    };
    let batches = (0..chunks).map(batch).collect::<Result<_>>()?;
    Ok((schema, batches))
}

/// The columns of a frame as Arrow has them.
pub(crate) fn schema_of(frame: &DataFrame) -> Result<SchemaRef> {
    let fields = frame.columns().iter().map(|column| field(&column.field().to_arrow(CompatLevel::newest())));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

fn field(field: &ArrowField) -> Result<Field> {
    let schema = exported_schema(ffi::export_field_to_c(field));
    match Field::try_from(&schema) {
        Ok(field) => Ok(field),
        Err(error) => plan_err!("column '{}': {error}\n\nhint: cast it to a type that Arrow has, or leave it out", field.name),
    }
}

fn export(column: &Column, chunk: usize, field: &Field) -> Result<ArrayRef> {
    let array = column.as_materialized_series().to_arrow(chunk, CompatLevel::newest());
    let array = exported_array(ffi::export_array_to_c(array));
    // SAFETY: Polars has exported it, with this field.
    #[expect(unsafe_code, reason = "the C data interface")]
    let imported = unsafe { import_array(array, field.data_type().clone()) };
    imported.map_err(from_arrow)
}

/// A batch as a frame.
///
/// # Errors
/// When a column has a type that Polars lacks.
pub fn from_batch(batch: &RecordBatch) -> Result<DataFrame> {
    from_batches(&batch.schema(), std::slice::from_ref(batch))
}

/// Batches of one schema as a frame, whose chunks they become.
///
/// # Errors
/// When a column has a type that Polars lacks.
pub fn from_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<DataFrame> {
    let series = |(place, own): (usize, &Arc<Field>)| {
        let own_schema = FFI_ArrowSchema::try_from(own.as_ref()).map_err(from_arrow)?;
        let imported = imported_schema(own_schema);
        // SAFETY: arrow has exported it.
        #[expect(unsafe_code, reason = "the C data interface")]
        let field = unsafe { ffi::import_field_from_c(&imported) }.map_err(from_polars)?;
        let chunk = |array: &ArrayRef| {
            let array = imported_array(FFI_ArrowArray::new(&array.to_data()));
            // SAFETY: as above, with this type.
            #[expect(unsafe_code, reason = "the C data interface")]
            let chunk = unsafe { ffi::import_array_from_c(array, field.dtype.clone()) };
            chunk.map_err(from_polars)
        };
        let mut chunks = batches.iter().map(|batch| chunk(batch.column(place))).collect::<Result<Vec<_>>>()?;
        if chunks.is_empty() {
            chunks.push(polars_arrow::array::new_empty_array(field.dtype.clone()));
        }
        let series = Series::try_from((&field, chunks)).map_err(from_polars)?;
        Ok(Column::from(series.with_name(PlSmallStr::from_str(own.name()))))
    };
    let columns = schema.fields().iter().enumerate().map(series).collect::<Result<Vec<_>>>()?;
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    DataFrame::new(rows, columns).map_err(from_polars)
}

// Both libraries describe the same structures of C (https://arrow.apache.org/docs/format/CDataInterface.html), which own what they point
// to, so that each is moved.

#[expect(unsafe_code, reason = "one structure of C under two names")]
fn exported_schema(schema: ffi::ArrowSchema) -> FFI_ArrowSchema {
    // SAFETY: as said above.
    unsafe { std::mem::transmute(schema) }
}

#[expect(unsafe_code, reason = "one structure of C under two names")]
fn exported_array(array: ffi::ArrowArray) -> FFI_ArrowArray {
    // SAFETY: as said above.
    unsafe { std::mem::transmute(array) }
}

#[expect(unsafe_code, reason = "one structure of C under two names")]
fn imported_schema(schema: FFI_ArrowSchema) -> ffi::ArrowSchema {
    // SAFETY: as said above.
    unsafe { std::mem::transmute(schema) }
}

#[expect(unsafe_code, reason = "one structure of C under two names")]
fn imported_array(array: FFI_ArrowArray) -> ffi::ArrowArray {
    // SAFETY: as said above.
    unsafe { std::mem::transmute(array) }
}
