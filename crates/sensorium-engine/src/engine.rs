//! What all functions of a session share: catalog, loaded models, failed rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::Result;
use sensorium_inference::{Catalog, ModelVersion, Models};

use crate::errors::to_datafusion;
use crate::ledger::Ledger;

/// The state behind a session's functions.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) catalog: Catalog,
    pub(crate) models: Models,
    pub(crate) ledger: Ledger,
    /// References that were resolved for the statement being planned: all its calls see one version.
    resolved: Mutex<HashMap<String, Arc<ModelVersion>>>,
}

impl Engine {
    pub(crate) fn new(catalog: Catalog) -> Self {
        Self { catalog, models: Models::default(), ledger: Ledger::default(), resolved: Mutex::default() }
    }

    /// The version behind `reference`, the same for all calls until [`Engine::forget_resolved`].
    pub(crate) fn resolve(&self, reference: &str) -> Result<Arc<ModelVersion>> {
        let known = self.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(reference).map(Arc::clone);
        if let Some(version) = known {
            return Ok(version);
        }
        let version = Arc::new(self.catalog.resolve(reference).map_err(to_datafusion)?);
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.insert(reference.to_string(), Arc::clone(&version));
        resolved.insert(version.pinned(), Arc::clone(&version));
        Ok(version)
    }

    /// A new statement begins: names may mean newer versions.
    pub(crate) fn forget_resolved(&self) {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
