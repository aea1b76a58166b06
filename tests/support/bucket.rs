//! A server that speaks S3 on loopback, its objects being files of a folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use libtest_mimic::Failed;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The bucket `bucket` of a server of its own, until this is dropped.
pub(crate) struct Bucket {
    folder: TempDir,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

const NAME: &str = "bucket";
const KEY: &str = "sensorium-test";

impl Bucket {
    pub(crate) fn open() -> Result<Self, Failed> {
        let folder = TempDir::new()?;
        std::fs::create_dir(folder.path().join(NAME))?;
        let files = FileSystem::new(folder.path()).map_err(|error| format!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, KEY));
        let service = builder.build();
        let listener = super::wait(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let server = super::RUNTIME.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, seen) = (service.clone(), Arc::clone(&seen));
                let noted = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let line = format!("{} {}", request.method(), request.uri().path());
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    Service::call(&service, request)
                });
                // A client that is killed leaves its connection; that is its affair.
                tokio::spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(socket), noted).await) });
            }
        });
        Ok(Self { folder, address, requests, server })
    }

    /// Where an object lies on the disk.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(NAME).join(key)
    }

    pub(crate) fn url(&self, key: &str) -> String {
        format!("s3://{NAME}/{key}")
    }

    /// Has a command find the server.
    pub(crate) fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
    }

    /// Requests since the last call, as `GET /bucket/key`.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}
