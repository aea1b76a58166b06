//! `mm_write`: media as files, and where they are.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sensorium_inference::{Answer, Cancel, Failure, MediaAccess, Step, write_files};

use crate::call::{NumberedFrom, Policy, settle};
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "Writes media, such as pictures that a model has drawn, as files under a folder or a URL of an object store, and returns the path or URI of each. A file is called after the SHA-256 of its content and after its kind (png, jpg, gif, webp, bmp, tiff, wav, flac, or else bin), so that writing again changes nothing, and it is there as a whole or not at all. The place is one that the session may read, mm.allowed_roots. NULL where the media are.",
        "mm_write(media, prefix)",
    )
    .with_argument("media", "Encoded bytes")
    .with_argument("prefix", "A folder or a URL, the same for all rows")
    .with_sql_example("COPY (SELECT sku, mm_write(mm_generate_image('sd', description, {seed: 7}), 's3://shop/pictures') AS picture FROM products) TO 'catalogue.parquet'")
    .build()
});

const NAME: &str = "mm_write";

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    let signature = Signature::variadic_any(Volatility::Volatile);
    ScalarUDF::new_from_impl(Write { engine: Arc::clone(engine), signature })
}

#[derive(Debug)]
struct Write {
    engine: Arc<Engine>,
    signature: Signature,
}

impl PartialEq for Write {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine)
    }
}

impl Eq for Write {}

impl Hash for Write {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NAME.hash(state);
    }
}

impl ScalarUDFImpl for Write {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let is_bytes = |data_type: &DataType| {
            matches!(
                data_type,
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) | DataType::Null
            )
        };
        match arguments {
            [media, prefix] if is_bytes(media) && prefix.is_string() => Ok(DataType::Utf8),
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
        let media = cast(&media.to_array(if is_scalar { 1 } else { args.number_rows })?, &DataType::Binary)?;
        let settings = MmSettings::of(&args.config_options);
        let access = MediaAccess { allowed_roots: settings.allowed_roots.clone(), ..MediaAccess::default() };
        let written =
            write_files(media.as_binary::<i32>(), prefix, &access, &settings.limits, &Cancel::default()).map_err(to_datafusion)?;
        let (mut uris, mut failures) = (Vec::with_capacity(written.len()), Vec::new());
        for (row, written) in written.into_iter().enumerate() {
            let failure = |error| failures.push(Failure { row, uri: None, step: Step::Write, error });
            uris.push(written.and_then(|written| written.map_err(failure).ok()));
        }
        let uris: ArrayRef = Arc::new(uris.into_iter().collect::<StringArray>());
        let answer = Answer::new(uris, failures);
        let values = settle(&self.engine, NAME, None, answer, Policy::Setting, &settings, &NumberedFrom(0))?;
        let values = values.whole().map_err(to_datafusion)?;
        if is_scalar { ScalarValue::try_from_array(&values, 0).map(ColumnarValue::Scalar) } else { Ok(ColumnarValue::Array(values)) }
    }
}
