//! One call on one batch of rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray};

use super::answer::{Collector, Wanted, assemble};
use super::batches::{BatchRule, cut};
use super::cancel::Cancel;
use super::encode::{Encoded, Work, encode, token_count};
use super::feeds::Batch;
use super::fetch::Fetches;
use super::graph::run_batch;
use super::limits::Limits;
use super::loaded::LoadedModel;
use super::results::Results;
use super::stats::Stats;
use super::values::Values;
use super::workers;
use super::{diffusion, endpoint, generate, ocr, speech, voice_activity};
use crate::error::{Error, Kind, Result};
use crate::media::MediaAccess;
use crate::modality::{Column, prepare};
use crate::package::{AudioFeatures, Input, Manifest, Modality, OutputRef, Prediction, Stage};

/// Rows that go to a model together with what bounds the work.
#[derive(Debug)]
pub struct Request<'a> {
    /// For each input of the manifest: nothing if it is absent, one column, or a vector's places as columns.
    pub inputs: &'a [Vec<ArrayRef>],
    /// Number of rows.
    pub rows: usize,
    /// Prediction or vector.
    pub wanted: Wanted,
    /// Where media may be read.
    pub access: &'a MediaAccess,
    /// Bounds.
    pub limits: &'a Limits,
    /// Whether one failed row makes the others worthless, so that work stops there.
    pub stop_at_failure: bool,
    /// Number of the statement: what lies behind a remote URI is taken to be the same within one.
    pub statement: u64,
    /// Where the call is told to stop.
    pub cancel: &'a Cancel,
    /// What is counted.
    pub stats: &'a Stats,
}

/// The result of a call.
#[derive(Debug)]
pub struct Answer {
    /// One value per row; NULL where a required input is NULL or the row failed.
    pub values: Values,
    /// Rows that failed, by row.
    pub failures: Vec<Failure>,
}

impl Answer {
    /// An answer whose every row has a value of its own.
    pub fn new(values: ArrayRef, failures: Vec<Failure>) -> Self {
        Self { values: values.into(), failures }
    }
}

/// Why one row has no result.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Row in the request.
    pub row: usize,
    /// Its medium, if it has one.
    pub uri: Option<String>,
    /// Where it failed.
    pub step: Step,
    /// The cause.
    pub error: Error,
}

/// The stations of a row's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Conversion of the column's value.
    Input,
    /// Reading of the bytes.
    Fetch,
    /// Decoding and preparation of the picture or sound.
    Decode,
    /// Cutting of the text.
    Tokenize,
    /// The graph.
    Model,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Fetch => "fetch",
            Self::Decode => "decode",
            Self::Tokenize => "tokenize",
            Self::Model => "model",
        })
    }
}

/// Texts and numbers that are encoded together; DataFusion's own batches are no longer than this by default.
const WINDOW_ROWS: usize = 65_536;
/// Sizes of batches that one device does best, found by trying powers of two.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Rows with media.
    media: usize,
    /// Rows of numbers, and of texts that are shorter than that.
    numbers: usize,
    /// Rows whose texts are written side by side: weights are read from memory once for all of them; 64 on a GPU are not measured yet.
    written: usize,
    /// Rows whose pictures are drawn side by side: one on each core is best, eight on a GPU are not measured yet.
    drawn: usize,
    /// Tokens of texts, padding included.
    tokens: usize,
    /// Lengths of texts are padded to multiples of this: few different shapes are worth more to a GPU than few tokens.
    token_multiple: usize,
}

/// Pairs of a row that is asked about and one whose label is known, in a batch of an in-context model: attention takes a
/// few bytes for each, in every head.
const CONTEXT_PAIRS: usize = 1 << 20;

/// A core works out of its caches: more rows at once only push each other out.
const CORE: Sizes = Sizes { media: 4, numbers: 4_096, written: 64, drawn: 1, tokens: 512, token_multiple: 1 };
/// A GPU needs enough rows to fill all its multiprocessors.
const GPU: Sizes = Sizes { media: 64, numbers: 65_536, written: 64, drawn: 8, tokens: 16_384, token_multiple: 8 };

