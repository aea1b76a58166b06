//! Each different row once: equal rows of a call share a result, and so do those of earlier calls.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::compute::{interleave, take};

use super::cache::{Cache, Found};
use super::digests::Digests;
use super::disk_cache::{DiskCache, OpenedDiskCache};
use super::keys::{RowKey, RowKeys, row_keys};
use super::limits::{Distinct, Limits};
use super::loaded::LoadedModel;
use super::rows::{not_copied, take_rows};
use super::run::{Answer, Failure, Request, run};
use crate::error::{Error, Kind, Result};
use crate::package::{Manifest, Modality, Prediction};

/// Where results of earlier rows may be.
#[derive(Debug, Default)]
pub(super) struct Caches {
    memory: Cache,
    disk: OpenedDiskCache,
    pub(super) digests: Arc<Digests>,
}

impl Caches {
    /// The cache that later processes use too, where there is one.
    pub(super) fn disk(&self, limits: &Limits) -> Result<Option<Arc<DiskCache>>> {
        let path = &limits.cache_path;
        if path.as_os_str().is_empty() { Ok(None) } else { self.disk.of(path).map(Some) }
    }
}

/// Below this many bytes of weights a model of numbers is faster than telling its rows apart.
const SMALL_MODEL_BYTES: u64 = 4 << 20;

/// Whether telling the rows of a model apart is worth its time.
pub(super) fn is_worthwhile(manifest: &Manifest, limits: &Limits) -> bool {
    match limits.distinct {
        Distinct::Always => true,
        Distinct::Never => false,
        Distinct::Auto => {
            manifest.inputs.iter().any(|input| matches!(input.modality, Modality::Text(_) | Modality::Prompt) || input.modality.is_media())
                || manifest.files.values().map(|file| file.bytes).sum::<u64>() > SMALL_MODEL_BYTES
        }
    }
}

/// [`run`], but on the different rows only that `cache` does not know. `name` is the model's SHA-256.
pub(super) fn run_different(model: &LoadedModel, name: &str, caches: &Caches, request: &Request<'_>) -> Result<Answer> {
    if request.rows == 0 || !is_worthwhile(&model.manifest, request.limits) {
        return run(model, request);
    }
    let disk = caches.disk(request.limits)?;
    let RowKeys { keys, are_durable } = row_keys(model, name, request, &caches.digests, disk.as_deref())?;
    request.cancel.check()?;
    let (groups, first_rows) = group(&keys);
    request.stats.distinct_rows.add(first_rows.len());
    let keys = Keys { all: &keys, are_durable: &are_durable, first_rows: &first_rows };
    let answer = run_groups(model, &caches.memory, disk.as_deref(), request, &keys)?;
    if first_rows.len() == request.rows {
        return Ok(answer);
    }
    let failures = for_all_rows(answer.failures, &groups);
    Ok(Answer { values: answer.values.repeated(groups)?, failures })
}

/// For each row the number of its group, and the first row of each group.
fn group(keys: &[RowKey]) -> (Vec<u32>, Vec<usize>) {
    let mut known: HashMap<&RowKey, u32> = HashMap::with_capacity(keys.len());
    let mut first_rows = Vec::new();
    let of_row = |(row, key)| {
        *known.entry(key).or_insert_with(|| {
            first_rows.push(row);
            (first_rows.len() - 1) as u32
        })
    };
    let groups = keys.iter().enumerate().map(of_row).collect();
    (groups, first_rows)
}

/// A group's failure is that of each of its rows.
fn for_all_rows(failures: Vec<Failure>, groups: &[u32]) -> Vec<Failure> {
    if failures.is_empty() {
        return failures;
    }
    let by_group: HashMap<usize, &Failure> = failures.iter().map(|failure| (failure.row, failure)).collect();
    let of_row = |(row, group): (usize, &u32)| by_group.get(&(*group as usize)).map(|failure| Failure { row, ..(*failure).clone() });
    groups.iter().enumerate().filter_map(of_row).collect()
}

/// The keys of a call's rows, of which each group's first one counts.
struct Keys<'k> {
    all: &'k [RowKey],
    are_durable: &'k [bool],
    first_rows: &'k [usize],
}

impl Keys<'_> {
    fn of(&self, group: usize) -> RowKey {
        self.all[self.first_rows[group]]
    }

    /// Whether it may be kept for other processes.
    fn is_durable(&self, group: usize) -> bool {
        self.are_durable[self.first_rows[group]]
    }
}

