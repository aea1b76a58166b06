//! Pictures and documents to lines of text: a detector finds them, a classifier turns those that are upside down, a
//! recogniser reads them. Each picture is worked off alone, as many at once as there are workers.

mod crop;
mod detect;
mod lines;
mod page;
mod read;
mod rectangle;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::encode::{Work, medium, page, uri};
use super::fetch::{Fetched, Fetches};
use super::results::Results;
use super::run::{Answer, Failure, Step};
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::modality::Document;
use crate::package::{Input, Ocr};
pub(super) use lines::lines_type;
use lines::{Line, assemble};
use page::lines_of;
use read::Reader;

/// The lines of each of `rows`; `failures` are those of rows that cannot be looked at.
pub(super) fn run(work: &Work<'_>, ocr: &Ocr, rows: &[usize], failures: Vec<Failure>) -> Result<Answer> {
    let input = work.model.manifest.inputs.first().ok_or_else(|| Error::new(Kind::Package, "a model without an input"))?;
    let results = Results::new(work.request, Vec::new(), failures);
    let found: Mutex<Vec<Option<Vec<Line>>>> = Mutex::new((0..work.request.rows).map(|_| None).collect());
    let reader = Reader::new(work, ocr)?;
    let mut fetches = Fetches::start(work, rows)?;
    while let Some((rows, fetched)) = fetches.next(work)? {
        workers::for_each(rows.iter().copied(), |row| {
            if results.is_over() {
                return;
            }
            match read_row(work, input, &reader, ocr, row, &fetched) {
                Ok(lines) => found.lock().unwrap_or_else(PoisonError::into_inner)[row] = lines,
                // An error that is not a row's ends the call.
                Err((_, error)) if matches!(error.kind(), Kind::Package | Kind::Runtime | Kind::Cancelled) => {
                    results.add((vec![row], Err(error)));
                }
                Err((step, error)) => {
                    let uri = work.columns.get(&input.name).and_then(|column| uri(input, column, row));
                    results.fail(vec![Failure { row, uri, step, error }]);
                }
            }
            work.request.stats.model_rows.add(1);
            work.model.rows.fetch_add(1, Ordering::Relaxed);
        })?;
        work.request.cancel.check()?;
    }
    let (_, mut failures) = results.take()?;
    failures.sort_by_key(|failure| failure.row);
    let start = Instant::now();
    let values = assemble(&found.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    work.request.stats.scatter_time.since(start);
    Ok(Answer::new(values, failures))
}

/// All pages of a row's document, or the one that its URI names.
fn read_row(
    work: &Work<'_>,
    input: &Input,
    reader: &Reader<'_>,
    ocr: &Ocr,
    row: usize,
    fetched: &Fetched,
) -> Result<Option<Vec<Line>>, (Step, Error)> {
    let Some(column) = work.columns.get(&input.name) else { return Ok(None) };
    let Some(bytes) = medium(work, input, column, row, fetched)? else { return Ok(None) };
    let limits = work.request.limits;
    let document = Document::open(&bytes, limits).map_err(|error| (Step::Decode, error))?;
    let pages = page(column, row).map_or(1..document.pages() + 1, |page| page..page + 1);
    let mut lines = Vec::new();
    for number in pages {
        work.request.cancel.check().map_err(|error| (Step::Model, error))?;
        let start = Instant::now();
        let picture = document.page(number, limits, &|| work.request.cancel.check()).map_err(|error| (Step::Decode, error))?;
        work.request.stats.decode_time.since(start);
        lines.extend(lines_of(work, reader, ocr, picture, number).map_err(|error| (Step::Model, error))?);
    }
    Ok(Some(lines))
}
