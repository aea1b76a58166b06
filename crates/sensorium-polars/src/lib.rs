//! Polars frames in and out of the engine, over the same memory.
//!
//! ```no_run
//! use sensorium_engine::Session;
//! use sensorium_polars::PolarsSession;
//! use sensorium_polars::polars::prelude::{DataFrame, LazyFrame};
//!
//! # async fn example(loans: LazyFrame) -> Result<DataFrame, Box<dyn std::error::Error>> {
//! let session = Session::open("models")?;
//! let query = "SELECT *, mm_predict('credit', loans.*) AS risk FROM loans";
//! let scored: DataFrame = session.query_frame(query, vec![("loans", loans.into())]).await?;
//! # Ok(scored)
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
