//! One version of one model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::package::Manifest;

/// A resolved version.
#[derive(Debug, Clone)]
pub struct ModelVersion {
    /// Name in the catalog.
    pub name: String,
    /// Its number, from 1.
    pub version: u64,
    /// SHA-256 over everything that decides the output.
    pub sha256: String,
    /// When it was created, in seconds since 1970 UTC.
    pub created_unix_s: u64,
    /// Where it was imported from.
    pub source: String,
    /// The model itself.
    pub manifest: Arc<Manifest>,
}

impl ModelVersion {
    /// `name@number`, which always means this version.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The part of a joint model that makes the vector of `input`, as a model of its own with an SHA-256 of its own.
    pub fn side(&self, input: &str) -> Option<Self> {
        let manifest = self.manifest.side(input)?;
        Some(Self { sha256: manifest.sha256(), manifest: Arc::new(manifest), ..self.clone() })
    }
}

/// What lies in `versions/<number>.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) sha256: String,
    pub(super) created_unix_s: u64,
    pub(super) source: String,
    pub(super) manifest: Manifest,
}
