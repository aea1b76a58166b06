//! Rows that another machine answers: each a request of its own, many under way at once, vectors several a request.

mod chat;
mod client;
mod embeddings;
mod media;
mod places;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, FixedSizeListBuilder, Float32Builder, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{Wanted, result_type};
use super::encode::Work;
use super::fetch::Fetches;
use super::generate::{Prompt, PromptColumn, Written, assemble};
use super::limits::Limits;
use super::run::{Answer, Failure, Step};
use super::workers;
use crate::error::{Error, Kind, Result};
use crate::io;
use crate::package::{Endpoint, EndpointTask};
use client::Client;

/// Requests that are ready before there is room for them.
const READY: usize = 2;
/// How often one that waits for room looks again.
const LOOK: Duration = Duration::from_millis(2);
/// Rows whose requests a worker puts together before they are handed over: with media they are large.
const ROWS: usize = 4;

/// The answers to each of `rows`; `failures` are those of rows that cannot be asked about.
pub(super) fn run(work: &Work<'_>, endpoint: &Endpoint, rows: &[usize], failures: Vec<Failure>) -> Result<Answer> {
    if work.request.wanted == Wanted::Prompt {
        return Err(Error::new(Kind::Argument, "what a model at an endpoint sees of a prompt is the endpoint's affair"));
    }
    let client = Arc::new(Client::new(endpoint, work.request.limits, work.request.statement)?);
    let start = Instant::now();
    let answer = match endpoint.task {
        EndpointTask::Generation => generated(work, &client, rows, failures),
        EndpointTask::Embedding => embedded(work, &client, rows, failures),
    };
    let stats = work.request.stats;
    stats.requests.add(usize::try_from(client.requests.load(Ordering::Relaxed)).unwrap_or(0));
    stats.retried_requests.add(usize::try_from(client.retries.load(Ordering::Relaxed)).unwrap_or(0));
    stats.device_time.since(start);
    answer
}

/// Asks for the vector of a word, to see whether the endpoint answers and how wide its vectors are; for an answer where it gives none.
///
/// # Errors
/// [`Kind::Forbidden`] where the session does not allow the host, [`Kind::Fetch`] where it does not answer.
pub fn try_endpoint(endpoint: &Endpoint, limits: &Limits) -> Result<Option<usize>> {
    // Of no statement: each look is one of its own.
    static LOOKS: AtomicU64 = AtomicU64::new(u64::MAX);
    let client = Client::new(endpoint, limits, LOOKS.fetch_sub(1, Ordering::Relaxed))?;
    let endpoint = endpoint.clone();
    io::wait(async move {
        match endpoint.task {
            EndpointTask::Embedding => {
                let body = embeddings::body(&endpoint, &["word"]);
                let answer = client.post("embeddings", body.to_string().into()).await?;
                embeddings::vectors(&answer, 1).map(|(vectors, _)| vectors.first().map(Vec::len)).map_err(|error| client.cleaned(error))
            }
            EndpointTask::Generation => {
                let mut asked = endpoint.clone();
                asked.options.insert("max_tokens".into(), TRIED_TOKENS.into());
                let body = chat::body(&asked, Prompt::Text("word"), places::Parts::default())?;
                let answer = client.post("chat/completions", body.to_string().into()).await?;
                // A model that thinks first may not come to write.
                chat::check(&answer).map(|_| None).map_err(|error| client.cleaned(error))
            }
        }
    })
}

/// Enough for models that must think before they write.
const TRIED_TOKENS: usize = 16;

/// A request with what it is about and the room that it takes.
type Asked<T> = (T, Bytes, OwnedSemaphorePermit);
/// What has come of requests so far.
type Answers<T, R> = Arc<Mutex<Vec<(T, Result<R>)>>>;

/// Sends what comes out of `asked` until there is no more; `read` makes of an answer what is kept of it, and says whether that is a failure.
async fn send<T, R>(
    client: Arc<Client>,
    path: &'static str,
    mut asked: Receiver<Asked<T>>,
    read: impl Fn(&T, &serde_json::Value) -> (Result<R>, bool) + Send,
    answers: Answers<T, R>,
    stop: Arc<AtomicBool>,
) -> Result<()>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let requests = futures::stream::poll_fn(move |context| asked.poll_recv(context));
    let at_once = client.endpoint.max_concurrency;
    let replies = requests.map(|(about, body, room)| {
        let client = Arc::clone(&client);
        async move {
            let reply = client.post(path, body).await;
            drop(room);
            (about, reply)
        }
    });
    let mut replies = Box::pin(replies.buffer_unordered(at_once));
    while let Some((about, reply)) = replies.next().await {
        let (reply, is_failure) = match reply {
            Ok(reply) => read(&about, &reply),
            Err(error) => (Err(error), true),
        };
        let is_over = is_failure && stop.load(Ordering::Relaxed);
        answers.lock().unwrap_or_else(PoisonError::into_inner).push((about, reply.map_err(|error| client.cleaned(error))));
        if is_over {
            // Nobody wants the rest: the receiver goes, which the sender notices.
            break;
        }
    }
    Ok(())
}

