//! Where a row's result comes from: the model, the bytes that it was given, and what ran it.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, DictionaryArray, Int32Array, ListBuilder, PrimitiveArray, StringArray,
    StringBuilder, StructArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Fields, Float32Type, Float64Type, Int32Type, Int64Type, UInt8Type, UInt64Type,
};
use arrow::error::ArrowError;
use sha2::{Digest as _, Sha256};

use super::digests::{Digest, Digests};
use super::disk_cache::DiskCache;
use super::keys::{Located, files, is_binary, located, objects};
use super::loaded::LoadedModel;
use super::run::{Answer, Request};
use super::workers;
use crate::catalog::ModelVersion;
use crate::error::{Error, Kind, Result};
use crate::modality::{element_type, flat, is_list, split_page};
use crate::package::{Input, Manifest, Modality, hex};

/// Rows whose numbers fit into a core's cache.
const ROWS_OF_A_TASK: usize = 256;

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let constant = |name: &str| {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        Field::new(name, dictionary, true)
    };
    Fields::from(vec![
        constant("model"),
        Field::new("version", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::UInt64)), true),
        constant("sha256"),
        Field::new("input_digest", DataType::Binary, true),
        constant("runtime"),
        constant("provider"),
        constant("precision"),
        constant("run_id"),
    ])
});

/// `{model, version, sha256, input_digest, runtime, provider, precision, run_id}`; all but the digest are dictionaries of one value.
pub fn receipt_type() -> DataType {
    DataType::Struct(FIELDS.clone())
}

/// The texts `input uri sha256` of a row's media, which tell what its digest was made of.
pub fn media_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// The receipts of the rows of `request`; NULL where a required input is, and so no model runs.
///
/// `input_digest` is the SHA-256 over all inputs of the model in the order of its manifest, and of each its columns in the order of the
/// call, each value as one byte for its kind and then, numbers being little-endian and of the type that the model takes:
///
/// | byte | kind | then |
/// |---|---|---|
/// | `0` | NULL, or an input that the call does not give | for a number that is given in a column of its own, as many zeros as its kind has bits |
/// | `b` | truth value | one byte, 0 or 1 |
/// | `i`, `u` | whole number, signed or not | 64 bits |
/// | `f`, `d` | IEEE 754 number of single or double precision | 32 or 64 bits, NaN as `7fc00000` or `7ff8000000000000` |
/// | `t` | text | length in bytes, 64 bits; UTF-8 |
/// | `m` | medium, by URI or as bytes | SHA-256 of its bytes; where the URI ends in `#page=N`, `p` and N, 64 bits |
/// | `e` | medium that cannot be read | |
/// | `l` | list, of media too, or vector | length, 64 bits; its values |
/// | `s` | struct | number of its fields, 64 bits; their values |
/// | `o` | date, time, decimal and others | length in bytes, 64 bits; the text that arrow's `cast` makes of it |
pub(super) fn receipts(
    model: &LoadedModel,
    version: &ModelVersion,
    request: &Request<'_>,
    digests: &Digests,
    disk: Option<&DiskCache>,
    run: Option<&str>,
) -> Result<Answer> {
    let all = row_digests(request.rows, &input_writers(&model.manifest, request, digests, disk)?)?;
    // Of fields, too: who takes one out of a receipt that is NULL gets NULL.
    let nulls = presence(&model.manifest, request);
    let keys = |is_null: bool| {
        let none = is_null.then(|| NullBuffer::new_null(request.rows));
        Int32Array::new(vec![0; request.rows].into(), NullBuffer::union(nulls.as_ref(), none.as_ref()))
    };
    let constant = |value: Option<String>| -> ArrayRef {
        let keys = keys(value.is_none());
        Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(StringArray::from(vec![value]))))
    };
    let number: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys(false), Arc::new(UInt64Array::from(vec![version.version]))));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(size_of::<Digest>(), request.rows));
    let digests: ArrayRef = Arc::new(BinaryArray::new(offsets, all.into(), nulls.clone()));
    let precision = match model.precision()? {
        "fp32" if !model.is_on_cpu() && request.limits.gpu.tf32 => "tf32",
        precision => precision,
    };
    let columns = vec![
        constant(Some(version.name.clone())),
        number,
        constant(Some(version.sha256.clone())),
        digests,
        constant(Some(model.runtime()?)),
        constant(Some(model.provider().to_string())),
        constant(Some(precision.to_string())),
        constant(run.map(str::to_string)),
    ];
    Ok(Answer::new(Arc::new(StructArray::new(FIELDS.clone(), columns, nulls)), Vec::new()))
}

