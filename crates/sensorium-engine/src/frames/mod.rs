//! Tables that are there for one statement: the data frames of a host program, read where they lie.

mod c_data;
mod exec;
mod query;
mod scope;
mod source;
mod table;

pub use c_data::{ImportedStream, import_array};
pub use query::{FrameQuery, columns_by_name};
pub(crate) use scope::with_frames;
pub use source::{Batches, Frame, read_elsewhere};
