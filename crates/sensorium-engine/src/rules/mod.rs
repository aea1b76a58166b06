//! Rules that DataFusion's planner runs for us.

mod bind_calls;
mod media_base;

pub(crate) use bind_calls::{BindCalls, Binding, bind_calls};
