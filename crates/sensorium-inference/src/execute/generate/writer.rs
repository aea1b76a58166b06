//! Rows through the decoder: read their prompts, write a token of each at a time, let rows that have ended go and others in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::decoder::{Decoder, Scores, State};
use super::super::encode::Work;
use super::super::fetch::Fetched;
use super::super::results::Results;
use super::super::run::{Failure, Step};
use super::beams::{Beams, Continuations};
use super::budget::{self, Reserved};
use super::closed::{Closed, Labels};
use super::frames::Shown;
use super::likelihood::{largest, log_sum_exp};
use super::media::{self, Prepared, Seen};
use super::rules::{SoFar, apply, candidates, draw, seeded};
use super::schema::{Answer, Schema};
use super::text::{Finish, Outcome, Written};
use crate::error::{Error, Kind, Result};
use crate::modality::TextCodec;
use crate::package::Generation;
use crate::random::Random;

/// Rows that have ended are taken out of the batch when they are at least this part of it, and others are let in when so much room
/// is: copying a cache has its price.
const MOVED_PART: usize = 4;
/// Bytes of scores that one reading of prompts may give: most are of places that nobody asks for.
const SCORES_BYTES: usize = 64 << 20;
/// Tokens of prompts that are read at once where the graph gives no more scores than are wanted: what they take in memory on their way is bounded so.
const READ_TOKENS: usize = 1_024;

/// Bytes of decoded media, beyond which no further row is let in with others.
const MEDIA_BYTES: usize = 64 << 20;

/// Pairs of tokens of texts that an encoder compares at once, and of one text at most.
const ATTENTION_PAIRS: usize = 1 << 22;
pub(super) const LONGEST_QUESTION: usize = 8_192;

/// A row with its prompt.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) row: usize,
    pub(super) prompt: Vec<u32>,
    /// What an encoder reads, of a model that has one for prompts.
    pub(super) question: Vec<u32>,
    /// What its pictures are of, where there are videos.
    pub(super) order: Vec<Shown>,
    /// Tokens that it may write.
    pub(super) limit: usize,
}

impl Asked {
    /// Tokens that it has at its end, at most.
    fn most_tokens(&self) -> usize {
        self.prompt.len() + self.limit
    }
}

/// What all prompts begin with, read already.
pub(super) struct Prefix {
    state: State,
    /// Memory for its cache.
    _reserved: Reserved,
}

/// What all rows share.
pub(super) struct Writer<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) generation: &'a Generation,
    pub(super) codec: &'a TextCodec,
    pub(super) decoder: Decoder<'a>,
    /// What answers must be.
    pub(super) schema: Option<&'a Schema>,
    /// The only answers that there are.
    pub(super) labels: Option<&'a Labels>,
    pub(super) prefix: Option<Prefix>,
    /// Bytes of cache that a token takes.
    pub(super) token_bytes: usize,
    /// The same of a step of what is looked at besides.
    pub(super) step_bytes: usize,
    /// Rows, or beams, in a batch at most.
    pub(super) batch: usize,
}

/// Rows that no worker has begun yet, the longest prompts first.
pub(super) struct Queue<'a> {
    pub(super) asked: &'a [Asked],
    /// Their remote media.
    pub(super) fetched: &'a Fetched,
    pub(super) next: AtomicUsize,
    /// Rows whose batch failed; each is tried by itself.
    pub(super) alone: Mutex<Vec<Asked>>,
    pub(super) results: &'a Results<'a>,
}

/// A row that is being written.
struct Row<'a> {
    asked: Asked,
    texts: Texts<'a>,
    finish: Option<Finish>,
    /// Whether it had to end before it was what it must be.
    cut: bool,
    /// Its media, until they are read.
    media: Prepared,
    /// Memory for its cache.
    _reserved: Reserved,
}

