//! Operations on the catalog.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hashlink::LruCache;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectMeta};
use url::Url;

use super::entries::{AliasRecord, DropRecord, Entries};
use super::names::{ModelReference, VersionReference, check_name};
use super::version::{ModelVersion, VersionRecord};
use super::{files, log};
use crate::error::{Error, Kind, Result};
use crate::io;
use crate::package::{Draft, MANIFEST_FORMAT};

/// How many versions stay read; a manifest takes some kilobytes.
const MAX_READ: usize = 256;

/// A catalog; cheap to clone. Calls block the calling thread while the store answers.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(super) store: Arc<DynObjectStore>,
    root: Path,
    location: String,
    read: Read,
}

/// Versions that were read already, by what the store says of their entries: place, time, size and entity tag.
#[derive(Debug, Clone)]
struct Read(Arc<Mutex<LruCache<Path, (ObjectMeta, ModelVersion)>>>);

impl Default for Read {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MAX_READ))))
    }
}

impl Read {
    fn find(&self, entry: &ObjectMeta) -> Option<ModelVersion> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(&entry.location).filter(|(as_read, _)| as_read == entry).map(|(_, version)| version.clone())
    }

    fn keep(&self, entry: &ObjectMeta, version: &ModelVersion) {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(entry.location.clone(), (entry.clone(), version.clone()));
    }
}

/// What `CREATE` does about a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    /// `CREATE MODEL`: an error.
    New,
    /// `CREATE OR REPLACE MODEL`: a further version becomes the newest.
    Replace,
    /// `CREATE MODEL IF NOT EXISTS`: nothing.
    IfNotExists,
}

/// A line of `SHOW MODELS`.
#[derive(Debug, Clone)]
pub struct ModelSummary {
    /// The newest version.
    pub newest: ModelVersion,
    /// How many versions there are.
    pub versions: usize,
    /// Aliases and the versions they mean.
    pub aliases: BTreeMap<String, u64>,
}

pub(super) fn store_error(action: &str, path: &Path, error: &object_store::Error) -> Error {
    Error::new(Kind::Catalog, format!("cannot {action} {path} in the catalog: {error}"))
}

/// The environment as options of an object store: its credentials, with the names in lower case as `object_store` has them.
pub fn environment_options() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?.to_lowercase(), value.into_string().ok()?)))
}

fn no_such_model(name: &str) -> Error {
    Error::new(Kind::Catalog, format!("no such model: '{name}'"))
}

