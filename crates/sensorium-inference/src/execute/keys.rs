//! What tells rows apart: a digest of everything that a row gives to its model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};

use super::answer::result_type;
use super::limits::Limits;
use super::run::Request;
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::media::{Place, fetch_local};
use crate::package::{Manifest, hex};

/// Fewer rows are not worth a change of threads, where no files are read for them.
const ROWS_OF_A_TASK: usize = 64;

/// The keys of a call's rows.
#[derive(Debug)]
pub(super) struct RowKeys {
    pub(super) keys: Vec<RowKey>,
    /// Whether they say everything about the rows, and so mean the same in another process.
    pub(super) are_durable: bool,
}

/// SHA-256 of a row's inputs, of the model and of what is wanted of it.
pub(super) type RowKey = [u8; 32];

/// The keys of all rows.
///
/// A medium is told by its file's size and time of change, or for a cache on disk by its bytes; a remote one by its URI
/// within one statement: what lies behind may change while the session lives. Keys with such a URI are not durable: in
/// another process they would mean something else.
pub(super) fn row_keys(model: &str, manifest: &Manifest, request: &Request<'_>) -> Result<RowKeys> {
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Argument, format!("the inputs cannot be compared: {error}"));
    let columns: Vec<ArrayRef> = request.inputs.iter().flatten().cloned().collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(failed)?;
    let rows = converter.convert_columns(&columns).map_err(failed)?;
    let mut common = Sha256::new();
    common.update(model);
    common.update(format!(
        "{:?} {} {:?} {:?} {} {}",
        request.wanted,
        // A later release may return another one.
        result_type(manifest, request.wanted)?,
        request.limits.device,
        request.limits.gpu.tf32,
        request.limits.document_dpi,
        request.inputs.iter().map(Vec::len).fold(String::new(), |text, count| format!("{text}{count},"))
    ));
    request.cancel.check()?;
    let places = places(manifest, request);
    let is_fleeting = AtomicBool::new(false);
    let key = |row: usize| {
        let mut digest = common.clone();
        if !columns.is_empty() {
            digest.update(rows.row(row).data());
        }
        for place in &places {
            match place(row) {
                Known::Lasting(state) => digest.update(state),
                Known::InStatement => {
                    is_fleeting.store(true, Ordering::Relaxed);
                    digest.update(format!("statement {}", request.statement));
                }
            }
        }
        digest.finalize().into()
    };
    let keys = workers::map(request.rows, ROWS_OF_A_TASK, key)?;
    Ok(RowKeys { keys, are_durable: !is_fleeting.into_inner() })
}

/// What the bytes behind a URI are known by.
enum Known {
    Lasting(String),
    InStatement,
}

/// For each medium given by URI, what its bytes are known by.
fn places<'a>(manifest: &'a Manifest, request: &'a Request<'_>) -> Vec<impl Fn(usize) -> Known + Sync + 'a> {
    let media = manifest.inputs.iter().zip(request.inputs).filter(|(input, _)| input.modality.is_media());
    let by_uri = media.filter_map(|(input, columns)| {
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
                return Known::Lasting(String::new());
            }
            match request.access.locate(&input.name, uris.value(row)) {
                Ok(Place::Local(path)) if request.limits.cache_path.as_os_str().is_empty() => Known::Lasting(state_of(&path)),
                Ok(Place::Local(path)) => content_of(&path, request.limits).map_or(Known::InStatement, Known::Lasting),
                _ => Known::InStatement,
            }
        }
    };
    by_uri.map(known_by).collect()
}

/// The digest of a file; of one that cannot be read there is none, and the row fails later.
fn content_of(path: &Path, limits: &Limits) -> Option<String> {
    fetch_local(path, limits).ok().map(|bytes| hex(&Sha256::digest(&bytes)))
}

fn state_of(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(facts) => format!("{} {} {:?}", path.display(), facts.len(), facts.modified().ok()),
        Err(_) => path.display().to_string(),
    }
}