/// A request as the model reads it.
pub(super) struct Prepared {
    /// By input.
    pub(super) columns: HashMap<String, Column>,
    /// Whether a row has all that the model needs.
    pub(super) active: Vec<bool>,
    /// Rows that cannot be used.
    pub(super) failures: Vec<Failure>,
}

/// Brings the arguments of a call to what the model's inputs take.
pub(super) fn prepare_columns(manifest: &Manifest, request: &Request<'_>) -> Result<Prepared> {
    let mut failures = Vec::new();
    let mut columns = HashMap::new();
    for (input, arguments) in manifest.inputs.iter().zip(request.inputs) {
        columns.insert(input.name.clone(), prepare(input, arguments, request.rows, request.limits, &mut failures)?);
    }
    let mut active = vec![true; request.rows];
    failures.iter().for_each(|failure| active[failure.row] = false);
    let is_needed = |(input, arguments): &(&Input, &Vec<ArrayRef>)| manifest.needs(input, !arguments.is_empty());
    for (input, _) in manifest.inputs.iter().zip(request.inputs).filter(is_needed) {
        if let Some(present) = columns[&input.name].presence() {
            active.iter_mut().zip(present).for_each(|(active, present)| *active &= present);
        }
    }
    Ok(Prepared { columns, active, failures })
}

pub(super) fn run(model: &LoadedModel, request: &Request<'_>) -> Result<Answer> {
    let manifest = &*model.manifest;
    let Prepared { columns, mut active, failures } = prepare_columns(manifest, request)?;
    let rows = places(&active);
    let work = Work { model, columns: &columns, request };
    if let Some(endpoint) = &manifest.endpoint {
        return endpoint::run(&work, endpoint, &rows, failures);
    }
    if let Prediction::Transcript { speech } = &manifest.prediction {
        return speech::run(&work, speech, &rows, failures);
    }
    if let Prediction::Text { generation } = &manifest.prediction {
        return generate::run(&work, generation, &rows, failures);
    }
    if let Prediction::Picture { diffusion } = &manifest.prediction {
        return diffusion::run(&work, diffusion, &rows, failures);
    }
    if let Prediction::Lines { ocr } = &manifest.prediction {
        return ocr::run(&work, ocr, &rows, failures);
    }
    if let Prediction::VoiceActivity { activity } = &manifest.prediction {
        return voice_activity::run(&work, activity, &rows, failures);
    }
    let references = request.wanted.references(manifest)?;
    let collectors = references.iter().map(|reference| Collector::new(manifest, reference, request.rows)).collect::<Result<_>>()?;
    let results = Results::new(request, collectors, failures);
    if has_media(manifest) {
        run_media(&work, &rows, &references, &results)?;
    } else {
        run_windows(&work, &rows, &references, &results)?;
    }
    let (collectors, mut failures) = results.take()?;
    for failure in &failures {
        active[failure.row] = false;
    }
    let start = Instant::now();
    let values = assemble(manifest, request.wanted, &columns, collectors, &mut active, &mut failures)?;
    request.stats.scatter_time.since(start);
    failures.sort_by_key(|failure| failure.row);
    Ok(Answer::new(values, failures))
}

/// Where `flags` are true.
pub(super) fn places(flags: &[bool]) -> Vec<usize> {
    if flags.iter().all(|flag| *flag) {
        return (0..flags.len()).collect();
    }
    (0..flags.len()).filter(|place| flags[*place]).collect()
}

fn has_media(manifest: &Manifest) -> bool {
    manifest.inputs.iter().any(|input| input.modality.is_media())
}

