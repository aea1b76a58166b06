//! DataFusion with models: `mm_` functions, model DDL, settings.
//!
//! [`Session`] is the door; everything else is reached through SQL.

mod call;
mod ddl;
mod engine;
mod errors;
mod evaluate;
mod field_access;
mod frames;
mod functions;
pub mod grammar;
mod infer;
mod learned;
mod ledger;
mod listing;
mod metrics;
mod prepared;
mod progress;
mod receipts;
mod reference;
mod rewrite;
mod rules;
mod session;
mod settings;
mod statements;
mod train;

pub use errors::{CallError, FailedAt, find_cause, root_message};
pub use frames::{Batches, Frame, FrameQuery, ImportedStream, columns_by_name, import_array, read_elsewhere};
pub use infer::PlanCodec;
pub use ledger::FailedRow;
pub use prepared::{Prepared, UsedModel};
pub use progress::Watch;
pub use receipts::{MEDIA, RECEIPT, Receipted};
pub use reference::{errors_page, functions_page, settings_page};
pub use session::Session;
pub use settings::{MmSettings, OnError};
pub use statements::split_statements;
