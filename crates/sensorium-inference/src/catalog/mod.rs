//! The catalog: named models with numbered, immutable versions in a folder or under an object-store prefix.
//!
//! Everything is written once and never changed, so that two processes need no lock:
//!
//! ```text
//! blobs/<sha256>                          content of a file, shared by all versions that use it
//! models/<name>/versions/<number>.json    the commit of a version: written last, and only if the number is free
//! models/<name>/aliases/<alias>/<n>.json  the newest entry says which version the alias means
//! models/<name>/drops/<n>.json            versions up to the newest entry's number are dropped
//! ```
//!
//! Numbers are never used again, also after a drop, so that a receipt always means one model.

mod entries;
mod files;
mod log;
mod names;
mod store;
mod version;

pub use names::ModelReference;
pub use store::{Catalog, CreateMode, ModelSummary, environment_options};
pub use version::ModelVersion;
