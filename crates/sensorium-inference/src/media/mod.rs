//! From a URI to bytes: which places may be read, how, and how much.

mod access;
mod fetch;
mod remote;
mod write;

pub use access::MediaAccess;
pub(crate) use access::Place;
pub(crate) use fetch::{digest_remote, fetch_local, fetch_remote, version_of};
pub use write::write_files;
