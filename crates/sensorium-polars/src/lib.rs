//! Polars frames in and out of the engine, over the same memory.
//!
//! ```no_run
//! use polars::prelude::{LazyFrame, PlRefPath, ScanArgsParquet};
//! # use sensorium_polars::polars;
//! use sensorium_polars::{Input, PolarsSession};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let session = sensorium_engine::Session::open("models")?;
//! let loans = LazyFrame::default();
//! let scored = session.query_frame("SELECT *, mm_predict('credit', loans.*) AS risk FROM loans", vec![("loans", loans.into())]).await?;
//! # let _ = scored;
//! # Ok(())
//! # }
//! ```
//!
//! This is the only crate that names Polars.

mod columns;
mod input;
mod predicate;
mod scan;
mod session;

pub use columns::{from_batch, from_batches, to_batches};
pub use input::Input;
pub use polars;
pub use session::PolarsSession;
