//! The read-only pages of the scheduler.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use chrono::Utc;
use sensorium_inference::Kind;
use sensorium_report::{Report, html};
use tokio::net::TcpListener;

use crate::error::{JobError, Result};
use crate::ledger::Ledger;
use crate::metrics::metrics;
use crate::pages::{all_jobs, one_job, one_run};

/// Failed rows whose media may be looked at.
const MOST_FAILURES: u64 = 10_000;
/// The largest picture that is sent, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// What pages are made of.
#[derive(Debug)]
struct Pages {
    folder: PathBuf,
    ledger: Arc<Ledger>,
}

/// Serves the pages of the jobs in `folder` until the process ends; returns the address that they are at. The address should be one of this
/// machine's own: whoever reaches it may read them.
///
/// # Errors
/// Where the address is taken or not this machine's.
pub async fn listen(folder: PathBuf, ledger: Arc<Ledger>, address: SocketAddr) -> Result<SocketAddr> {
    let failed = |error: std::io::Error| {
        JobError::new(format!("cannot listen at {address}: {error}")).with_hint("--listen 127.0.0.1:0 takes a free port")
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let found = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/", get(|State(pages): Page| answer(pages, |pages| all_jobs(&pages.folder, &pages.ledger, Utc::now()).map(Some))))
        .route("/jobs/{job}", get(|State(pages): Page, Path(job): Path<String>| answer(pages, move |pages| one_job(&job, &pages.ledger))))
        .route(
            "/runs/{run}",
            get(|State(pages): Page, Path(run): Path<String>| answer(pages, move |pages| one_run(&run, &pages.ledger, true))),
        )
        .route("/media/{run}/{number}", get(|State(pages): Page, Path((run, number)): Path<(String, usize)>| picture(pages, run, number)))
        .route("/metrics", get(|State(pages): Page| figures(pages)))
        .route("/health", get(|| async { "ok\n" }))
        .with_state(Arc::new(Pages { folder, ledger }))
        .layer(middleware::from_fn(move |request, next| only_asked_for(found, request, next)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(found)
}

type Page = State<Arc<Pages>>;

/// Refuses requests that are made under another name than this one's: a page from elsewhere may have its name lead here (DNS rebinding).
async fn only_asked_for(address: SocketAddr, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_own = matches!(name, "localhost" | "127.0.0.1" | "[::1]") || host == address.to_string();
    // Who listens to others has names that are not known here.
    if is_own || !address.ip().is_loopback() {
        next.run(request).await
    } else {
        guarded((StatusCode::MISDIRECTED_REQUEST, "not this host\n"))
    }
}

/// Nothing runs in a page, and nothing is taken from elsewhere.
fn guarded(content: impl IntoResponse) -> Response {
    let mut response = content.into_response();
    let headers: HeaderMap = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ]
    .into_iter()
    .map(|(name, value): (HeaderName, &'static str)| (name, HeaderValue::from_static(value)))
    .collect();
    response.headers_mut().extend(headers);
    response
}

fn failure(error: &dyn std::fmt::Display) -> Response {
    guarded((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

/// A page; the ledger is read on a thread that may wait.
async fn answer(pages: Arc<Pages>, page: impl FnOnce(&Pages) -> Result<Option<Report>> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(move || page(&pages)).await {
        Ok(Ok(Some(report))) => html(&report).map_or_else(|error| failure(&error), |page| guarded(Html(page))),
        Ok(Ok(None)) => guarded((StatusCode::NOT_FOUND, "not in the ledger\n")),
        Ok(Err(error)) => failure(&error),
        Err(error) => failure(&error),
    }
}

async fn figures(pages: Arc<Pages>) -> Response {
    let text = tokio::task::spawn_blocking(move || metrics(&pages.folder, &pages.ledger, Utc::now())).await;
    match text {
        Ok(Ok(text)) => {
            let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            guarded((kind, text))
        }
        Ok(Err(error)) => failure(&error),
        Err(error) => failure(&error),
    }
}

/// The medium of a failed row, if it is a picture of this machine that browsers know. Others cannot be asked for: the ledger says which.
async fn picture(pages: Arc<Pages>, run: String, number: usize) -> Response {
    let read = move || -> Option<(&'static str, Vec<u8>)> {
        let failure = pages.ledger.failures(&run, MOST_FAILURES).ok()?.into_iter().nth(number)?;
        // What the query was not allowed to read is not shown, nor what may mean another file here.
        let uri = failure.uri.filter(|_| failure.code != Kind::Forbidden.to_string())?;
        let path = PathBuf::from(uri.strip_prefix("file://").unwrap_or(&uri));
        let is_file = path.is_absolute() && std::fs::metadata(&path).is_ok_and(|facts| facts.is_file());
        let file = if is_file { std::fs::File::open(&path).ok()? } else { return None };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).ok().filter(|length| *length as u64 <= MOST_BYTES)?;
        Some((kind_of(&bytes)?, bytes))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Some((kind, bytes))) => guarded(([(header::CONTENT_TYPE, kind)], Body::from(bytes))),
        _ => guarded((StatusCode::NOT_FOUND, "no picture\n")),
    }
}

/// The kind of a picture by its first bytes; of nothing else, so that no text is taken for a page.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'B', b'M', ..] => Some("image/bmp"),
        _ => None,
    }
}
