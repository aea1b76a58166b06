//! Requests to one endpoint: so many at once and a minute, tried again where that may help, within limits of time and size.
//!
//! What is tried again follows OpenAI's own client (`_base_client.py` of openai-python): 408, 409, 429, 5xx and lost connections, after the
//! time that the answer names; quotas that are used up are not.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::Instant;

use super::super::limits::Limits;
use crate::error::{Error, Kind, Result};
use crate::package::Endpoint;

/// The first pause before a request is tried again, and the longest, where the answer does not say.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Rows in a row without any answer after which the others are not asked about.
const LOST_ROWS: usize = 8;
/// Gates of endpoints that nobody asks at the moment.
const IDLE_GATES: usize = 64;
/// Who asks for a longer one is not asked again.
const MOST_PATIENCE: Duration = Duration::from_secs(120);
/// After an answer that says nothing but that there are too many requests.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Of an error's text that is repeated.
const TEXT: usize = 300;
/// Codes of errors that time alone does not mend.
const USED_UP: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];

/// What all requests of the process to one endpoint share.
struct Gate {
    permits: Semaphore,
    rate: Option<DefaultDirectRateLimiter>,
    /// Nobody asks before.
    opens: AsyncMutex<Instant>,
    /// The statement whose rows the endpoint refuses, all of them, and why.
    refused: Mutex<Option<(u64, Error)>>,
}

/// Gates by endpoint, those too that nobody asks: a minute is longer than a statement.
static GATES: LazyLock<Mutex<HashMap<String, Arc<Gate>>>> = LazyLock::new(Mutex::default);

impl Gate {
    fn of(endpoint: &Endpoint) -> Arc<Self> {
        let limits = (endpoint.max_concurrency, endpoint.requests_per_minute);
        let key = format!("{} {} {:?} {limits:?}", endpoint.url, endpoint.model, endpoint.key_env);
        let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&key) {
            return Arc::clone(gate);
        }
        if gates.len() >= IDLE_GATES {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let gate = Arc::new(Self {
            permits: Semaphore::new(endpoint.max_concurrency),
            // Evenly: a burst on top of the rate would exceed it in the first minute.
            rate: endpoint
                .requests_per_minute
                .and_then(NonZeroU32::new)
                .map(|count| RateLimiter::direct(Quota::per_minute(count).allow_burst(NonZeroU32::MIN))),
            opens: AsyncMutex::new(Instant::now()),
            refused: Mutex::default(),
        });
        gates.insert(key, Arc::clone(&gate));
        gate
    }

    /// Waits until a request may be sent.
    async fn wait(&self) {
        loop {
            let opens = *self.opens.lock().await;
            if opens <= Instant::now() {
                break;
            }
            tokio::time::sleep_until(opens).await;
        }
        if let Some(rate) = &self.rate {
            rate.until_ready().await;
        }
    }

    async fn close_for(&self, pause: Duration) {
        let mut opens = self.opens.lock().await;
        *opens = (*opens).max(Instant::now() + pause);
    }
}

/// Sends requests to an endpoint.
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    http: reqwest::Client,
    gate: Arc<Gate>,
    key: Option<String>,
    limits: Limits,
    /// Number of the statement.
    statement: u64,
    /// Rows that had no answer since the last one that had.
    lost: AtomicUsize,
    pub(super) requests: AtomicU64,
    pub(super) retries: AtomicU64,
}

/// Why a request has no answer.
struct Refusal {
    error: Error,
    /// Whether it may have one if it is sent again.
    is_passing: bool,
    /// When.
    after: Option<Duration>,
}