/// Each worker decodes a batch and runs it at once: no more media are in memory than workers have in hand, and
/// nobody waits for the slowest of many.
fn run_media(work: &Work<'_>, rows: &[usize], references: &[OutputRef], results: &Results<'_>) -> Result<()> {
    let manifest = &*work.model.manifest;
    let size = sizes(work.model, work.request.limits).rows(manifest);
    // Small calls are shared among all workers.
    let size = size.min(rows.len().div_ceil(workers::count()?)).max(1);
    let sorted = by_length(work, rows)?;
    let mut fetches = Fetches::start(work, sorted.as_deref().unwrap_or(rows))?;
    while let Some((rows, fetched)) = fetches.next(work)? {
        let one = |rows: &[usize]| {
            if results.is_over() {
                return;
            }
            let mut failures = Vec::new();
            let (encoded, usable) = encode(work, rows, &fetched, &mut failures, false);
            results.fail(failures);
            for positions in plan(work.model, &encoded, usable, work.request.limits, 1) {
                run_or_split(work, &encoded, rows, &positions, references, results);
            }
        };
        workers::for_each(rows.chunks(size), one)?;
        work.request.cancel.check()?;
    }
    Ok(())
}

/// Rows with texts beside their pictures in the order of their lengths, as a batch is padded to its longest text. Each
/// text is cut twice for that, which takes a thousandth of the time of its picture.
fn by_length(work: &Work<'_>, rows: &[usize]) -> Result<Option<Vec<usize>>> {
    let texts: Vec<&str> = work
        .model
        .manifest
        .inputs
        .iter()
        .filter(|input| matches!(input.modality, Modality::Text(_)))
        .map(|input| input.name.as_str())
        .collect();
    if texts.is_empty() {
        return Ok(None);
    }
    // A text that fails does so again where it counts.
    let length = |row: usize| texts.iter().map(|input| token_count(work, input, row)).sum::<usize>();
    let mut lengths = workers::map(rows.len(), 1, |place| (length(rows[place]), rows[place]))?;
    lengths.sort_unstable();
    Ok(Some(lengths.into_iter().map(|(_, row)| row).collect()))
}

/// Texts are sorted by length within a window, for which all of them must be tokens.
fn run_windows(work: &Work<'_>, rows: &[usize], references: &[OutputRef], results: &Results<'_>) -> Result<()> {
    for window in rows.chunks(window_rows(work)) {
        if results.is_over() {
            break;
        }
        let mut failures = Vec::new();
        let (encoded, usable) = encode(work, window, &HashMap::new(), &mut failures, true);
        results.fail(failures);
        work.request.cancel.check()?;
        let batches = plan(work.model, &encoded, usable, work.request.limits, workers::count()?);
        let run = |positions: Vec<usize>| run_or_split(work, &encoded, window, &positions, references, results);
        workers::for_each(batches, run)?;
    }
    Ok(())
}

/// Rows that are prepared together: fewer where each has many measurements.
fn window_rows(work: &Work<'_>) -> usize {
    let values = |input: &Input| match &input.modality {
        Modality::Series(spec) => {
            let column = work.columns.get(&input.name)?.values.as_list_opt::<i64>()?;
            let own = column.values().len() / column.len().max(1);
            Some(own.max(spec.steps.unwrap_or(0) * spec.channels.count()))
        }
        _ => None,
    };
    let values: usize = work.model.manifest.inputs.iter().filter_map(values).sum();
    (WINDOW_VALUES / values.max(1)).clamp(1, WINDOW_ROWS)
}

impl Sizes {
    /// What the limits say, or else what the device does best. `media` and `numbers` are the same then.
    fn of(is_gpu: bool, limits: &Limits) -> Self {
        let own = if is_gpu { GPU } else { CORE };
        let or = |limit: usize, own: usize| if limit == 0 { own } else { limit };
        Self {
            media: or(limits.batch_rows, own.media),
            numbers: or(limits.batch_rows, own.numbers),
            written: or(limits.batch_rows, own.written),
            drawn: or(limits.batch_rows, own.drawn),
            tokens: or(limits.batch_tokens, own.tokens),
            token_multiple: own.token_multiple,
        }
    }