/// Where requests wait until they are sent, and for how many bytes of them there is room until they are answered.
struct Outbox<T> {
    sender: Sender<Asked<T>>,
    room: Arc<Semaphore>,
    most: u32,
}

impl<T> Outbox<T> {
    fn new(work: &Work<'_>, client: &Client) -> (Self, Receiver<Asked<T>>) {
        let (sender, receiver) = channel(client.endpoint.max_concurrency * READY);
        let most = units(work.request.limits.endpoint_bytes);
        (Self { sender, room: Arc::new(Semaphore::new(most as usize)), most }, receiver)
    }

    /// Hands a request over as soon as there is room; one that is larger than all of it goes alone. Returns whether it is wanted.
    fn offer(&self, work: &Work<'_>, about: T, body: Bytes) -> Result<bool> {
        let units = units(body.len()).min(self.most);
        let room = loop {
            work.request.cancel.check()?;
            match Arc::clone(&self.room).try_acquire_many_owned(units) {
                Ok(room) => break room,
                Err(_) if self.sender.is_closed() => return Ok(false),
                Err(_) => std::thread::sleep(LOOK),
            }
        };
        let mut asked = (about, body, room);
        loop {
            work.request.cancel.check()?;
            match self.sender.try_send(asked) {
                Ok(()) => return Ok(true),
                Err(TrySendError::Closed(_)) => return Ok(false),
                Err(TrySendError::Full(own)) => asked = own,
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Bytes as they are counted, by the kibibyte.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX).max(1)
}

fn generated(work: &Work<'_>, client: &Arc<Client>, rows: &[usize], mut failures: Vec<Failure>) -> Result<Answer> {
    let (outbox, receiver) = Outbox::new(work, client);
    let stops = work.request.stop_at_failure;
    let (answers, stop) = (Answers::<usize, chat::Reply>::default(), Arc::new(AtomicBool::new(stops)));
    let endpoint = client.endpoint.clone();
    let read = move |_: &usize, answer: &serde_json::Value| {
        let reply = chat::reply(&endpoint, answer);
        let is_failure = reply.written.is_err();
        (Ok(reply), is_failure)
    };
    let sending = io::start(send(Arc::clone(client), "chat/completions", receiver, read, Arc::clone(&answers), stop))?;
    let prompts = PromptColumn::of(work)?;
    let mut fetches = Fetches::start(work, rows)?;
    let mut is_wanted = !stops || failures.is_empty();
    while let (true, Some((group, fetched))) = (is_wanted, fetches.next(work)?) {
        for some in group.chunks(ROWS * workers::count()?) {
            let one = |place: usize| -> Result<Bytes, Box<Failure>> {
                let row = some[place];
                let parts = media::parts(work, &client.endpoint, row, &fetched)?;
                let failed = |error| Box::new(Failure { row, uri: None, step: Step::Input, error });
                work.request.cancel.check().map_err(failed)?;
                prompts.row(row).check_length(work.request.limits).map_err(failed)?;
                chat::body(&client.endpoint, prompts.row(row), parts).map(|body| body.to_string().into()).map_err(failed)
            };
            let bodies: VecDeque<_> = workers::map(some.len(), 1, one)?.into();
            for (row, body) in some.iter().zip(bodies) {
                match body {
                    Ok(body) if is_wanted => is_wanted = outbox.offer(work, *row, body)?,
                    Ok(_) => {}
                    Err(failure) => {
                        is_wanted &= !stops;
                        failures.push(*failure);
                    }
                }
            }
            if !is_wanted {
                break;
            }
        }
    }
    drop(outbox);
    sending.wait(work.request.cancel)?;
    let answers = std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner));
    let mut texts: Vec<Option<Written>> = (0..work.request.rows).map(|_| None).collect();
    let stats = work.request.stats;
    let (mut read, mut wrote) = (0, 0);
    for (row, answer) in answers {
        let written = answer.and_then(|reply| {
            read += reply.read_tokens;
            wrote += reply.written_tokens;
            stats.model_rows.add(1);
            work.model.rows.fetch_add(1, Ordering::Relaxed);
            reply.written.map_err(|error| client.cleaned(error))
        });
        match written {
            Ok(written) => texts[row] = Some(written),
            Err(error) => failures.push(Failure { row, uri: None, step: Step::Model, error }),
        }
    }
    count(work, &client.endpoint, read, wrote);
    failures.sort_by_key(|failure| failure.row);
    Ok(Answer::new(assemble(&texts)?, failures))
}

/// Counts tokens, and what they cost.
fn count(work: &Work<'_>, endpoint: &Endpoint, read: u64, written: u64) {
    let stats = work.request.stats;
    stats.tokens.add(usize::try_from(read).unwrap_or(0));
    stats.generated_tokens.add(usize::try_from(written).unwrap_or(0));
    if let Some([input, output]) = endpoint.dollars_per_million_tokens {
        // Dollars for a million are millionths for one.
        stats.cost_microdollars.add((read as f64 * input + written as f64 * output).round() as usize);
    }
}