impl Client {
    pub(super) fn new(endpoint: &Endpoint, limits: &Limits, statement: u64) -> Result<Self> {
        endpoint.check_host(&limits.allowed_hosts)?;
        let key = endpoint.key_env.as_deref().map(read_key).transpose()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &key {
            let unusable = |_| Error::new(Kind::Setting, "the key holds signs that no header may have");
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(unusable)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let timeout = Duration::from_millis(limits.endpoint_timeout_ms as u64);
        let http = reqwest::Client::builder()
            // They could lead out of `mm.allowed_hosts`.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout)
            .default_headers(headers)
            .user_agent(concat!("sensorium/", env!("CARGO_PKG_VERSION")));
        // A proxy would read what is sent in the clear; of what is encrypted it knows the host alone.
        let http = if endpoint.url.starts_with("http:") { http.no_proxy() } else { http };
        let http = http.build().map_err(|error| Error::new(Kind::Runtime, format!("no HTTP client: {}", error.without_url())))?;
        Ok(Self {
            endpoint: endpoint.clone(),
            http,
            gate: Gate::of(endpoint),
            key,
            limits: limits.clone(),
            statement,
            lost: AtomicUsize::new(0),
            requests: 0.into(),
            retries: 0.into(),
        })
    }

    /// Whether no other row need be asked about.
    pub(super) fn is_refused(&self) -> bool {
        self.refused().is_some()
    }

    /// Why the endpoint refuses all rows of the statement, once it has said so.
    fn refused(&self) -> Option<Error> {
        let refused = self.gate.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|(statement, _)| *statement == self.statement).map(|(_, error)| error.clone())
    }

    /// Has all rows of the statement fail so; the first reason counts.
    fn refuse(&self, error: &Error) {
        let mut refused = self.gate.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_ref().is_none_or(|(statement, _)| *statement != self.statement) {
            *refused = Some((self.statement, error.clone()));
        }
    }

    /// The answer to a request, which is sent again where that may help. What an error says never has the key.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> Result<Value> {
        let attempt = || async {
            if let Some(error) = self.refused() {
                return Err(Refusal { error, is_passing: false, after: None });
            }
            let permit = self.gate.permits.acquire().await;
            self.gate.wait().await;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = self.ask(path, body.clone()).await;
            drop(permit);
            if let Err(Refusal { after: Some(pause), is_passing: true, .. }) = &answer {
                self.gate.close_for(*pause).await;
            }
            answer
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .with_max_times(self.limits.endpoint_retries);
        let answer = attempt
            .retry(pauses)
            .when(|refusal: &Refusal| refusal.is_passing)
            .adjust(|refusal: &Refusal, pause| pause.map(|pause| refusal.after.unwrap_or(pause)))
            .notify(|_, _| {
                self.retries.fetch_add(1, Ordering::Relaxed);
            })
            .await;
        let lost = if answer.is_ok() { 0 } else { self.lost.load(Ordering::Relaxed) + 1 };
        self.lost.store(lost, Ordering::Relaxed);
        answer.map_err(|refusal| {
            if refusal.is_passing && refusal.after.is_none() && lost >= LOST_ROWS {
                self.refuse(&refusal.error);
            }
            refusal.error
        })
    }

    async fn ask(&self, path: &str, body: Bytes) -> Result<Value, Refusal> {
        let request = self.http.post(format!("{}/{path}", self.endpoint.url)).body(body);
        let response = request.send().await.map_err(|error| self.lost(error))?;
        let status = response.status();
        let (after, is_told) = (patience(response.headers()), told(response.headers()));
        let bytes = self.read(response).await?;
        let value = serde_json::from_slice::<Value>(&bytes);
        if status.is_success() {
            return value.map_err(|error| self.passing(&format!("an answer that is no JSON: {error}")));
        }
        Err(self.refusal(status, value.ok().as_ref(), &bytes, after, is_told))
    }

