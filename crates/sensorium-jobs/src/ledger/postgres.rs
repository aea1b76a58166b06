//! The ledger in a PostgreSQL database, for several machines.
//!
//! The connection lives on a thread with a runtime of its own: callers wait for it from within other runtimes, where theirs must not block.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::{Database, Statement, Value};
use crate::error::{JobError, Result};

/// How long a server may take to answer, and a statement to end.
const PATIENCE: Duration = Duration::from_secs(30);
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '60s'";

/// What is done with the connection.
type Task = Box<dyn FnOnce(&Runtime, &mut Client) + Send>;

/// A connection to a server; dropping it ends the session, and with it its locks.
#[derive(Debug)]
pub(super) struct Postgres {
    tasks: mpsc::Sender<Task>,
    /// Whether the session holds a lock.
    is_locked: Arc<AtomicBool>,
}

impl From<tokio_postgres::Error> for JobError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(known) => Self::new(format!("ledger: {}", known.message())),
            None => Self::new(format!("ledger: {error}")),
        }
    }
}

impl Postgres {
    /// Connects to a server by a URL such as `postgres://user@host/database`; `sslmode=require` in it asks for TLS, with the system's
    /// certificates.
    pub(super) fn open(url: &str) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            JobError::new(format!("ledger: cannot connect: {error}"))
                .with_hint("--ledger postgres://user@host/database, and PGPASSWORD or a password in it")
        };
        let mut config: tokio_postgres::Config = url.parse().map_err(|error: tokio_postgres::Error| failed(&whole(&error)))?;
        if let (None, Ok(password)) = (config.get_password(), std::env::var("PGPASSWORD")) {
            config.password(password);
        }
        config.application_name("sensorium");
        // One who does not answer is not waited for: a run can be gone on with.
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        config.tcp_user_timeout(PATIENCE).keepalives_idle(PATIENCE);
        let tls = tls()?;
        let (ready, started) = mpsc::channel();
        let (tasks, received) = mpsc::channel::<Task>();
        let is_locked: Arc<AtomicBool> = Arc::default();
        let locked = Arc::clone(&is_locked);
        let work = move || {
            let connect = |runtime: &Runtime| {
                let (client, connection) = runtime.block_on(config.connect(tls.clone())).map_err(|error| whole(&error))?;
                runtime.spawn(connection);
                runtime.block_on(client.batch_execute(STATEMENT_TIMEOUT)).map_err(|error| whole(&error))?;
                Ok::<_, String>(client)
            };
            let connected = (|| {
                let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|error| error.to_string())?;
                let client = connect(&runtime)?;
                Ok::<_, String>((runtime, client))
            })();
            match connected {
                Err(error) => drop(ready.send(Err(error))),
                Ok((runtime, mut client)) => {
                    let _ = ready.send(Ok(()));
                    for task in received {
                        // With the session its locks are gone: who holds one is not connected again, and so fails.
                        if client.is_closed()
                            && !locked.load(Ordering::Relaxed)
                            && let Ok(again) = connect(&runtime)
                        {
                            client = again;
                        }
                        task(&runtime, &mut client);
                    }
                }
            }
        };
        thread::Builder::new().name("sensorium-ledger".into()).spawn(work).map_err(|error| failed(&error))?;
        match started.recv() {
            Ok(Ok(())) => Ok(Self { tasks, is_locked }),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    fn with<T: Send + 'static>(&self, work: impl FnOnce(&Runtime, &mut Client) -> Result<T> + Send + 'static) -> Result<T> {
        let ended = || JobError::new("ledger: the connection has ended").with_hint("the next run goes on where this one stopped");
        let (sender, receiver) = mpsc::channel();
        let task = Box::new(move |runtime: &Runtime, client: &mut Client| drop(sender.send(work(runtime, client))));
        self.tasks.send(task).map_err(|_| ended())?;
        receiver.recv().map_err(|_| ended())?
    }
}

/// An error with its causes.
fn whole(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn tls() -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    // Of those that the system has, some may be of kinds that are not known here.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| JobError::new(format!("ledger: TLS: {error}")))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut bytes::BytesMut) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql_checked(kind, out),
            Self::Real(number) => number.to_sql_checked(kind, out),
            Self::Text(text) => text.to_sql_checked(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Integer(i32::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(kind, raw)?),
            _ => Self::Text(String::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::FLOAT8) || <String as FromSql<'_>>::accepts(kind)
    }
}

fn values(row: &Row) -> Result<Vec<Value>> {
    (0..row.len()).map(|place| Ok(row.try_get(place)?)).collect()
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl Database for Postgres {
    fn try_lock(&mut self, name: &str) -> Result<bool> {
        let (name, locked) = (name.to_string(), Arc::clone(&self.is_locked));
        self.with(move |runtime, client| {
            let row = runtime.block_on(client.query_one("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", &[&name]))?;
            let is_taken: bool = row.get(0);
            locked.store(is_taken, Ordering::Relaxed);
            Ok(is_taken)
        })
    }

    fn unlock(&mut self, name: &str) {
        let (name, locked) = (name.to_string(), Arc::clone(&self.is_locked));
        // Where the connection has ended, so has the lock.
        let _ = self.with(move |runtime, client| {
            locked.store(false, Ordering::Relaxed);
            runtime.block_on(client.query_one("SELECT pg_advisory_unlock(hashtextextended($1, 0))", &[&name]))?;
            Ok(())
        });
    }

    fn write(&mut self, statements: &[Statement<'_>]) -> Result<()> {
        let statements: Vec<(String, Vec<Value>)> = statements.iter().map(|(sql, values)| ((*sql).to_string(), values.clone())).collect();
        self.with(move |runtime, client| {
            runtime.block_on(async {
                let transaction = client.transaction().await?;
                for (sql, values) in &statements {
                    transaction.execute(sql.as_str(), &parameters(values)).await?;
                }
                Ok(transaction.commit().await?)
            })
        })
    }

    fn rows(&mut self, (sql, bound): &Statement<'_>) -> Result<Vec<Vec<Value>>> {
        let (sql, bound) = ((*sql).to_string(), bound.clone());
        self.with(move |runtime, client| {
            let rows = runtime.block_on(client.query(sql.as_str(), &parameters(&bound)))?;
            rows.iter().map(values).collect()
        })
    }

    fn migrate(&mut self, version: i64, step: &str) -> Result<()> {
        let step = step.to_string();
        self.with(move |runtime, client| {
            runtime.block_on(async {
                let transaction = client.transaction().await?;
                // Others that have begun at the same time wait, and then find it done.
                transaction.execute("SELECT pg_advisory_xact_lock(hashtextextended('sensorium/ledger', 0))", &[]).await?;
                transaction.batch_execute(super::migrations::VERSIONS).await?;
                let known: Option<i64> = transaction.query_one(super::migrations::KNOWN, &[]).await?.try_get(0)?;
                if known.unwrap_or(0) < version {
                    transaction.batch_execute(&step).await?;
                    transaction.execute("INSERT INTO ledger_version VALUES ($1)", &[&version]).await?;
                }
                Ok(transaction.commit().await?)
            })
        })
    }
}