fn embedded(work: &Work<'_>, client: &Arc<Client>, rows: &[usize], mut failures: Vec<Failure>) -> Result<Answer> {
    let DataType::FixedSizeList(item, width) = result_type(&work.model.manifest, Wanted::Embedding)? else {
        return Err(Error::new(Kind::Package, "vectors of unknown width"));
    };
    let prompts = PromptColumn::of(work)?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; work.request.rows];
    let mut texts: Vec<(usize, &str)> = Vec::with_capacity(rows.len());
    let (stops, mut tokens) = (work.request.stop_at_failure, 0);
    for row in rows {
        match prompts.row(*row) {
            Prompt::Text(text) if prompts.row(*row).check_length(work.request.limits).is_ok() => texts.push((*row, text)),
            Prompt::Text(_) => {
                let error =
                    prompts.row(*row).check_length(work.request.limits).err().unwrap_or_else(|| Error::new(Kind::Limit, "too long"));
                failures.push(Failure { row: *row, uri: None, step: Step::Input, error });
            }
            _ => failures.push(Failure {
                row: *row,
                uri: None,
                step: Step::Input,
                error: Error::new(Kind::Media, "only texts have vectors"),
            }),
        }
    }
    // A request that fails is sent again in halves, so that one text does not take others with it.
    let mut waiting: Vec<Vec<(usize, &str)>> = texts.chunks(embeddings::TEXTS).map(<[_]>::to_vec).collect();
    while !waiting.is_empty() {
        let (outbox, receiver) = Outbox::new(work, client);
        let answers = Answers::<(usize, usize), (Vec<Vec<f32>>, u64)>::default();
        // A group that fails is not the end where it is halved.
        let stop = Arc::new(AtomicBool::new(stops && waiting.iter().all(|group| group.len() == 1)));
        let read = |(_, count): &(usize, usize), answer: &serde_json::Value| {
            let vectors = embeddings::vectors(answer, *count);
            let is_failure = vectors.is_err();
            (vectors, is_failure)
        };
        let sending = io::start(send(Arc::clone(client), "embeddings", receiver, read, Arc::clone(&answers), stop))?;
        for (number, group) in waiting.iter().enumerate() {
            let texts: Vec<&str> = group.iter().map(|(_, text)| *text).collect();
            if !outbox.offer(work, (number, group.len()), embeddings::body(&client.endpoint, &texts).to_string().into())? {
                break;
            }
        }
        drop(outbox);
        sending.wait(work.request.cancel)?;
        let answers = std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut again = Vec::new();
        for ((number, _), answer) in answers {
            let group = &waiting[number];
            match answer {
                Ok((own, read)) => {
                    tokens += read;
                    for ((row, _), vector) in group.iter().zip(own) {
                        if i32::try_from(vector.len()) == Ok(width) {
                            vectors[*row] = Some(vector);
                        } else {
                            let error = Error::new(Kind::Model, format!("a vector of {} numbers in place of {width}", vector.len()));
                            failures.push(Failure { row: *row, uri: None, step: Step::Model, error });
                        }
                    }
                    work.request.stats.model_rows.add(group.len());
                    work.model.rows.fetch_add(group.len() as u64, Ordering::Relaxed);
                }
                Err(error) if group.len() == 1 || error.is_retryable() || client.is_refused() => {
                    let failure = |(row, _): &(usize, &str)| Failure { row: *row, uri: None, step: Step::Model, error: error.clone() };
                    failures.extend(group.iter().map(failure));
                }
                Err(_) => again.extend(group.chunks(group.len().div_ceil(2)).map(<[_]>::to_vec)),
            }
        }
        waiting = if stops && !failures.is_empty() { Vec::new() } else { again };
    }
    count(work, &client.endpoint, tokens, 0);
    failures.sort_by_key(|failure| failure.row);
    let mut lists = FixedSizeListBuilder::new(Float32Builder::new(), width).with_field(Arc::clone(&item));
    for vector in &vectors {
        match vector {
            Some(vector) => lists.values().append_slice(vector),
            None => lists.values().append_value_n(0.0, usize::try_from(width).unwrap_or(0)),
        }
        lists.append(vector.is_some());
    }
    let column: ArrayRef = Arc::new(lists.finish());
    if work.request.wanted == Wanted::Embedding {
        return Ok(Answer::new(column, failures));
    }
    let fields = Fields::from(vec![Field::new("embedding", column.data_type().clone(), true)]);
    let nulls = column.nulls().cloned();
    let column = StructArray::try_new(fields, vec![column], nulls)
        .map_err(|error| Error::new(Kind::Model, format!("vectors cannot be put together: {error}")))?;
    Ok(Answer::new(Arc::new(column), failures))
}
