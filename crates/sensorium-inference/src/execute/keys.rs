//! What tells rows apart: a digest of everything that a row gives to its model.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};
use url::Url;

use super::answer::result_type;
use super::digests::Digests;
use super::disk_cache::DiskCache;
use super::loaded::LoadedModel;
use super::run::Request;
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::media::Place;
use crate::modality::{flat, is_list};
use crate::package::{Input, Manifest, hex};

/// Fewer rows are not worth a change of threads, where no files are read for them.
const ROWS_OF_A_TASK: usize = 64;

/// The keys of a call's rows.
#[derive(Debug)]
pub(super) struct RowKeys {
    pub(super) keys: Vec<RowKey>,
    /// Which of them say everything about their rows, and so mean the same in another process.
    pub(super) are_durable: Vec<bool>,
}

/// SHA-256 of a row's inputs, of the model and of what is wanted of it.
pub(super) type RowKey = [u8; 32];

/// The keys of all rows.
///
/// A medium is told by its file's size and time of change, or for a cache on disk by its bytes; a remote one by its strong
/// entity tag where there is such a cache, else by its URI within one statement: what lies behind may change while the
/// session lives. Keys with such a URI are not durable: in another process they would mean something else.
pub(super) fn row_keys(
    model: &LoadedModel,
    name: &str,
    request: &Request<'_>,
    digests: &Digests,
    disk: Option<&DiskCache>,
) -> Result<RowKeys> {
    let manifest = &*model.manifest;
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Argument, format!("the inputs cannot be compared: {error}"));
    let columns: Vec<ArrayRef> = request.inputs.iter().flatten().cloned().collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(failed)?;
    let rows = converter.convert_columns(&columns).map_err(failed)?;
    let mut common = Sha256::new();
    common.update(name);
    // What ran a row is in its receipt, and must be what would run it now.
    common.update(format!("{} {} ", model.provider(), model.runtime()?));
    columns.iter().for_each(|column| common.update(format!("{:?} ", column.data_type())));
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
    let media = known_media(manifest, request, digests, disk)?;
    let key = |row: usize| -> (RowKey, bool) {
        let mut is_durable = true;
        let mut digest = common.clone();
        if !columns.is_empty() {
            digest.update(rows.row(row).data());
        }
        for known in &media {
            match &known[row] {
                Known::Lasting(state) => digest.update(state),
                Known::InStatement => {
                    is_durable = false;
                    digest.update(format!("statement {}", request.statement));
                }
            }
        }
        (digest.finalize().into(), is_durable)
    };
    let (keys, are_durable) = workers::map(request.rows, ROWS_OF_A_TASK, key)?.into_iter().unzip();
    Ok(RowKeys { keys, are_durable })
}

/// What the bytes behind a URI are known by.
#[derive(Debug, Clone)]
enum Known {
    Lasting(String),
    InStatement,
}

/// For each medium given by URI, what its bytes are known by, row by row.
fn known_media(manifest: &Manifest, request: &Request<'_>, digests: &Digests, disk: Option<&DiskCache>) -> Result<Vec<Vec<Known>>> {
    let mut all = Vec::new();
    for LocatedMedia { places, lists, .. } in located(manifest, request) {
        let known = known_places(&places, request, digests, disk)?;
        all.push(match lists {
            None => known,
            Some(offsets) => offsets.windows(2).map(|ends| together(&known[ends[0] as usize..ends[1] as usize])).collect(),
        });
    }
    Ok(all)
}

/// What a list of media is known by.
fn together(known: &[Known]) -> Known {
    let lasting = |known: &Known| if let Known::Lasting(text) = known { Some(format!("{} {text}", text.len())) } else { None };
    known.iter().map(lasting).collect::<Option<Vec<_>>>().map_or(Known::InStatement, |all| Known::Lasting(all.concat()))
}

