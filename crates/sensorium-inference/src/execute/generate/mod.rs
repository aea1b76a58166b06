//! Texts that a model writes, token by token, several rows at a time.
//!
//! Each worker has a batch of rows: one that has ended leaves, the next one enters (continuous batching, as in Orca, Yu et al., OSDI
//! 2022). What all prompts begin with is read once. Given the same seed a row's text depends on its prompt alone, but for the rounding
//! of a batch of another shape: small in single precision, coarse where a graph quantises the whole batch by one scale.

mod beams;
mod budget;
mod closed;
mod frames;
mod likelihood;
mod markers;
mod media;
mod prompt;
mod rules;
mod schema;
mod text;
mod writer;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray};

use super::answer::Wanted;
use super::decoder::{Decoder, cache_bytes_of_step, cache_bytes_of_token};
use super::encode::Work;
use super::fetch::Fetches;
use super::results::Results;
use super::run::{Answer, Failure, Step, batch_rows};
use super::workers;
use super::zero_shot::best_labels;
use crate::error::{Error, Kind, Result};
use crate::modality::TextCodec;
use crate::package::Generation;
use closed::Labels;
pub(super) use prompt::{Prompt, PromptColumn};
use prompt::{PromptTokens, Prompts};
use schema::Schema;
use text::Outcome;
pub(super) use text::{Written, assemble, text_fields};
use writer::{Asked, LONGEST_QUESTION, Queue, Writer};

/// A shorter common start is not worth its copies.
const FEWEST_SHARED: usize = 16;

/// The text of each of `rows`; `failures` are those of rows that cannot be looked at.
pub(super) fn run(work: &Work<'_>, generation: &Generation, rows: &[usize], failures: Vec<Failure>) -> Result<Answer> {
    if work.request.wanted == Wanted::Prompt {
        return shown(work, generation, rows, failures);
    }
    let results = Results::new(work.request, Vec::new(), failures);
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new((0..work.request.rows).map(|_| None).collect());
    let codec = codec(work)?;
    let labels = Labels::of(generation, codec, work.request.limits)?;
    let generation = &match &labels {
        Some(labels) => with_labels(generation, labels),
        None => with_stop_tokens(generation, codec),
    };
    let asked = asked(work, generation, codec, rows, &results)?;
    let decoder = Decoder::of(work)?;
    let schema = generation
        .rules
        .json_schema
        .as_ref()
        .map(|schema| Schema::new(codec, &generation.ends, schema, work.request.cancel))
        .transpose()?;
    let mut writer = Writer {
        work,
        generation,
        codec,
        decoder,
        schema: schema.as_ref(),
        labels: labels.as_ref(),
        prefix: None,
        token_bytes: cache_bytes_of_token(&work.model.manifest),
        step_bytes: cache_bytes_of_step(&work.model.manifest),
        batch: batch(work, asked.len())?,
    };
    if let Some(start) = shared_start(&asked, generation).filter(|_| writer.shares_starts() && !results.is_over()) {
        writer.read_start(start, &asked)?;
    }
    let done = |row: usize, outcome: Outcome| outcomes.lock().unwrap_or_else(PoisonError::into_inner)[row] = Some(outcome);
    let workers = if work.model.is_on_cpu() { workers::count()? } else { 1 };
    let sorted: Vec<usize> = asked.iter().map(|asked| asked.row).collect();
    let mut fetches = Fetches::start(work, &sorted)?;
    let mut rest = asked.as_slice();
    while let Some((rows, fetched)) = fetches.next(work)? {
        let (own, others) = rest.split_at(rows.len());
        rest = others;
        let queue = Queue { asked: own, fetched: &fetched, next: AtomicUsize::new(0), alone: Mutex::default(), results: &results };
        workers::for_each(0..workers, |_| writer.write_all(&queue, &done))?;
        if results.is_over() {
            break;
        }
    }
    let is_whole = !results.is_over();
    let (_, mut failures) = results.take()?;
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    check_whole(&asked, &outcomes, &failures, is_whole)?;
    failures.sort_by_key(|failure| failure.row);
    let start = Instant::now();
    let values = if labels.is_some() { assemble_labels(outcomes, &generation.rules.labels) } else { assemble_texts(outcomes) }?;
    work.request.stats.scatter_time.since(start);
    Ok(Answer::new(values, failures))
}

/// What the model sees of each prompt.
fn shown(work: &Work<'_>, generation: &Generation, rows: &[usize], mut failures: Vec<Failure>) -> Result<Answer> {
    let (prompts, column) = (Prompts::new(generation, codec(work)?)?, PromptColumn::of(work)?);
    let mut texts: Vec<Option<String>> = vec![None; work.request.rows];
    for row in rows {
        work.request.cancel.check()?;
        let text = || {
            column.row(*row).check_length(work.request.limits)?;
            let spread = frames::spread(column.row(*row), &generation.media, &media::counts(work, &generation.media, *row)?)?;
            prompts.text(spread.prompt(), &spread.media).map(Cow::into_owned)
        };
        match text() {
            Ok(text) => texts[*row] = Some(text),
            Err(error) => failures.push(Failure { row: *row, uri: None, step: Step::Tokenize, error }),
        }
    }
    failures.sort_by_key(|failure| failure.row);
    Ok(Answer::new(Arc::new(StringArray::from(texts)), failures))
}

fn codec<'a>(work: &Work<'a>) -> Result<&'a TextCodec> {
    work.model.text_codec().ok_or_else(|| Error::new(Kind::Package, "a model that writes, without a tokenizer"))
}