/// The media of each row, for a person who looks for the one that has changed.
pub(super) fn media(version: &ModelVersion, request: &Request<'_>, digests: &Digests, disk: Option<&DiskCache>) -> Result<Answer> {
    let mut told = Vec::new();
    for media in located(&version.manifest, request) {
        let Some(input) = version.manifest.inputs.get(media.number) else { continue };
        let digests = digests_of(&media.places, request, digests, disk)?;
        told.push((input, media, digests));
    }
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..request.rows {
        for (input, media, digests) in &told {
            for place in media.of_row(row).filter(|place| media.uris.is_valid(*place)) {
                let digest = digests[place].as_ref().map_or_else(|| "cannot be read".to_string(), |digest| hex(digest));
                lists.values().append_value(format!("{} {} {digest}", input.name, media.uris.value(place)));
            }
        }
        lists.append(true);
    }
    Ok(Answer::new(Arc::new(lists.finish()), Vec::new()))
}

/// Room for the values of a common row.
const BYTES_OF_A_ROW: usize = 512;

/// Writes the value of a row.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + Sync + Send + 'a>;

fn unreadable(input: &Input, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Argument, format!("input '{}' cannot be written down: {error}", input.name))
}

fn input_writers<'a>(
    manifest: &'a Manifest,
    request: &'a Request<'_>,
    digests: &Digests,
    disk: Option<&DiskCache>,
) -> Result<Vec<Writer<'a>>> {
    let by_uri = located(manifest, request);
    let mut writers: Vec<Writer<'a>> = Vec::new();
    for (number, (input, columns)) in manifest.inputs.iter().zip(request.inputs).enumerate() {
        let element = match input.modality {
            Modality::Number { element, .. } | Modality::Vector { element, .. } => Some(element_type(element)),
            _ => None,
        };
        if columns.is_empty() {
            writers.push(Writer::Row(Box::new(|_, bytes| bytes.push(b'0'))));
        }
        for column in columns {
            let is_plain =
                |element: &&DataType| !column.data_type().is_nested() && (element.is_numeric() || **element == DataType::Boolean);
            if let Some(element) = element.as_ref().filter(is_plain) {
                if !matches!(writers.last(), Some(Writer::Numbers(_))) {
                    writers.push(Writer::Numbers(Block::default()));
                }
                if let Some(Writer::Numbers(block)) = writers.last_mut() {
                    cast(column, element).and_then(|numbers| block.push(&numbers)).map_err(|error| unreadable(input, &error))?;
                }
                continue;
            }
            let media = by_uri.iter().find(|media| media.number == number);
            let writer = match media {
                Some(media) => Ok(medium_writer(media.uris.clone(), digests_of(&media.places, request, digests, disk)?)),
                None if input.modality.is_media() && is_binary(column.data_type()) => bytes_writer(column),
                None if input.modality.is_media() && is_list(column.data_type()) => bytes_writer(&flat(column)?.0),
                None => value_writer(column, element.as_ref()),
            };
            let writer = writer.map_err(|error| unreadable(input, &error))?;
            let is_several = input.modality.is_media() && is_list(column.data_type());
            writers.push(Writer::Row(if is_several { several(column, flat(column)?.1, writer) } else { writer }));
        }
    }
    Ok(writers)
}

/// What writes the inputs of a row down.
enum Writer<'a> {
    /// Row by row.
    Row(Write<'a>),
    /// Numbers that stand side by side, column by column for some rows at once.
    Numbers(Block),
}

/// Columns of numbers.
#[derive(Default)]
struct Block {
    columns: Vec<Fill>,
    /// Bytes of a row.
    stride: usize,
}

/// Writes the numbers of some rows to their places in rows of `stride` bytes each.
type Fill = Box<dyn Fn(Range<usize>, &mut [u8], usize) + Sync + Send>;

