//! Tables that are there for one statement: the data frames of a host program, read where they lie.

mod exec;
mod scope;
mod source;
mod table;

pub(crate) use scope::with_frames;
pub use source::{Batches, Frame};