    fn rows(self, manifest: &Manifest) -> usize {
        let own = match &manifest.prediction {
            Prediction::Text { .. } => self.written,
            Prediction::Picture { .. } => self.drawn,
            _ if has_media(manifest) => self.media,
            _ => self.numbers,
        };
        let frames = |input: &Input| match &input.modality {
            // Of prompts with videos few are in hand at once, whatever the size of the batch.
            Modality::Video(spec) if !manifest.writes() => spec.frame_values().unwrap_or(1) * spec.frames,
            _ => 0,
        };
        let of_videos: usize = manifest.inputs.iter().map(frames).sum();
        let own = VIDEO_VALUES.checked_div(of_videos).map_or(own, |rows| own.min(rows.max(1)));
        // Each row that is asked about looks at all whose labels are known.
        let own = manifest.context.as_ref().map_or(own, |context| own.min((CONTEXT_PAIRS / context.rows.max(1)).max(1)));
        manifest.stages.iter().find_map(Stage::fixed_batch).unwrap_or(own)
    }
}

/// How the rows of a call are cut into batches, in words.
pub fn batch_plan(manifest: &Manifest, limits: &Limits) -> String {
    if let Some(endpoint) = &manifest.endpoint {
        return format!("{} requests at once to {}", endpoint.max_concurrency, endpoint.host().0);
    }
    let sizes = Sizes::of(limits.device.may_be_gpu(), limits);
    let is_text = manifest.inputs.iter().any(|input| matches!(input.modality, Modality::Text(_)));
    match (is_text, has_media(manifest)) {
        (true, true) => format!("{} rows, {} tokens", sizes.rows(manifest), sizes.tokens),
        (true, false) => format!("{} tokens, sorted by length", sizes.tokens),
        _ => format!("{} rows", sizes.rows(manifest)),
    }
}

/// Rows that one worker has in hand at once.
pub(super) fn batch_rows(model: &LoadedModel, limits: &Limits) -> usize {
    sizes(model, limits).rows(&model.manifest)
}

fn sizes(model: &LoadedModel, limits: &Limits) -> Sizes {
    Sizes::of(!model.is_on_cpu(), limits)
}

/// How long an input of variable length is in each row.
struct Length<'a> {
    of: Box<dyn Fn(usize) -> usize + 'a>,
    /// So much of it takes about as long as a token of text.
    unit: usize,
    must_be_equal: bool,
}

/// Steps of models that read samples, a second: wav2vec2 and its kin have strides of 20 ms.
const SOUND_STEPS: u32 = 50;
/// Models of measurements are small: so many values of theirs are worth a token.
const SERIES_VALUES: usize = 128;
/// The same for models of patches of sound: a batch has a few dozen of them.
const PATCH_VALUES: usize = 512;
/// Values of videos that one worker has in hand, 64 MiB, and of windows of measurements that are prepared together.
const VIDEO_VALUES: usize = 16 << 20;
const WINDOW_VALUES: usize = 64 << 20;

fn lengths<'a>(manifest: &'a Manifest, encoded: &'a Encoded) -> Vec<Length<'a>> {
    let length = |input: &'a Input| match &input.modality {
        Modality::Text(spec) => {
            let tokens = encoded.tokens.get(&input.name)?;
            let of = Box::new(move |position: usize| spec.fixed_tokens.unwrap_or(tokens[position].ids.len()));
            Some(Length { of, unit: 1, must_be_equal: !spec.masked && spec.fixed_tokens.is_none() })
        }
        Modality::Audio(spec) if spec.fixed_shape().is_none() => {
            let sounds = encoded.sounds.get(&input.name)?;
            let unit = (spec.sampling_rate / SOUND_STEPS).max(1) as usize;
            Some(Length { of: Box::new(move |position| sounds[position].len()), unit, must_be_equal: spec.needs_equal_lengths() })
        }
        // Measured in values, so that many channels count.
        Modality::Series(spec) => {
            let windows = encoded.series.get(&input.name)?;
            let of = Box::new(move |position: usize| windows[position].values.len());
            Some(Length { of, unit: SERIES_VALUES, must_be_equal: spec.needs_equal_lengths() })
        }
        Modality::Audio(spec) if matches!(spec.features, AudioFeatures::Yamnet { .. }) => {
            let sounds = encoded.sounds.get(&input.name)?;
            Some(Length { of: Box::new(move |position| sounds[position].len()), unit: PATCH_VALUES, must_be_equal: false })
        }
        _ => None,
    };
    manifest.inputs.iter().filter_map(length).collect()
}