    /// Reads an answer of at most `mm.max_response_bytes`.
    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.lost(error))? {
            if bytes.len() + part.len() > self.limits.max_response_bytes {
                let error = Error::new(Kind::Limit, format!("an answer of more than {} bytes", self.limits.max_response_bytes));
                return Err(Refusal { error: error.with_hint("SET mm.max_response_bytes"), is_passing: false, after: None });
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }

    fn passing(&self, what: &str) -> Refusal {
        Refusal { error: Error::new(Kind::Fetch, self.without_key(what)).retryable(), is_passing: true, after: None }
    }

    fn lost(&self, error: reqwest::Error) -> Refusal {
        if error.is_timeout() {
            let what = format!("no answer from {} within {} ms", self.endpoint.host().0, self.limits.endpoint_timeout_ms);
            return Refusal {
                error: Error::new(Kind::Fetch, what).with_hint("SET mm.endpoint_timeout_ms").retryable(),
                is_passing: true,
                after: None,
            };
        }
        let error = error.without_url();
        // The cause is what says something.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let mut causes = cause.to_string();
        causes.truncate(causes.floor_char_boundary(TEXT));
        self.passing(&format!("no answer from {}: {causes}", self.endpoint.host().0))
    }

    fn refusal(&self, status: StatusCode, value: Option<&Value>, bytes: &[u8], after: Option<Duration>, is_told: Option<bool>) -> Refusal {
        // Gemini puts its error into a list.
        let value = value.map(|value| value.get(0).unwrap_or(value));
        let error = value.map(|value| &value["error"]).unwrap_or(&Value::Null);
        let message =
            error["message"].as_str().or(error.as_str()).map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), str::to_string);
        let is_used_up = [&error["code"], &error["type"]].iter().any(|code| code.as_str().is_some_and(|code| USED_UP.contains(&code)));
        let text = self.without_key(message.trim());
        let after = after.or_else(|| delay(error));
        let usual = matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error();
        let is_patient = after.is_none_or(|after| after <= MOST_PATIENCE);
        let is_passing = is_told.unwrap_or(usual) && !is_used_up && is_patient;
        let code = status.as_u16();
        let error = Error::new(Kind::Fetch, format!("{} answered {code}: {text}", self.endpoint.host().0));
        let error = match (code, &self.endpoint.key_env) {
            (401 | 403, Some(name)) => error.with_hint(format!("look whether the variable {name} holds the right key")),
            (401 | 403, None) => error.with_hint("create the model with OPTIONS (key_env = '..')"),
            (404, _) => error.with_hint("look whether the address and the model's name are right"),
            _ => error,
        };
        let error = if is_passing { error.retryable() } else { error };
        let is_key = code == 400 && message.contains("API key");
        // 403 may be about what one row asks.
        if matches!(code, 401 | 402 | 404) || is_used_up || is_key || !is_patient {
            self.refuse(&error);
        }
        // Who is told to slow down has others wait as well.
        let after = after.or((code == 429).then_some(BUSY_PAUSE));
        Refusal { error, is_passing, after }
    }

    /// Some endpoints repeat the key that they refuse, as it is or as JSON or an address has it; long texts are cut.
    pub(super) fn without_key(&self, text: &str) -> String {
        let mut text = text.to_string();
        if let Some(key) = &self.key {
            let quoted = serde_json::to_string(key).unwrap_or_default();
            let escaped: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
            let forms = [key.clone(), quoted.trim_matches('"').to_string(), key.replace('/', "\\/"), escaped];
            text = forms.iter().fold(text, |text, form| text.replace(form.as_str(), "***"));
        }
        text.truncate(text.floor_char_boundary(TEXT));
        text
    }

    /// An error that says what the endpoint has said.
    pub(super) fn cleaned(&self, error: Error) -> Error {
        error.rewritten(|text| self.without_key(text))
    }
}

/// How long Gemini asks to wait, in the details of its error.
fn delay(error: &Value) -> Option<Duration> {
    let seconds = |text: &str| text.strip_suffix('s')?.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    error["details"].as_array()?.iter().find_map(|detail| seconds(detail["retryDelay"].as_str()?))
}

fn read_key(name: &str) -> Result<String> {
    let missing = || Error::new(Kind::Setting, format!("the environment variable {name} is not set, which holds the endpoint's key"));
    let key = std::env::var(name).map_err(|_| missing())?;
    let key = key.trim();
    if key.is_empty() { Err(missing()) } else { Ok(key.to_string()) }
}

/// What `x-should-retry` says.
fn told(headers: &HeaderMap) -> Option<bool> {
    headers.get("x-should-retry")?.to_str().ok()?.parse().ok()
}

/// When a request may be sent again: `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, section 10.2.3).
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    if let Some(milliseconds) = text("retry-after-ms").and_then(seconds) {
        return Duration::try_from_secs_f64(milliseconds / 1_000.0).ok();
    }
    let after = text("retry-after")?;
    match seconds(after) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => httpdate::parse_http_date(after).ok().map(|date| date.duration_since(std::time::SystemTime::now()).unwrap_or_default()),
    }
}
