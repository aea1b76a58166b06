//! What tells rows apart: a digest of everything that a row gives to its model.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};

use super::run::Request;
use crate::error::{Error, Kind, Result};
use crate::media::Place;
use crate::package::{Manifest, Modality};

/// SHA-256 of a row's inputs, of the model and of what is wanted of it.
pub(super) type RowKey = [u8; 32];

/// The keys of all rows.
///
/// A picture is told by its file's size and time of change, a remote one by its URI within one statement: what lies
/// behind may change while the session lives.
pub(super) fn row_keys(model: &str, manifest: &Manifest, request: &Request<'_>) -> Result<Vec<RowKey>> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Argument, format!("the inputs cannot be compared: {error}"));
    let columns: Vec<ArrayRef> = request.inputs.iter().flatten().cloned().collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(failed)?;
    let rows = converter.convert_columns(&columns).map_err(failed)?;
    let mut common = Sha256::new();
    common.update(model);
    common.update(format!(
        "{:?} {:?} {}",
        request.wanted,
        request.limits.device,
        request.inputs.iter().map(Vec::len).fold(String::new(), |text, count| format!("{text}{count},"))
    ));
    let places = places(manifest, request);
    Ok((0..request.rows)
        .map(|row| {
            let mut digest = common.clone();
            if !columns.is_empty() {
                digest.update(rows.row(row).data());
            }
            places.iter().for_each(|place| digest.update(place(row)));
            digest.finalize().into()
        })
        .collect())
}

/// For each picture given by URI, what its bytes are known by.
fn places<'a>(manifest: &'a Manifest, request: &'a Request<'_>) -> Vec<impl Fn(usize) -> String + 'a> {
    let pictures = manifest.inputs.iter().zip(request.inputs).filter(|(input, _)| matches!(input.modality, Modality::Image(_)));
    let by_uri = pictures.filter_map(|(input, columns)| {
        let uris = arrow::compute::cast(columns.first()?, &arrow::datatypes::DataType::Utf8).ok()?;
        let is_text = !matches!(
            columns.first()?.data_type(),
            arrow::datatypes::DataType::Binary | arrow::datatypes::DataType::LargeBinary | arrow::datatypes::DataType::BinaryView
        );
        is_text.then_some((input, uris))
    });
    let known_by = |(input, uris): (&'a crate::package::Input, ArrayRef)| {
        move |row: usize| {
            let uris = uris.as_string::<i32>();
            if uris.is_null(row) {
                return String::new();
            }
            match request.access.locate(&input.name, uris.value(row)) {
                Ok(Place::Local(path)) => state_of(&path),
                _ => format!("statement {}", request.statement),
            }
        }
    };
    by_uri.map(known_by).collect()
}

fn state_of(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(facts) => format!("{} {} {:?}", path.display(), facts.len(), facts.modified().ok()),
        Err(_) => path.display().to_string(),
    }
}