fn known_places(places: &[Located], request: &Request<'_>, digests: &Digests, disk: Option<&DiskCache>) -> Result<Vec<Known>> {
    let lasting = |text: String| Known::Lasting(text);
    let Some(disk) = disk else {
        return workers::map(places.len(), ROWS_OF_A_TASK, |place| match &places[place] {
            Located::Absent => Known::Lasting(String::new()),
            Located::File(path) => lasting(state_of(path)),
            Located::Object(_) | Located::Nowhere => Known::InStatement,
        });
    };
    let digests_of_files = digests.of_files(&files(places), request.statement, request.limits, Some(disk))?;
    let versions = digests.versions(&objects(places), request.statement, request.limits, request.cancel)?;
    let known = |place: &Located| match place {
        Located::Absent => Known::Lasting(String::new()),
        // Of a file that cannot be read there is no digest, and the row fails later.
        Located::File(path) => digests_of_files.get(path).map_or(Known::InStatement, |digest| lasting(hex(digest))),
        Located::Object(url) => {
            versions.get(url).cloned().flatten().map_or(Known::InStatement, |version| lasting(format!("{url} {version}")))
        }
        Located::Nowhere => Known::InStatement,
    };
    Ok(places.iter().map(known).collect())
}

/// Where a row's medium lies.
#[derive(Debug, Clone)]
pub(super) enum Located {
    /// The row has none.
    Absent,
    File(PathBuf),
    Object(Url),
    /// No place that may be read.
    Nowhere,
}

/// The media of an input that are given by URI.
#[derive(Debug)]
pub(super) struct LocatedMedia {
    /// Of the input.
    pub(super) number: usize,
    pub(super) uris: StringArray,
    /// Where each lies.
    pub(super) places: Vec<Located>,
    /// Which of them are a row's, where it may have several.
    pub(super) lists: Option<OffsetBuffer<i64>>,
}

impl LocatedMedia {
    /// Which media are a row's.
    pub(super) fn of_row(&self, row: usize) -> Range<usize> {
        self.lists.as_ref().map_or(row..row + 1, |offsets| offsets[row] as usize..offsets[row + 1] as usize)
    }
}

/// Where the media lie that are given by URI.
pub(super) fn located(manifest: &Manifest, request: &Request<'_>) -> Vec<LocatedMedia> {
    let is_media = |(_, (input, _)): &(usize, (&Input, &Vec<ArrayRef>))| input.modality.is_media();
    let media = manifest.inputs.iter().zip(request.inputs).enumerate().filter(is_media);
    let by_uri = media.filter_map(|(number, (input, columns))| {
        let column = columns.first()?;
        let (column, lists) = if is_list(column.data_type()) {
            flat(column).ok().map(|(values, offsets)| (values, Some(offsets)))?
        } else {
            (Arc::clone(column), None)
        };
        if is_binary(column.data_type()) {
            return None;
        }
        let uris = cast(&column, &DataType::Utf8).ok()?;
        let uris = uris.as_string::<i32>().clone();
        let locate = |uri: Option<&str>| match uri.map(|uri| request.access.locate(&input.name, uri)) {
            None => Located::Absent,
            Some(Ok(Place::Local(path))) => Located::File(path),
            Some(Ok(Place::Remote(url))) => Located::Object(url),
            Some(Err(_)) => Located::Nowhere,
        };
        Some(LocatedMedia { number, places: uris.iter().map(locate).collect(), uris, lists })
    });
    by_uri.collect()
}

pub(super) fn is_binary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_binary(values),
        other => matches!(other, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)),
    }
}

pub(super) fn files(places: &[Located]) -> Vec<PathBuf> {
    let file = |place: &Located| if let Located::File(path) = place { Some(path.clone()) } else { None };
    places.iter().filter_map(file).collect()
}

pub(super) fn objects(places: &[Located]) -> Vec<Url> {
    let object = |place: &Located| if let Located::Object(url) = place { Some(url.clone()) } else { None };
    places.iter().filter_map(object).collect()
}

fn state_of(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(facts) => format!("{} {} {:?}", path.display(), facts.len(), facts.modified().ok()),
        Err(_) => path.display().to_string(),
    }
}
