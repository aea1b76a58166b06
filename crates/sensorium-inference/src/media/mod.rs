//! From a URI to bytes: which places may be read, how, and how much.

mod access;
mod fetch;
mod remote;

pub use access::MediaAccess;
pub(crate) use access::Place;
pub(crate) use fetch::{digest_remote, fetch_local, fetch_remote, version_of};
