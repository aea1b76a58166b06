//! Tables that are there for one statement: the data frames of a host program, read where they lie.

mod c_data;
mod exec;
mod scope;
mod source;
mod table;

pub use c_data::{ImportedStream, import_array};
pub(crate) use scope::with_frames;
pub use source::{Batches, Frame};
