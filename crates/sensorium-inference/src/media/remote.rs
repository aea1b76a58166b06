//! Object stores by URL, one client for each host or bucket.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, DynObjectStore, ObjectStoreScheme, RetryConfig};
use url::{Position, Url};

use crate::error::{Error, Kind, Result};
use crate::execute::Limits;

/// Clients that are kept; beyond, all are dropped and made again as needed.
const MAX_CLIENTS: usize = 64;

type Key = (String, usize, usize);

static CLIENTS: LazyLock<Mutex<HashMap<Key, Arc<DynObjectStore>>>> = LazyLock::new(Mutex::default);

/// The store that `url` lies in, with credentials from the environment, and the path of `url` in it.
pub(super) fn store_for(url: &Url, limits: &Limits) -> Result<(Arc<DynObjectStore>, Path)> {
    let unknown = |error: &dyn std::fmt::Display| Error::new(Kind::Fetch, format!("cannot reach {url}: {error}"));
    let (scheme, path) = ObjectStoreScheme::parse(url).map_err(|error| unknown(&error))?;
    // What the scheme takes from the URL besides the path (host, bucket, container) is all before the path in it.
    let store_part = url.as_str().strip_suffix(path.as_ref()).unwrap_or(url.as_str()).to_string();
    let key = (store_part, limits.fetch_timeout_ms, limits.fetch_retries);
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = clients.get(&key) {
        return Ok((Arc::clone(store), path));
    }
    let store = open(&scheme, url, limits).map_err(|error| unknown(&error))?;
    if clients.len() >= MAX_CLIENTS {
        clients.clear();
    }
    clients.insert(key, Arc::clone(&store));
    Ok((store, path))
}

fn open(scheme: &ObjectStoreScheme, url: &Url, limits: &Limits) -> Result<Arc<DynObjectStore>, object_store::Error> {
    let timeout = Duration::from_millis(limits.fetch_timeout_ms as u64);
    let retry = RetryConfig { max_retries: limits.fetch_retries, retry_timeout: timeout, backoff: BackoffConfig::default() };
    let client = ClientOptions::new().with_timeout(timeout).with_connect_timeout(timeout).with_allow_http(true);
    Ok(match scheme {
        ObjectStoreScheme::AmazonS3 => {
            Arc::new(AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry).with_client_options(client).build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retry).with_client_options(client).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            Arc::new(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retry).with_client_options(client).build()?)
        }
        ObjectStoreScheme::Http => {
            let builder = HttpBuilder::new().with_url(&url[..Position::BeforePath]).with_http_connector(NoRedirects { timeout });
            Arc::new(builder.with_retry(retry).with_client_options(client).build()?)
        }
        other => {
            return Err(object_store::Error::Generic {
                store: "media",
                source: format!("scheme {other:?} is not supported; use a path, s3, gs, az or http").into(),
            });
        }
    })
}

/// A client that does not follow redirects: they could lead out of `mm.allowed_roots`.
#[derive(Debug)]
struct NoRedirects {
    timeout: Duration,
}

impl HttpConnector for NoRedirects {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.timeout)
            .connect_timeout(self.timeout)
            .user_agent(concat!("sensorium/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| object_store::Error::Generic { store: "http", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}
