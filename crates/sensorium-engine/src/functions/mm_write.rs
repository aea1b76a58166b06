//! `mm_write`: media as files, and where they are.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sensorium_inference::{Cancel, write_files};

use crate::errors::to_datafusion;
use crate::settings::MmSettings;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Writes media, such as pictures that a model has drawn, as files under a folder or a URL of an object store, and returns the path or URI of each. A file is called after the SHA-256 of its content and after its kind (png, jpg, gif, webp, bmp, tiff, wav, flac, or else bin), so that one that is there stays as it is, and it appears as a whole or not at all. mm.write_roots says where files may be written, and allows no place by itself; a place that cannot be written to ends the query, whatever mm.on_error says. Nothing is written for a column that nobody reads. NULL where the media are.",
        "mm_write(media, prefix)",
    )
    .with_argument("media", "Encoded bytes")
    .with_argument("prefix", "A folder or a URL, the same for all rows")
    .with_sql_example("COPY (SELECT sku, mm_write(mm_generate_image('sd', description, {seed: 7}), 's3://shop/pictures') AS picture FROM products) TO 'catalogue.parquet'")
    .build()
});

pub(super) fn function() -> ScalarUDF {
    // The same file for the same bytes, however often.
    ScalarUDF::new_from_impl(Write { signature: Signature::variadic_any(Volatility::Stable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Write {
    signature: Signature,
}

fn are_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) | DataType::Null)
}

impl ScalarUDFImpl for Write {
    fn name(&self) -> &'static str {
        "mm_write"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [media, prefix] if are_bytes(media) && prefix.is_string() => Ok(DataType::Utf8),
            _ => plan_err!("mm_write takes the bytes of media and where to write them: mm_write(picture, 'pictures/')"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [media, ColumnarValue::Scalar(prefix)] = args.args.as_slice() else {
            return plan_err!("mm_write: the prefix is one for all rows: mm_write(picture, 'pictures/')");
        };
        let Some(prefix) = prefix.try_as_str().flatten() else {
            return plan_err!("mm_write: the prefix is NULL");
        };
        let is_scalar = matches!(media, ColumnarValue::Scalar(_));
        let media = media.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let settings = MmSettings::of(&args.config_options);
        let uris = write_files(&media, prefix, &settings.write_roots, &settings.limits, &Cancel::default()).map_err(to_datafusion)?;
        let values: ArrayRef = Arc::new(uris.into_iter().collect::<StringArray>());
        if is_scalar { ScalarValue::try_from_array(&values, 0).map(ColumnarValue::Scalar) } else { Ok(ColumnarValue::Array(values)) }
    }
}
