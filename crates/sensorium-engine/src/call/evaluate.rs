//! Running a bound call on arrays.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use datafusion::error::Result;
use sensorium_inference::{Cancel, MediaAccess, ModelVersion, Request, Stats, Values, Wanted};

use super::arguments::bind;
use super::policy::{Policy, settle};
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

/// A call whose model is known: what planning decided about it.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// The model as the call names it, for binding it again.
    reference: String,
    pub(crate) version: Arc<ModelVersion>,
    /// For each media input, the folder of the table that it comes from.
    pub(crate) bases: BTreeMap<String, String>,
    /// Rows that this call has seen, which numbers the failed ones.
    rows: Arc<AtomicU64>,
}

impl Bound {
    pub(crate) fn new(reference: &str, version: Arc<ModelVersion>, bases: BTreeMap<String, String>) -> Self {
        Self { reference: reference.to_string(), version, bases, rows: Arc::default() }
    }

    /// Counts further rows of the call; returns the number of the first.
    pub(super) fn count(&self, rows: usize) -> u64 {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed)
    }

    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.version.sha256 == other.version.sha256 && self.version.pinned() == other.version.pinned() && self.bases == other.bases
    }
}

impl Eq for Bound {}

impl Hash for Bound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.version.pinned().hash(state);
        self.bases.hash(state);
    }
}

/// Which function a call is of, and what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) function: &'static str,
    pub(crate) wanted: Wanted,
    pub(crate) policy: Policy,
}

/// The arguments behind the model, all of `rows` rows.
pub(crate) struct Arguments<'a> {
    pub(crate) arrays: &'a [ArrayRef],
    pub(crate) fields: &'a [FieldRef],
    pub(crate) rows: usize,
    /// Where the call is told to stop.
    pub(crate) cancel: &'a Cancel,
    pub(crate) stats: &'a Stats,
    /// Number of a row within the query, for messages.
    pub(crate) number: &'a dyn Fn(usize) -> u64,
}

/// Runs a bound call.
pub(crate) fn evaluate(engine: &Engine, kind: Kind, bound: &Bound, arguments: &Arguments<'_>, settings: &MmSettings) -> Result<Values> {
    let version = &bound.version;
    let inputs = bind(&version.name, &version.manifest, arguments.fields).map_err(to_datafusion)?.columns(arguments.arrays);
    let access = MediaAccess { bases: bound.bases.clone(), allowed_roots: settings.allowed_roots.clone() };
    let request = Request {
        inputs: &inputs,
        rows: arguments.rows,
        wanted: kind.wanted,
        access: &access,
        limits: &settings.limits,
        stop_at_failure: kind.policy.stops(settings),
        statement: engine.ledger.statement(),
        cancel: arguments.cancel,
        stats: arguments.stats,
    };
    let answer = engine.models.run(&engine.catalog, version, &request).map_err(to_datafusion)?;
    settle(engine, kind.function, Some(&version.pinned()), answer, kind.policy, settings, arguments.number)
}
