//! The inference operator: what one model call is in a logical plan and how it is executed.

mod call;
mod codec;
mod evaluate;
mod exec;
mod figures;
mod guard;
mod node;
mod planner;
mod window;

pub(crate) use call::{InferCall, model_function};
pub use codec::PlanCodec;
pub(crate) use exec::InferExec;
pub(crate) use guard::Guard;
pub(crate) use node::Infer;
pub(crate) use planner::MmQueryPlanner;