/// A row without text has a reason, or the call has an error.
fn check_whole(asked: &[Asked], outcomes: &[Option<Outcome>], failures: &[Failure], is_whole: bool) -> Result<()> {
    let failed: HashSet<usize> = failures.iter().map(|failure| failure.row).collect();
    match asked.iter().find(|asked| is_whole && outcomes[asked.row].is_none() && !failed.contains(&asked.row)) {
        Some(asked) => Err(Error::new(Kind::Runtime, format!("row {} of the window was not written", asked.row))),
        None => Ok(()),
    }
}

fn assemble_texts(outcomes: Vec<Option<Outcome>>) -> Result<ArrayRef> {
    let text = |outcome| match outcome {
        Some(Outcome::Text(written)) => Some(written),
        _ => None,
    };
    assemble(&outcomes.into_iter().map(text).collect::<Vec<_>>())
}

fn assemble_labels(outcomes: Vec<Option<Outcome>>, names: &[String]) -> Result<ArrayRef> {
    let row = |outcome| match outcome {
        Some(Outcome::Probabilities(probabilities)) => Some((names, probabilities)),
        _ => None,
    };
    best_labels(&outcomes.into_iter().map(row).collect::<Vec<_>>())
}

/// Rows, or beams, that one worker writes at once.
fn batch(work: &Work<'_>, rows: usize) -> Result<usize> {
    // Few rows are shared among all workers.
    let share = if work.model.is_on_cpu() { rows.div_ceil(workers::count()?) } else { rows };
    Ok(batch_rows(work.model, work.request.limits).min(share.max(1)))
}

/// The prompts of `rows` as tokens, the longest first.
fn asked(work: &Work<'_>, generation: &Generation, codec: &TextCodec, rows: &[usize], results: &Results<'_>) -> Result<Vec<Asked>> {
    let start = Instant::now();
    let prompts = Prompts::new(generation, codec)?;
    let column = PromptColumn::of(work)?;
    let one = |place: usize| {
        let row = rows[place];
        work.request.cancel.check()?;
        column.row(row).check_length(work.request.limits)?;
        let spread = frames::spread(column.row(row), &generation.media, &media::counts(work, &generation.media, row)?)?;
        let PromptTokens { decoder: prompt, encoder: question } = prompts.tokens(spread.prompt(), &spread.media, work.request.limits)?;
        let left = generation.max_positions.saturating_sub(prompt.len());
        let longest = generation.max_positions.min(LONGEST_QUESTION);
        // A label that is cut off has no likelihood.
        let left = if generation.rules.labels.is_empty() || left >= generation.rules.max_tokens { left } else { 0 };
        if left == 0 || question.len() > longest {
            let tokens = prompt.len().max(question.len());
            let most = if left == 0 { generation.max_positions } else { longest };
            let message = format!("a prompt of {tokens} tokens leaves no room for an answer: the model takes {most}");
            return Err(
                Error::new(Kind::Limit, message).with_hint("shorten the prompt, or ask about fewer media, or fewer frames of a video")
            );
        }
        Ok(Asked { row, limit: generation.rules.max_tokens.min(left), prompt, question, order: spread.order })
    };
    let (mut asked, mut failures) = (Vec::with_capacity(rows.len()), Vec::new());
    for (place, outcome) in workers::map(rows.len(), 1, one)?.into_iter().enumerate() {
        match outcome {
            Ok(own) => asked.push(own),
            Err(error) => failures.push(Failure { row: rows[place], uri: None, step: Step::Tokenize, error }),
        }
    }
    results.fail(failures);
    let tokens = |asked: &Asked| asked.prompt.len() + asked.question.len();
    asked.sort_by(|one, other| tokens(other).cmp(&tokens(one)).then_with(|| one.prompt.cmp(&other.prompt)));
    work.request.stats.tokenize_time.since(start);
    Ok(asked)
}

/// What all prompts begin with, where it is worth reading by itself; media are others in each row.
fn shared_start<'a>(asked: &'a [Asked], generation: &Generation) -> Option<&'a [u32]> {
    let (first, rest) = asked.split_first()?;
    let is_medium = |token: &u32| generation.media.iter().any(|marker| marker.token == *token);
    let same = |length: usize, other: &Asked| {
        let own = first.prompt[..length].iter().zip(&other.prompt).take_while(|(one, other)| one == other).count();
        // Something is left to read, for the scores behind it.
        own.min(other.prompt.len() - 1)
    };
    let words = first.prompt.iter().position(is_medium).unwrap_or(first.prompt.len());
    let length = rest.iter().fold(words.min(first.prompt.len() - 1), same);
    (!rest.is_empty() && length >= FEWEST_SHARED).then(|| &first.prompt[..length])
}

/// The same with a text for each label, as long as the longest.
fn with_labels(generation: &Generation, labels: &Labels) -> Generation {
    let mut own = generation.clone();
    // Nothing goes on behind labels of one token each.
    own.rules.beams = if labels.longest() > 1 { labels.count() } else { 1 };
    own.rules.max_tokens = labels.longest();
    own
}

/// The same with stop texts that are one token as further ends: such tokens may have no text of their own.
fn with_stop_tokens(generation: &Generation, codec: &TextCodec) -> Generation {
    let mut own = generation.clone();
    own.ends.extend(generation.rules.stop.iter().filter_map(|stop| codec.token(stop)).filter(|token| !generation.ends.contains(token)));
    own
}