impl Block {
    /// Adds a column of one of the types that models take.
    fn push(&mut self, column: &ArrayRef) -> std::result::Result<(), ArrowError> {
        let single = |value: f32| if value.is_nan() { SINGLE_NAN.to_le_bytes() } else { value.to_le_bytes() };
        match column.data_type() {
            DataType::Float32 => self.add(column.as_primitive::<Float32Type>().clone(), b'f', single),
            DataType::Float64 => self.add(column.as_primitive::<Float64Type>().clone(), b'd', double),
            DataType::Boolean => {
                let numbers = cast(column, &DataType::UInt8)?;
                self.add(numbers.as_primitive::<UInt8Type>().clone(), b'b', u8::to_le_bytes);
            }
            // A whole number fits into a longer one.
            kind if kind.is_unsigned_integer() => {
                self.add(cast(column, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone(), b'u', u64::to_le_bytes);
            }
            _ => self.add(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(), b'i', i64::to_le_bytes),
        }
        Ok(())
    }

    fn add<T: ArrowPrimitiveType, const N: usize>(
        &mut self,
        column: PrimitiveArray<T>,
        tag: u8,
        to_bits: impl Fn(T::Native) -> [u8; N] + Sync + Send + 'static,
    ) {
        let start = self.stride;
        self.stride += N + 1;
        self.columns.push(Box::new(move |rows, bytes, stride| {
            for (row, written) in rows.zip(bytes.chunks_exact_mut(stride)) {
                let written = &mut written[start..=start + N];
                if column.is_null(row) {
                    written.fill(0);
                    written[0] = b'0';
                } else {
                    written[0] = tag;
                    written[1..].copy_from_slice(&to_bits(column.value(row)));
                }
            }
        }));
    }
}

/// The digests of all rows, one behind the other.
fn row_digests(rows: usize, writers: &[Writer<'_>]) -> Result<Vec<u8>> {
    let tiles = workers::map(rows.div_ceil(ROWS_OF_A_TASK), 1, |tile| {
        let range = tile * ROWS_OF_A_TASK..rows.min((tile + 1) * ROWS_OF_A_TASK);
        let block = |writer: &Writer<'_>| match writer {
            Writer::Row(_) => Vec::new(),
            Writer::Numbers(block) => {
                let mut bytes = vec![0; block.stride * range.len()];
                block.columns.iter().for_each(|fill| fill(range.clone(), &mut bytes, block.stride));
                bytes
            }
        };
        let blocks: Vec<Vec<u8>> = writers.iter().map(block).collect();
        let mut digests = Vec::with_capacity(range.len() * size_of::<Digest>());
        let mut bytes = Vec::with_capacity(BYTES_OF_A_ROW);
        for (place, row) in range.enumerate() {
            bytes.clear();
            for (writer, block) in writers.iter().zip(&blocks) {
                match writer {
                    Writer::Row(write) => write(row, &mut bytes),
                    Writer::Numbers(Block { stride, .. }) => bytes.extend_from_slice(&block[place * stride..(place + 1) * stride]),
                }
            }
            digests.extend_from_slice(&Sha256::digest(&bytes));
        }
        digests
    })?;
    Ok(tiles.concat())
}

fn double(value: f64) -> [u8; 8] {
    if value.is_nan() { NAN.to_le_bytes() } else { value.to_le_bytes() }
}

type Written<'a> = std::result::Result<Write<'a>, ArrowError>;

fn digests_of(places: &[Located], request: &Request<'_>, digests: &Digests, disk: Option<&DiskCache>) -> Result<Vec<Option<Digest>>> {
    let of_files = digests.of_files(&files(places), request.statement, request.limits, disk)?;
    let of_objects = match objects(places) {
        urls if urls.is_empty() => Default::default(),
        urls => digests.of_objects(&urls, request.statement, request.limits, request.cancel, disk)?,
    };
    let digest = |place: &Located| match place {
        Located::File(path) => of_files.get(path).copied(),
        Located::Object(url) => of_objects.get(url).copied(),
        Located::Absent | Located::Nowhere => None,
    };
    Ok(places.iter().map(digest).collect())
}

/// Writes a list of media down; `one` writes that at a place among all of them.
fn several<'a>(column: &'a ArrayRef, offsets: OffsetBuffer<i64>, one: Write<'a>) -> Write<'a> {
    Box::new(move |row, bytes| {
        if column.is_null(row) {
            return bytes.push(b'0');
        }
        let places = offsets[row] as usize..offsets[row + 1] as usize;
        bytes.push(b'l');
        bytes.extend_from_slice(&(places.len() as u64).to_le_bytes());
        places.for_each(|place| one(place, bytes));
    })
}

fn medium_writer(uris: StringArray, digests: Vec<Option<Digest>>) -> Write<'static> {
    Box::new(move |row, bytes| match &digests[row] {
        _ if uris.is_null(row) => bytes.push(b'0'),
        None => bytes.push(b'e'),
        Some(digest) => {
            bytes.push(b'm');
            bytes.extend_from_slice(digest);
            if let (_, Some(page)) = split_page(uris.value(row)) {
                bytes.push(b'p');
                bytes.extend_from_slice(&(page as u64).to_le_bytes());
            }
        }
    })
}

