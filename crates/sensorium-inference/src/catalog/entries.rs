//! What lies below one model's name, told from one listing.

use std::collections::{BTreeMap, btree_map};

use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, ObjectStore};
use serde::{Deserialize, Serialize};

use super::log;
use crate::error::Result;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AliasRecord {
    pub(super) version: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DropRecord {
    pub(super) through: u64,
}

/// The entries of one model.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By number, those that were dropped left out.
    pub(super) versions: BTreeMap<u64, ObjectMeta>,
    /// The newest entry of each alias.
    aliases: BTreeMap<String, (u64, Path)>,
}

impl Entries {
    /// Lists what is below the model at `prefix`: one request to the store, and one more if versions were dropped.
    pub(super) async fn list(store: &dyn ObjectStore, prefix: &Path) -> Result<Self> {
        let (mut found, mut dropped) = (Self::default(), None);
        for entry in log::entries(store, prefix).await? {
            let Some(number) = log::number(&entry.location) else { continue };
            let parts: Vec<PathPart<'_>> = entry.location.prefix_match(prefix).into_iter().flatten().collect();
            match parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>()[..] {
                ["versions", _] => {
                    found.versions.insert(number, entry);
                }
                ["drops", _] => dropped = dropped.max(Some((number, entry.location))),
                ["aliases", alias, _] => {
                    let newest = found.aliases.entry(alias.to_string()).or_default();
                    if *newest < (number, Path::default()) {
                        *newest = (number, entry.location.clone());
                    }
                }
                _ => {}
            }
        }
        if let Some((_, path)) = dropped {
            let DropRecord { through } = log::read(store, &path).await?;
            found.versions.retain(|number, _| *number > through);
        }
        Ok(found)
    }

    /// The version that `alias` means.
    pub(super) async fn alias(&self, store: &dyn ObjectStore, alias: &str) -> Result<Option<u64>> {
        match self.aliases.get(alias) {
            Some((_, path)) => Ok(Some(log::read::<AliasRecord>(store, path).await?.version)),
            None => Ok(None),
        }
    }

    /// The names of the aliases.
    pub(super) fn aliases(&self) -> btree_map::Keys<'_, String, (u64, Path)> {
        self.aliases.keys()
    }
}