impl Catalog {
    /// Opens the catalog at a folder, which is made if need be, or at a URL such as `s3://bucket/models`.
    ///
    /// # Errors
    /// When the folder cannot be made or the URL is of an unknown scheme.
    pub fn open(location: &str) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Error::new(Kind::Catalog, format!("cannot open the catalog at {location}: {error}"));
        if location.contains("://") {
            let url = Url::parse(location).map_err(|error| failed(&error))?;
            let (store, root) = object_store::parse_url_opts(&url, environment_options()).map_err(|error| failed(&error))?;
            return Ok(Self { store: Arc::from(store), root, location: location.to_string(), read: Read::default() });
        }
        let folder = PathBuf::from(location);
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(&error))?;
        Ok(Self { store: Arc::new(store), root: Path::default(), location: location.to_string(), read: Read::default() })
    }

    /// Where the catalog lies, as it was given to [`Catalog::open`].
    pub fn location(&self) -> &str {
        &self.location
    }

    fn model(&self, name: &str) -> Path {
        self.root.clone().join("models").join(name)
    }

    pub(super) fn blob(&self, sha256: &str) -> Path {
        self.root.clone().join("blobs").join(sha256)
    }

    /// Adds a version of `name`. Returns the version that `name` means afterwards and whether it is new.
    ///
    /// # Errors
    /// [`Kind::Catalog`] when the name is taken (see `mode`) or the store refuses.
    pub fn create(&self, name: &str, draft: Draft, mode: CreateMode, source: &str) -> Result<(ModelVersion, bool)> {
        check_name("model name", name)?;
        let (catalog, name, source) = (self.clone(), name.to_string(), source.to_string());
        io::wait(async move {
            let prefix = catalog.model(&name).join("versions");
            let taken = |newest: u64| {
                Error::new(Kind::Catalog, format!("model '{name}' exists already, version {newest}"))
                    .with_hint(format!("CREATE OR REPLACE MODEL {name} adds version {}", newest + 1))
            };
            let next = log::numbers(&catalog.store, &prefix).await?.last().copied().unwrap_or(0) + 1;
            match (mode, catalog.entries(&name).await?.versions.last_key_value()) {
                (CreateMode::New, Some((newest, _))) => return Err(taken(*newest)),
                (CreateMode::IfNotExists, Some((newest, _))) => return Ok((catalog.load(&name, *newest).await?, false)),
                _ => {}
            }
            files::upload(&catalog, &draft).await?;
            let record = VersionRecord {
                sha256: draft.manifest.sha256(),
                created_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs()),
                source,
                manifest: draft.manifest,
            };
            // Of two that create the same name at once, one does; a replacement always finds a number.
            let number = match mode {
                CreateMode::Replace => log::append(&catalog.store, &prefix, &record).await?,
                _ if log::append_as(&catalog.store, &prefix, next, &record).await? => next,
                CreateMode::New => return Err(taken(next)),
                CreateMode::IfNotExists => return Ok((catalog.load(&name, next).await?, false)),
            };
            Ok((catalog.load(&name, number).await?, true))
        })
    }

    /// The version that `reference` means now.
    ///
    /// # Errors
    /// [`Kind::Catalog`] with the closest name when there is no such model, version or alias.
    pub fn resolve(&self, reference: &str) -> Result<ModelVersion> {
        let (catalog, reference): (_, ModelReference) = (self.clone(), reference.parse()?);
        io::wait(async move {
            let name = &reference.name;
            let entries = catalog.entries(name).await?;
            let Some(newest) = entries.versions.keys().last().copied() else {
                let names = catalog.names().await?;
                return Err(no_such_model(name).with_nearest(name, names.iter().map(String::as_str), "models"));
            };
            let number = match &reference.version {
                VersionReference::Newest => newest,
                VersionReference::Number(number) => *number,
                VersionReference::Alias(alias) => entries.alias(&catalog.store, alias).await?.ok_or_else(|| {
                    let aliases = entries.aliases().map(String::as_str);
                    Error::new(Kind::Catalog, format!("no alias '{alias}' of model '{name}'")).with_nearest(alias, aliases, "aliases")
                })?,
            };
            match entries.versions.get(&number) {
                Some(entry) => catalog.load_entry(name, number, entry).await,
                None => Err(Error::new(Kind::Catalog, format!("no version {number} of model '{name}'"))
                    .with_hint(format!("the newest is {name}@{newest}"))),
            }
        })
    }

    /// All models, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<ModelSummary>> {
        let catalog = self.clone();
        io::wait(async move {
            let mut summaries = Vec::new();
            for name in catalog.names().await? {
                let entries = catalog.entries(&name).await?;
                let Some((newest, entry)) = entries.versions.last_key_value() else { continue };
                let newest = catalog.load_entry(&name, *newest, entry).await?;
                let mut aliases = BTreeMap::new();
                for alias in entries.aliases() {
                    if let Some(version) = entries.alias(&catalog.store, alias).await? {
                        aliases.insert(alias.clone(), version);
                    }
                }
                summaries.push(ModelSummary { newest, versions: entries.versions.len(), aliases });
            }
            Ok(summaries)
        })
    }

    /// Hides all versions of `name`; their files stay, for receipts. Returns whether there was such a model.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn drop_model(&self, name: &str) -> Result<bool> {
        let (catalog, name) = (self.clone(), name.to_string());
        io::wait(async move {
            let Some(newest) = catalog.entries(&name).await?.versions.keys().last().copied() else { return Ok(false) };
            log::append(&catalog.store, &catalog.model(&name).join("drops"), &DropRecord { through: newest }).await?;
            Ok(true)
        })
    }

    /// Lets `name@alias` mean `version` from now on.
    ///
    /// # Errors
    /// [`Kind::Catalog`] when there is no such version.
    pub fn set_alias(&self, name: &str, alias: &str, version: u64) -> Result<()> {
        check_name("alias", alias)?;
        let resolved = self.resolve(&format!("{name}@{version}"))?;
        let (catalog, alias) = (self.clone(), alias.to_string());
        io::wait(async move {
            let path = catalog.model(&resolved.name).join("aliases").join(alias);
            log::append(&catalog.store, &path, &AliasRecord { version: resolved.version }).await.map(|_| ())
        })
    }

    /// A folder on this machine with the files of `version`, each verified against its SHA-256.
    ///
    /// # Errors
    /// [`Kind::Catalog`] when a file is missing or was changed.
    pub fn materialise(&self, version: &ModelVersion) -> Result<PathBuf> {
        let (catalog, version) = (self.clone(), version.clone());
        io::wait(async move { files::materialise(&catalog, &version).await })
    }

    /// The files of a version that the catalog does not hold as they were created; all of them are read.
    ///
    /// # Errors
    /// Where the work cannot be done; a file that cannot be read is damaged.
    pub fn damaged_files(&self, version: &ModelVersion) -> Result<Vec<String>> {
        let (catalog, version) = (self.clone(), version.clone());
        io::wait(async move { Ok(files::damaged(&catalog, &version).await) })
    }

    /// The version behind `entry`, read anew only if the store has another than was read before.
    async fn load_entry(&self, name: &str, number: u64, entry: &ObjectMeta) -> Result<ModelVersion> {
        if let Some(version) = self.read.find(entry) {
            return Ok(version);
        }
        let version = self.load(name, number).await?;
        self.read.keep(entry, &version);
        Ok(version)
    }

    async fn load(&self, name: &str, number: u64) -> Result<ModelVersion> {
        let path = log::entry_path(&self.model(name).join("versions"), number);
        let record: VersionRecord = log::read(&self.store, &path).await?;
        if record.manifest.format != MANIFEST_FORMAT {
            return Err(Error::new(Kind::Catalog, format!("model {name}@{number} has manifest format {}", record.manifest.format))
                .with_hint(format!("this release reads format {MANIFEST_FORMAT}")));
        }
        if record.manifest.sha256() != record.sha256 {
            return Err(Error::new(
                Kind::Catalog,
                format!("model {name}@{number} was changed: its manifest is not the one that was created"),
            ));
        }
        Ok(ModelVersion {
            name: name.to_string(),
            version: number,
            sha256: record.sha256,
            created_unix_s: record.created_unix_s,
            source: record.source,
            manifest: Arc::new(record.manifest),
        })
    }

    async fn names(&self) -> Result<Vec<String>> {
        let prefix = self.root.clone().join("models");
        let listing = self.store.list_with_delimiter(Some(&prefix)).await.map_err(|error| store_error("list", &prefix, &error))?;
        Ok(listing.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_string)).collect())
    }

    async fn entries(&self, name: &str) -> Result<Entries> {
        Entries::list(&self.store, &self.model(name)).await
    }
}
