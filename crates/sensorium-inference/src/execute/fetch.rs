//! Remote files of a call, read ahead of the workers that decode them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use bytes::Bytes;
use futures::{StreamExt, stream};
use url::Url;

use super::digests::Digests;
use super::encode::Work;
use super::limits::Limits;
use crate::error::Result;
use crate::io::{self, Pending};
use crate::media::{Place, fetch_remote};

/// Rows whose remote files are read before the first of them is decoded, for each fetch that may be under way.
const ROWS_PER_FETCH: usize = 4;

/// Bytes of remote files by input and place in its column; local files are read by the worker that decodes them.
pub(super) type Fetched = HashMap<(String, usize), Result<Bytes>>;

/// The groups of rows of a call, each with its remote files; while one is worked on, the next is read.
pub(super) struct Fetches<'a> {
    rows: &'a [usize],
    group: usize,
    pending: Option<Pending<(usize, Fetched)>>,
}

/// A remote file that a row needs: the row's number in its group, the input and the place in its column.
type Wanted = (usize, String, usize, Url);

impl<'a> Fetches<'a> {
    pub(super) fn start(work: &Work<'_>, rows: &'a [usize]) -> Result<Self> {
        let is_remote = may_be_remote(work);
        let group = if is_remote { (work.request.limits.fetch_concurrency * ROWS_PER_FETCH).max(1) } else { rows.len().max(1) };
        let mut fetches = Self { rows, group, pending: None };
        if is_remote {
            fetches.read_ahead(work)?;
        }
        Ok(fetches)
    }

    /// The next rows and their remote files.
    pub(super) fn next(&mut self, work: &Work<'_>) -> Result<Option<(&'a [usize], Fetched)>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let Some(pending) = self.pending.take() else {
            let rows = std::mem::take(&mut self.rows);
            return Ok(Some((rows, Fetched::new())));
        };
        let (count, fetched) = pending.wait(work.request.cancel)?;
        let (group, rest) = self.rows.split_at(count.clamp(1, self.rows.len()));
        self.rows = rest;
        if !rest.is_empty() {
            self.read_ahead(work)?;
        }
        Ok(Some((group, fetched)))
    }

    fn read_ahead(&mut self, work: &Work<'_>) -> Result<()> {
        let group = &self.rows[..self.group.min(self.rows.len())];
        let mut wanted: Vec<Wanted> = Vec::new();
        for input in work.model.manifest.inputs.iter().filter(|input| input.modality.is_media()) {
            let Some(column) = work.columns.get(&input.name) else { continue };
            let Some(uris) = column.values.as_string_opt::<i32>() else { continue };
            for (number, row) in group.iter().enumerate() {
                let is_read = |uri: &str| !work.model.manifest.endpoint.as_ref().is_some_and(|endpoint| endpoint.gives_address(input, uri));
                for place in column.places(*row).filter(|place| uris.is_valid(*place) && is_read(uris.value(*place))) {
                    if let Ok(Place::Remote(url)) = work.request.access.locate(&input.name, uris.value(place)) {
                        wanted.push((number, input.name.clone(), place, url));
                    }
                }
            }
        }
        wanted.sort_by_key(|(number, ..)| *number);
        let digests = Arc::clone(&work.model.digests);
        self.pending = Some(io::start(read(wanted, group.len(), work.request.limits.clone(), digests, work.request.statement))?);
        Ok(())
    }
}

/// Reads in order until `mm.fetch_bytes` are reached. Returns for how many rows everything is there, one at least.
async fn read(wanted: Vec<Wanted>, rows: usize, limits: Limits, digests: Arc<Digests>, statement: u64) -> Result<(usize, Fetched)> {
    let (limits, digests) = (&limits, &digests);
    let fetches = wanted.into_iter().map(|(number, input, place, url)| async move {
        let expected = digests.expected(&url, statement, limits);
        let bytes = fetch_remote(&url, expected.as_deref(), limits).await;
        match &bytes {
            Ok(bytes) => digests.saw(&url, statement, bytes, limits),
            // A further attempt sees it as it is then.
            Err(_) => digests.forget_version(&url, limits),
        }
        (number, input, place, bytes)
    });
    let mut results = stream::iter(fetches).buffered(limits.fetch_concurrency.max(1));
    let (mut fetched, mut bytes) = (Fetched::new(), 0);
    while let Some((number, input, place, result)) = results.next().await {
        if bytes >= limits.fetch_bytes && number > 0 {
            // The row that is not complete begins the next group.
            return Ok((number, fetched));
        }
        bytes += result.as_ref().map_or(0, Bytes::len);
        fetched.insert((input, place), result);
    }
    Ok((rows, fetched))
}

/// A look at the texts only; what they mean is decided row by row.
fn may_be_remote(work: &Work<'_>) -> bool {
    let is_url = |text: &str| text.contains("://") && !text.starts_with("file:");
    work.model.manifest.inputs.iter().filter(|input| input.modality.is_media()).any(|input| {
        let Some(uris) = work.columns.get(&input.name).and_then(|column| column.values.as_string_opt::<i32>()) else { return false };
        work.request.access.bases.get(&input.name).is_some_and(|base| is_url(base)) || uris.iter().flatten().any(is_url)
    })
}