/// Results of each group's first row, in their order.
fn run_groups(model: &LoadedModel, cache: &Cache, disk: Option<&DiskCache>, request: &Request<'_>, keys: &Keys<'_>) -> Result<Answer> {
    let first_rows = keys.first_rows;
    if request.limits.cache_bytes == 0 && disk.is_none() {
        return run_rows(model, request, first_rows);
    }
    let wanted: Vec<RowKey> = (0..first_rows.len()).map(|group| keys.of(group)).collect();
    let mut places: Vec<Option<(usize, usize)>> = vec![None; wanted.len()];
    let mut sources: Vec<ArrayRef> = Vec::new();
    let mut failures = Vec::new();
    let mut open: Vec<usize> = (0..wanted.len()).collect();
    while !open.is_empty() {
        let asked: Vec<RowKey> = open.iter().map(|group| wanted[*group]).collect();
        let (found, claims) = cache.look_up(&asked);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for (group, found) in open.iter().zip(found) {
            match found {
                Found::Ready { values, row } => {
                    request.stats.cache_hits.add(1);
                    let source = sources.iter().rposition(|source| Arc::ptr_eq(source, &values)).unwrap_or_else(|| {
                        sources.push(values);
                        sources.len() - 1
                    });
                    places[*group] = Some((source, row));
                }
                Found::Yours => mine.push(*group),
                Found::Theirs => theirs.push(*group),
            }
        }
        if let Some(disk) = disk {
            mine = from_disk(disk, request, keys, mine, &mut places, &mut sources)?;
        }
        if !mine.is_empty() {
            let rows: Vec<usize> = mine.iter().map(|group| first_rows[*group]).collect();
            let answer = run_rows(model, request, &rows)?;
            let mut is_good = vec![true; mine.len()];
            for failure in answer.failures {
                is_good[failure.row] = false;
                failures.push(Failure { row: mine[failure.row], ..failure });
            }
            for (row, group) in mine.iter().enumerate() {
                places[*group] = Some((sources.len(), row));
            }
            let own = answer.values.whole()?;
            // After a failure that ends the query some rows were not run. What is written or drawn is there or NULL; elsewhere nothing
            // tells them from others.
            let is_ended = request.stop_at_failure && is_good.contains(&false);
            let are_told = matches!(model.manifest.prediction, Prediction::Text { .. } | Prediction::Picture { .. });
            let was_run = |row: usize| !is_ended || (are_told && own.is_valid(row));
            let good: Vec<usize> = (0..mine.len()).filter(|row| is_good[*row] && was_run(*row)).collect();
            let keys_of = |rows: &[usize]| -> Vec<RowKey> { rows.iter().map(|row| wanted[mine[*row]]).collect() };
            if let Some(disk) = disk {
                let durable: Vec<usize> = good.iter().copied().filter(|row| keys.is_durable(mine[*row])).collect();
                disk.put(&keys_of(&durable), &chosen(&own, &durable)?, request.limits.cache_disk_bytes)?;
            }
            claims.publish(keys_of(&good), chosen(&own, &good)?, request.limits.cache_bytes);
            sources.push(own);
            if request.stop_at_failure && !failures.is_empty() {
                break;
            }
        }
        let waiting: Vec<RowKey> = theirs.iter().map(|group| wanted[*group]).collect();
        cache.wait(&waiting, request.cancel)?;
        open = theirs;
    }
    failures.sort_by_key(|failure| failure.row);
    Ok(Answer::new(gathered(&sources, places)?, failures))
}

/// Takes from `mine` what an earlier process kept; returns the rest.
fn from_disk(
    disk: &DiskCache,
    request: &Request<'_>,
    all: &Keys<'_>,
    mine: Vec<usize>,
    places: &mut [Option<(usize, usize)>],
    sources: &mut Vec<ArrayRef>,
) -> Result<Vec<usize>> {
    let (mine, mut rest): (Vec<usize>, Vec<usize>) = mine.into_iter().partition(|group| all.is_durable(*group));
    let keys: Vec<RowKey> = mine.iter().map(|group| all.of(*group)).collect();
    let found = disk.get(&keys)?;
    let first = sources.len();
    sources.extend(found.sources);
    for (group, place) in mine.into_iter().zip(found.places) {
        match place {
            Some((source, row)) => {
                request.stats.disk_cache_hits.add(1);
                places[group] = Some((first + source, row));
            }
            None => rest.push(group),
        }
    }
    Ok(rest)
}

/// The values of some rows, in order.
fn chosen(values: &ArrayRef, rows: &[usize]) -> Result<ArrayRef> {
    if rows.len() == values.len() {
        return Ok(ArrayRef::clone(values));
    }
    take_rows(values, &rows.iter().map(|row| *row as u32).collect()).map_err(|error| not_copied(&error))
}

/// Values from several arrays, in one.
fn gathered(sources: &[ArrayRef], places: Vec<Option<(usize, usize)>>) -> Result<ArrayRef> {
    let in_order = |(index, place): (usize, &Option<(usize, usize)>)| *place == Some((0, index));
    if let [only] = sources
        && only.len() == places.len()
        && places.iter().enumerate().all(in_order)
    {
        return Ok(ArrayRef::clone(only));
    }
    let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
    // Only after a failure that ends the query is a place empty; its value is not looked at.
    let places: Vec<(usize, usize)> = places.into_iter().map(|place| place.unwrap_or((0, 0))).collect();
    interleave(&sources, &places).map_err(|error| not_copied(&error))
}

fn run_rows(model: &LoadedModel, request: &Request<'_>, rows: &[usize]) -> Result<Answer> {
    if rows.len() == request.rows {
        return run(model, request);
    }
    let failed = |error: arrow::error::ArrowError| Error::new(Kind::Argument, format!("rows cannot be chosen: {error}"));
    let places: UInt64Array = rows.iter().map(|row| *row as u64).collect();
    let chosen = |columns: &Vec<ArrayRef>| columns.iter().map(|column| take(column, &places, None).map_err(failed)).collect();
    let inputs = request.inputs.iter().map(chosen).collect::<Result<Vec<Vec<ArrayRef>>>>()?;
    run(model, &Request { inputs: &inputs, rows: rows.len(), ..*request })
}
