//! What all functions of a session share: catalog, loaded models, failed rows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::error::Result;
use sensorium_inference::{Catalog, ModelVersion, Models};

use crate::errors::to_datafusion;
use crate::learned::Learned;
use crate::ledger::Ledger;
use crate::train::Activity;

/// The state behind a session's functions.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) catalog: Catalog,
    pub(crate) models: Models,
    pub(crate) ledger: Ledger,
    pub(crate) learned: Learned,
    pub(crate) activity: Activity,
}

type Resolved = RefCell<HashMap<String, Arc<ModelVersion>>>;

tokio::task_local! {
    /// References that the statement being planned has used so far: all its calls see one version.
    static RESOLVED: Resolved;
}

/// Plans one statement: within `work`, a reference means one version, whatever is created meanwhile.
pub(crate) async fn one_statement<T>(work: impl Future<Output = T>) -> T {
    RESOLVED.scope(Resolved::default(), work).await
}

impl Engine {
    pub(crate) fn new(catalog: Catalog) -> Self {
        Self { catalog, models: Models::default(), ledger: Ledger::default(), learned: Learned::default(), activity: Activity::default() }
    }

    /// Has `reference` mean the version `pinned` within [`one_statement`].
    pub(crate) fn pin(&self, reference: &str, pinned: &str) -> Result<()> {
        let version = self.resolve(pinned)?;
        let _ = RESOLVED.try_with(|resolved| resolved.borrow_mut().insert(reference.to_string(), version));
        Ok(())
    }

    /// The version behind `reference`, the same for all calls of [`one_statement`].
    pub(crate) fn resolve(&self, reference: &str) -> Result<Arc<ModelVersion>> {
        let known = RESOLVED.try_with(|resolved| resolved.borrow().get(reference).map(Arc::clone)).ok().flatten();
        if let Some(version) = known {
            return Ok(version);
        }
        let version = Arc::new(self.catalog.resolve(reference).map_err(to_datafusion)?);
        let _ = RESOLVED.try_with(|resolved| {
            let mut resolved = resolved.borrow_mut();
            resolved.insert(reference.to_string(), Arc::clone(&version));
            resolved.insert(version.pinned(), Arc::clone(&version));
        });
        Ok(version)
    }
}