fn bytes_writer(column: &ArrayRef) -> Written<'static> {
    // FixedSizeBinary has no direct cast to BinaryView.
    let values: ArrayRef = match column.data_type() {
        DataType::FixedSizeBinary(_) => Arc::new(column.as_fixed_size_binary().iter().collect::<BinaryViewArray>()),
        _ => cast(column, &DataType::BinaryView)?,
    };
    Ok(Box::new(move |row, bytes| {
        let values = values.as_binary_view();
        if values.is_null(row) {
            return bytes.push(b'0');
        }
        bytes.push(b'm');
        bytes.extend_from_slice(&Sha256::digest(values.value(row)));
    }))
}

/// IEEE 754's quiet NaN without a payload.
const NAN: u64 = 0x7ff8_0000_0000_0000;
const SINGLE_NAN: u32 = 0x7fc0_0000;

/// `element` is the type that the model takes numbers of lists in.
fn value_writer(column: &ArrayRef, element: Option<&DataType>) -> Written<'static> {
    let length = |bytes: &mut Vec<u8>, length: usize| bytes.extend_from_slice(&(length as u64).to_le_bytes());
    Ok(match column.data_type() {
        DataType::Dictionary(_, values) => return value_writer(&cast(column, values)?, element),
        DataType::Null => Box::new(|_, bytes| bytes.push(b'0')),
        DataType::Boolean => {
            let column = column.as_boolean().clone();
            Box::new(move |row, bytes| {
                if column.is_null(row) {
                    return bytes.push(b'0');
                }
                bytes.extend_from_slice(&[b'b', u8::from(column.value(row))]);
            })
        }
        kind if kind.is_signed_integer() => {
            numbers(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(), b'i', i64::to_le_bytes)
        }
        kind if kind.is_unsigned_integer() => {
            numbers(cast(column, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone(), b'u', u64::to_le_bytes)
        }
        DataType::Float32 => {
            let single = |value: f32| if value.is_nan() { SINGLE_NAN.to_le_bytes() } else { value.to_le_bytes() };
            numbers(column.as_primitive::<Float32Type>().clone(), b'f', single)
        }
        kind if kind.is_floating() => numbers(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone(), b'd', double),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = match element {
                Some(element) => Arc::new(Field::new_list_field(element.clone(), true)),
                None => Arc::clone(item),
            };
            let lists = cast(column, &DataType::LargeList(item))?;
            let write = value_writer(lists.as_list::<i64>().values(), None)?;
            Box::new(move |row, bytes| {
                let lists = lists.as_list::<i64>();
                if lists.is_null(row) {
                    return bytes.push(b'0');
                }
                let offsets = lists.value_offsets();
                let values = usize::try_from(offsets[row]).unwrap_or_default()..usize::try_from(offsets[row + 1]).unwrap_or_default();
                bytes.push(b'l');
                length(bytes, values.len());
                values.for_each(|value| write(value, bytes));
            })
        }
        DataType::Struct(_) => {
            let structs = column.as_struct().clone();
            let fields = structs.columns().iter().map(|field| value_writer(field, element)).collect::<std::result::Result<Vec<_>, _>>()?;
            Box::new(move |row, bytes| {
                if structs.is_null(row) {
                    return bytes.push(b'0');
                }
                bytes.push(b's');
                length(bytes, fields.len());
                fields.iter().for_each(|write| write(row, bytes));
            })
        }
        kind => {
            let tag = if matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) { b't' } else { b'o' };
            let texts = cast(column, &DataType::Utf8View)?;
            Box::new(move |row, bytes| {
                let texts = texts.as_string_view();
                if texts.is_null(row) {
                    return bytes.push(b'0');
                }
                bytes.push(tag);
                length(bytes, texts.value(row).len());
                bytes.extend_from_slice(texts.value(row).as_bytes());
            })
        }
    })
}

fn numbers<T: ArrowPrimitiveType, const N: usize>(
    column: PrimitiveArray<T>,
    tag: u8,
    bits: impl Fn(T::Native) -> [u8; N] + Sync + Send + 'static,
) -> Write<'static> {
    Box::new(move |row, bytes| {
        if column.is_null(row) {
            return bytes.push(b'0');
        }
        bytes.push(tag);
        bytes.extend_from_slice(&bits(column.value(row)));
    })
}

/// Rows whose required inputs are all there.
fn presence(manifest: &Manifest, request: &Request<'_>) -> Option<NullBuffer> {
    let required = manifest.inputs.iter().zip(request.inputs).filter(|(input, columns)| manifest.needs(input, !columns.is_empty()));
    required.flat_map(|(_, columns)| columns).fold(None, |all, column| NullBuffer::union(all.as_ref(), column.logical_nulls().as_ref()))
}