/// Batches for `workers` that have nothing else to do; a GPU takes what it is given.
fn plan(model: &LoadedModel, encoded: &Encoded, usable: Vec<usize>, limits: &Limits, workers: usize) -> Vec<Vec<usize>> {
    let manifest = &*model.manifest;
    let sizes = sizes(model, limits);
    let lengths = lengths(manifest, encoded);
    let equal_lengths = lengths.iter().any(|length| length.must_be_equal);
    // Lengths of several inputs are compared by their sum, which does not make each of them equal.
    let alone = equal_lengths && lengths.len() > 1;
    let max_rows = if alone { 1 } else { sizes.rows(manifest) };
    // A single sound is measured in samples, so that equal means equal.
    let unit = if let [only] = lengths.as_slice() { only.unit } else { 1 };
    let rule = BatchRule { max_rows, max_tokens: sizes.tokens.saturating_mul(unit), equal_lengths };
    let sum = |position: usize| match lengths.as_slice() {
        [only] => (only.of)(position),
        several => several.iter().map(|length| (length.of)(position).div_ceil(length.unit)).sum(),
    };
    let lengths = (!lengths.is_empty()).then_some(&sum as &dyn Fn(usize) -> usize);
    cut(usable, lengths, rule, if model.is_on_cpu() { workers } else { 1 })
}

/// Runs a batch; if the graph fails on it, its halves, so that one row does not sink its neighbours.
fn run_or_split(
    work: &Work<'_>,
    encoded: &Encoded,
    window: &[usize],
    positions: &[usize],
    references: &[OutputRef],
    results: &Results<'_>,
) {
    if results.is_over() {
        return;
    }
    let (model, stats) = (work.model, work.request.stats);
    let batch = Batch {
        manifest: &model.manifest,
        columns: work.columns,
        encoded,
        window,
        token_multiple: sizes(model, work.request.limits).token_multiple,
        positions: fill_up(&model.manifest, positions),
    };
    model.running.fetch_add(1, Ordering::Relaxed);
    let result = run_batch(&batch, model, references, positions.len(), work.request.cancel, stats);
    model.running.fetch_sub(1, Ordering::Relaxed);
    stats.batches.add(1);
    let (tokens, padded) = batch.tokens_and_padding();
    stats.tokens.add(tokens);
    stats.padded_tokens.add(padded);
    match result {
        Err(error) if error.kind() == Kind::Model && error.is_retryable() && positions.len() > 1 => {
            let (left, right) = positions.split_at(positions.len() / 2);
            run_or_split(work, encoded, window, left, references, results);
            run_or_split(work, encoded, window, right, references, results);
        }
        result => {
            stats.model_rows.add(positions.len());
            model.rows.fetch_add(positions.len() as u64, Ordering::Relaxed);
            results.add((positions.iter().map(|position| window[*position]).collect(), result));
        }
    }
}

/// A graph with a fixed batch gets the last row as often as it needs; those answers are not used.
fn fill_up<'a>(manifest: &Manifest, positions: &'a [usize]) -> Cow<'a, [usize]> {
    let size = manifest.stages.iter().find_map(Stage::fixed_batch).unwrap_or(0);
    match positions.last() {
        Some(last) if positions.len() < size => {
            let mut filled = positions.to_vec();
            filled.resize(size, *last);
            Cow::Owned(filled)
        }
        _ => Cow::Borrowed(positions),
    }
}