/// What there is of its text.
enum Texts<'a> {
    One { written: Vec<u32>, logprob: f64, random: Option<Random>, held: Option<Box<Answer<'a>>> },
    Several(Beams),
    Closed(Closed<'a>),
}

impl Queue<'_> {
    fn peek(&self) -> Option<&Asked> {
        self.asked.get(self.next.load(Ordering::Relaxed))
    }

    /// The next row, if it is still the one that was looked at.
    fn take(&self, looked: &Asked) -> bool {
        let place = self.next.load(Ordering::Relaxed);
        self.asked.get(place).is_some_and(|asked| asked.row == looked.row)
            && self.next.compare_exchange(place, place + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<'a> Writer<'a> {
    /// Reads what all prompts begin with, `start`; nothing where there is no room for it, or where the graph fails on it: each row then
    /// reads it by itself.
    ///
    /// What is held of it while rows wait for their memory must leave room for any of them, whatever other queries hold.
    pub(super) fn read_start(&mut self, start: &[u32], asked: &[Asked]) -> Result<()> {
        let limit = self.work.request.limits.kv_cache_bytes;
        let longest = asked.iter().map(Asked::most_tokens).max().unwrap_or(0);
        if longest.saturating_mul(self.token_bytes).saturating_mul(2 * self.generation.rules.beams) > limit / 2 {
            return Ok(());
        }
        // So little that the rows behind it find room beside it.
        let Some(reserved) = budget::reserve(2 * start.len() * self.token_bytes, limit / 8) else { return Ok(()) };
        let mut state = State::new(None, 1);
        match self.decoder.step_in_pieces(&mut state, &[start.to_vec()], self.places(1)) {
            Ok(_) => self.prefix = Some(Prefix { state, _reserved: reserved }),
            Err(error) if error.kind() == Kind::Model => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes rows until there are no more.
    pub(super) fn write_all(&self, queue: &Queue<'_>, done: &(impl Fn(usize, Outcome) + Sync)) {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut state: Option<State> = None;
        while !queue.results.is_over() {
            let advanced = self
                .let_in(queue, &mut rows, &mut state)
                .and_then(|is_any| if is_any { self.advance(&mut rows, &mut state) } else { Ok(()) });
            if let Err(error) = advanced {
                state = None;
                self.failed(queue, rows.drain(..).map(|row| row.asked).collect(), error);
                continue;
            }
            if rows.is_empty() {
                if queue.peek().is_none() {
                    break;
                }
                continue;
            }
            if let Err(error) = self.let_go(queue, &mut rows, &mut state, done) {
                state = None;
                self.failed(queue, rows.drain(..).map(|row| row.asked).collect(), error);
            }
        }
        while let Some(asked) =
            (!queue.results.is_over()).then(|| queue.alone.lock().unwrap_or_else(PoisonError::into_inner).pop()).flatten()
        {
            self.write_alone(queue, asked, done);
        }
    }

    /// A failure of a batch may be one row's.
    fn failed(&self, queue: &Queue<'_>, mut asked: Vec<Asked>, error: Error) {
        match error.kind() {
            Kind::Model if asked.len() > 1 => queue.alone.lock().unwrap_or_else(PoisonError::into_inner).append(&mut asked),
            Kind::Model | Kind::Limit | Kind::Media => {
                let failure = |asked: Asked| Failure { row: asked.row, uri: None, step: Step::Model, error: error.clone() };
                queue.results.fail(asked.into_iter().map(failure).collect());
            }
            _ => queue.results.add((asked.into_iter().map(|asked| asked.row).collect(), Err(error))),
        }
    }

    fn write_alone(&self, queue: &Queue<'_>, asked: Asked, done: &(impl Fn(usize, Outcome) + Sync)) {
        let write = || {
            let Some(reserved) = self.reserve(&asked, 0, true)? else { return Ok(()) };
            let row = match self.row(queue, asked.clone(), reserved) {
                Ok(row) => row,
                Err(failure) => {
                    queue.results.fail(vec![*failure]);
                    return Ok(());
                }
            };
            let mut rows = vec![row];
            let mut state = Some(self.read(&mut rows)?);
            while !rows.is_empty() && !queue.results.is_over() {
                self.let_go(queue, &mut rows, &mut state, done)?;
                if !rows.is_empty() {
                    self.advance(&mut rows, &mut state)?;
                }
            }
            Ok(())
        };
        if let Err(error) = write() {
            self.failed(queue, vec![asked], error);
        }
    }

    /// Memory for a row's cache: what a step reads and what it writes are there at once, and a row beside a longer one is filled up to
    /// its length.
    fn reserve(&self, asked: &Asked, longest: usize, may_wait: bool) -> Result<Option<Reserved>> {
        let limits = self.work.request.limits;
        let steps = asked.question.len().saturating_mul(self.step_bytes);
        let bytes = asked.most_tokens().max(longest).saturating_mul(self.token_bytes).saturating_add(steps);
        let bytes = bytes.saturating_mul(2 * self.generation.rules.beams);
        if bytes > limits.kv_cache_bytes {
            return Err(too_long(bytes, limits.kv_cache_bytes));
        }
        if may_wait {
            return budget::wait(bytes, limits.kv_cache_bytes, self.work.request.cancel).map(Some);
        }
        Ok(budget::reserve(bytes, limits.kv_cache_bytes))
    }

    /// Lets rows into the batch where there is room. Returns whether there are any.
    fn let_in(&self, queue: &Queue<'_>, rows: &mut Vec<Row<'a>>, state: &mut Option<State>) -> Result<bool> {
        let beams = self.generation.rules.beams;
        let most = (self.batch / beams).max(1);
        let is_worth_it = rows.is_empty() || (self.generation.is_padded && (most - rows.len().min(most)) * MOVED_PART >= most);
        if !is_worth_it {
            return Ok(true);
        }
        let mut new: Vec<Row<'a>> = Vec::new();
        while rows.len() + new.len() < most && !queue.results.is_over() {
            let Some(asked) = queue.peek() else { break };
            if new.iter().map(|row| row.media.bytes()).sum::<usize>() > MEDIA_BYTES {
                break;
            }
            let is_other = |row: &Row<'_>| row.asked.prompt.len() != asked.prompt.len();
            if !self.generation.is_padded && new.first().is_some_and(is_other) || self.is_much_to_read(&new, asked) {
                break;
            }
            let has_none = rows.is_empty() && new.is_empty();
            let longest = rows.iter().chain(&new).map(|row| row.asked.most_tokens()).max().unwrap_or(0);
            match self.reserve(asked, longest, has_none) {
                Ok(Some(reserved)) if queue.take(asked) => match self.row(queue, asked.clone(), reserved) {
                    Ok(row) => new.push(row),
                    Err(failure) => queue.results.fail(vec![*failure]),
                },
                // Another worker was faster.
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Beside longer ones it takes more than by itself.
                Err(_) if !has_none => break,
                Err(error) if error.kind() == Kind::Limit => {
                    if queue.take(asked) {
                        self.failed(queue, vec![asked.clone()], error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if new.is_empty() {
            return Ok(!rows.is_empty());
        }
        let read = match self.read(&mut new) {
            Ok(read) => read,
            Err(error) => {
                self.failed(queue, new.into_iter().map(|row| row.asked).collect(), error);
                return Ok(!rows.is_empty());
            }
        };
        // Before anything can fail, so that no row is lost.
        rows.append(&mut new);
        *state = Some(match state.take() {
            None => read,
            Some(known) => State::join(&[(&known, &all(&known)), (&read, &all(&read))])?,
        });
        Ok(true)
    }

    /// Whether a graph that reads prompts as wholes would give more scores than there should be.
    fn is_much_to_read(&self, new: &[Row], asked: &Asked) -> bool {
        let longest = new.iter().map(|row| row.asked.prompt.len()).max().unwrap_or(0).max(asked.prompt.len());
        // An encoder's attention grows with the square of the longest text.
        let question = new.iter().map(|row| row.asked.question.len()).max().unwrap_or(0).max(asked.question.len());
        if !new.is_empty() && (new.len() + 1) * question * question > ATTENTION_PAIRS {
            return true;
        }
        !self.reads_in_pieces() && !new.is_empty() && (new.len() + 1) * longest > self.places(1)
    }

    /// Whether prompts may be read in pieces: a graph that counts tokens reads several at once only at their start.
    pub(super) fn reads_in_pieces(&self) -> bool {
        self.generation.is_padded && self.decoder.reads_in_pieces()
    }

    /// Whether what all prompts begin with may be read once: not where the decoder looks at something besides.
    pub(super) fn shares_starts(&self) -> bool {
        self.reads_in_pieces() && !self.decoder.looks()
    }

    /// Places of each of `rows` whose scores are no more than there should be.
    pub(super) fn places(&self, rows: usize) -> usize {
        if self.decoder.scores_last() {
            return (READ_TOKENS / rows).max(1);
        }
        (SCORES_BYTES / (rows * self.vocabulary() * size_of::<f32>()).max(1)).max(1)
    }

    /// Decodes the media of a row, which is then ready to be read.
    fn row(&self, queue: &Queue<'_>, asked: Asked, reserved: Reserved) -> Result<Row<'a>, Box<Failure>> {
        let media = media::prepare(self.work, asked.row, &asked.order, queue.fetched)?;
        let texts = if let Some(labels) = self.labels {
            Texts::Closed(labels.begin())
        } else if self.generation.rules.beams > 1 {
            Texts::Several(Beams::new(asked.limit))
        } else {
            let random = self
                .generation
                .rules
                .is_drawn
                .then(|| seeded(self.generation.rules.drawing.seed, &asked.prompt, &asked.question, media.digest()));
            Texts::One { written: Vec::new(), logprob: 0.0, random, held: self.schema.map(|schema| Box::new(schema.begin())) }
        };
        Ok(Row { asked, texts, finish: None, cut: false, media, _reserved: reserved })
    }

    /// Reads the prompts of new rows and writes the first token of each.
    fn read(&self, rows: &mut [Row<'_>]) -> Result<State> {
        let known = self.prefix.as_ref().map_or(0, |prefix| prefix.state.length());
        let new: Vec<Vec<u32>> = rows.iter().map(|row| row.asked.prompt[known..].to_vec()).collect();
        // Vectors of media take less than the cache, half of whose memory is not in use yet.
        let prepared: Vec<Prepared> = rows.iter_mut().map(|row| std::mem::take(&mut row.media)).collect();
        let asked: Vec<&Asked> = rows.iter().map(|row| &row.asked).collect();
        let Seen { looked, inserted } = media::see(self.work, self.generation, &asked, &prepared)?;
        drop(prepared);
        let mut state = match &self.prefix {
            Some(prefix) => prefix.state.select(&vec![0; rows.len()])?,
            None => State::new(looked, rows.len()),
        };
        state.insert(inserted);
        let places = if self.reads_in_pieces() { self.places(rows.len()) } else { usize::MAX };
        let longest = new.iter().map(Vec::len).max().unwrap_or(0);
        let stats = self.work.request.stats;
        stats.tokens.add(new.iter().map(Vec::len).sum());
        stats.padded_tokens.add(longest * new.len());
        let scores = self.decoder.step_in_pieces(&mut state, &new, places)?;
        let parents = self.choose(rows, scores)?;
        stats.batches.add(1);
        let goes_on = rows.iter().any(|row| row.finish.is_none());
        if self.generation.rules.beams > 1 && goes_on { state.select(&parents) } else { Ok(state) }
    }

    /// Scores that the decoder gives for each place.
    fn vocabulary(&self) -> usize {
        self.decoder.vocabulary().unwrap_or_else(|| self.codec.size())
    }

    /// Writes a further token of each row.
    fn advance(&self, rows: &mut [Row<'_>], state: &mut Option<State>) -> Result<()> {
        let Some(own) = state else { return Ok(()) };
        if rows.iter().all(|row| row.finish.is_some()) {
            return Ok(());
        }
        // A row that has ended has no further token; its places are filled up until it goes.
        let next = |row: &Row<'_>, written: &[u32]| {
            let last = written.last().copied().filter(|_| row.finish.is_none());
            last.into_iter().collect::<Vec<u32>>()
        };
        let new: Vec<Vec<u32>> = rows
            .iter()
            .flat_map(|row| match &row.texts {
                Texts::One { written, .. } => vec![next(row, written)],
                Texts::Several(beams) => beams.running.iter().map(|beam| next(row, &beam.written)).collect(),
                Texts::Closed(closed) => closed.next().collect(),
            })
            .collect();
        let scores = self.decoder.step(own, &new)?;
        let parents = self.choose(rows, scores)?;
        if self.generation.rules.beams > 1 && parents.iter().enumerate().any(|(place, parent)| place != *parent) {
            *own = own.select(&parents)?;
        }
        Ok(())
    }

    /// Chooses the next token of each row. Returns for each text from then on which one of before it goes on from.
    fn choose(&self, rows: &mut [Row<'_>], scores: Scores) -> Result<Vec<usize>> {
        let mut scores = scores;
        let mut parents = Vec::new();
        let mut texts = scores.rows()?;
        let (mut before, mut written) = (0, 0);
        for row in rows {
            let own = match &row.texts {
                Texts::One { .. } => 1,
                Texts::Several(beams) => beams.running.len(),
                Texts::Closed(closed) => closed.running(),
            };
            let mut scores: Vec<&mut [f32]> = texts.by_ref().take(own).collect();
            if row.finish.is_none() {
                written += own;
                match &mut row.texts {
                    Texts::One { .. } => self.choose_one(row, scores.swap_remove(0))?,
                    Texts::Closed(closed) => {
                        closed.add(&scores)?;
                        row.finish = closed.is_done().then_some(Finish::Stop);
                        parents.extend((0..self.generation.rules.beams).map(|label| before + label.min(own - 1)));
                    }
                    Texts::Several(_) => parents.extend(self.choose_several(row, scores)?.into_iter().map(|parent| before + parent)),
                }
            } else {
                // Beams that have ended fill their places until they go.
                let beams = self.generation.rules.beams;
                parents.extend((0..beams).map(|beam| before + beam.min(own - 1)));
            }
            before += own;
        }
        self.work.request.stats.generated_tokens.add(written);
        Ok(parents)
    }

    fn choose_one(&self, row: &mut Row<'_>, scores: &mut [f32]) -> Result<()> {
        let Texts::One { written, logprob, random, held } = &mut row.texts else { return Ok(()) };
        let normal = checked(log_sum_exp(scores))?;
        let (generation, rules) = (self.generation, &self.generation.rules);
        let so_far = SoFar { prompt: &row.asked.prompt, written, limit: row.asked.limit };
        let raw = needs_copy(generation).then(|| scores.to_vec());
        apply(generation, scores, so_far);
        if let Some(answer) = held {
            answer.apply(scores, raw.as_deref().unwrap_or_default())?;
        }
        let token = match random {
            Some(random) => draw(&candidates(scores, &rules.drawing), random).ok_or_else(|| {
                Error::new(Kind::Model, "no token may be written next").with_hint("the rules of generation_config.json forbid all of them")
            })?,
            None => likeliest(scores),
        };
        let token = match held {
            Some(answer) => answer.take(token, written.len(), row.asked.limit, self.work.request.cancel)?,
            None => token,
        };
        let given = raw.as_deref().unwrap_or(scores);
        *logprob += f64::from(given.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY) - normal);
        written.push(token);
        let is_over = held.as_ref().is_some_and(|answer| answer.is_over());
        row.finish = if generation.ends.contains(&token) || is_over || self.ends_text(written) {
            Some(Finish::Stop)
        } else {
            (written.len() >= row.asked.limit).then_some(Finish::Length)
        };
        if let (Some(Finish::Length), Some(answer)) = (row.finish, held) {
            if answer.is_whole() {
                row.finish = Some(Finish::Stop);
            } else {
                row.cut = true;
            }
        }
        Ok(())
    }

    fn choose_several(&self, row: &mut Row<'_>, scores: Vec<&mut [f32]>) -> Result<Vec<usize>> {
        let Texts::Several(beams) = &mut row.texts else { return Ok(Vec::new()) };
        let one = |(beam, scores): (&super::beams::Beam, &mut [f32])| {
            let normal = checked(log_sum_exp(scores))?;
            scores.iter_mut().for_each(|score| *score -= normal);
            let logprobs = scores.to_vec();
            let so_far = SoFar { prompt: &row.asked.prompt, written: &beam.written, limit: row.asked.limit };
            apply(self.generation, scores, so_far);
            if self.generation.rules.renormalizes {
                let normal = checked(log_sum_exp(scores))?;
                scores.iter_mut().for_each(|score| *score -= normal);
            }
            Ok(Continuations { scores: scores.to_vec(), logprobs })
        };
        let continuations: Vec<Continuations> = beams.running.iter().zip(scores).map(one).collect::<Result<_>>()?;
        let parents = beams.advance(&continuations, self.generation, |text| self.ends_text(text));
        if beams.is_done(&self.generation.rules) {
            // What ended it is read off the best text.
            row.finish = Some(Finish::Stop);
        }
        Ok(parents)
    }

    /// Whether one of the stop texts ends it, all but its last tokens known not to.
    fn ends_text(&self, written: &[u32]) -> bool {
        let stops = &self.generation.rules.stop;
        // A token has a byte at least, or none where it steers; the first may be part of a letter.
        let Some(longest) = stops.iter().map(String::len).max() else { return false };
        let tail = &written[written.len().saturating_sub(longest + SPARE_TOKENS)..];
        self.codec.decode(tail).is_ok_and(|text| stops.iter().any(|stop| text.contains(stop)))
    }

    /// Takes rows that have ended out of the batch, where there are enough of them.
    fn let_go(&self, queue: &Queue<'_>, rows: &mut Vec<Row<'a>>, state: &mut Option<State>, done: &impl Fn(usize, Outcome)) -> Result<()> {
        let ended = rows.iter().filter(|row| row.finish.is_some()).count();
        // A graph that is not told what is filled up has none of them stay.
        if ended == 0 || (self.generation.is_padded && ended * MOVED_PART < rows.len()) {
            return Ok(());
        }
        let beams = self.generation.rules.beams;
        let is_kept: Vec<bool> = rows.iter().map(|row| row.finish.is_none()).collect();
        let kept: Vec<usize> =
            (0..rows.len()).filter(|row| is_kept[*row]).flat_map(|row| (0..beams).map(move |beam| row * beams + beam)).collect();
        *state = match state.take() {
            Some(own) if !kept.is_empty() => Some(own.select(&kept)?),
            _ => None,
        };
        let (going, staying): (Vec<Row<'a>>, Vec<Row<'a>>) = rows.drain(..).partition(|row| row.finish.is_some());
        *rows = staying;
        let (stats, count) = (self.work.request.stats, going.len());
        for row in going {
            let asked = row.asked.clone();
            match self.written(row) {
                Ok(written) => done(asked.row, written),
                Err(error) => self.failed(queue, vec![asked], error),
            }
        }
        stats.model_rows.add(count);
        self.work.model.rows.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    fn written(&self, row: Row<'_>) -> Result<Outcome> {
        if row.cut {
            let message = format!("{} tokens have no room for an answer of json_schema", row.asked.limit);
            return Err(Error::new(Kind::Limit, message).with_hint("raise max_tokens"));
        }
        let finish = row.finish.unwrap_or(Finish::Length);
        let (tokens, logprob, finish) = match row.texts {
            Texts::One { written, logprob, .. } => (written, logprob, finish),
            Texts::Several(beams) => {
                let best = beams.best();
                let is_ended = best.written.last().is_some_and(|last| self.generation.ends.contains(last)) || self.ends_text(&best.written);
                (best.written, best.logprob, if is_ended { Finish::Stop } else { Finish::Length })
            }
            Texts::Closed(closed) => return Ok(Outcome::Probabilities(closed.probabilities())),
        };
        Written::new(&tokens, logprob, finish, self.generation, self.codec).map(Outcome::Text)
    }
}

/// Tokens beyond a stop text's own bytes.
const SPARE_TOKENS: usize = 8;

fn all(state: &State) -> Vec<usize> {
    (0..state.rows()).collect()
}

/// Whether the rules change scores whose own values are wanted afterwards.
fn needs_copy(generation: &Generation) -> bool {
    let rules = &generation.rules;
    rules.repetition_penalty != 1.0 || rules.forced_first.is_some() || rules.forced_last.is_some() || rules.json_schema.is_some()
}

/// The logarithm of a sum that is no number where one of its terms is none.
pub(super) fn checked(normal: f32) -> Result<f32> {
    if normal.is_finite() { Ok(normal) } else { Err(Error::new(Kind::Model, "the score of a next token is NaN or infinite")) }
}

/// The place of the largest score, the first of several.
fn likeliest(scores: &[f32]) -> u32 {
    let most = largest(scores);
    scores.iter().position(|score| *score == most).unwrap_or(0) as u32
}

fn too_long(bytes: usize, limit: usize) -> Error {
    Error::new(Kind::Limit, format!("{bytes} bytes of the decoder's cache for prompt and answer are over the limit of {limit}"))
        .with_hint("SET mm.kv_cache_bytes, or ask for fewer max_tokens or labels")
}
