//! Rules that DataFusion's planner runs for us.

mod bind_calls;
mod delay_calls;
mod hurry_limits;
mod lift;
mod media_base;
mod observe_predicates;
mod prune_calls;

pub(crate) use bind_calls::{BindCalls, Binding, bind_calls};
pub(crate) use delay_calls::DelayCalls;
pub(crate) use hurry_limits::HurryLimits;
pub(crate) use lift::LiftCalls;
pub(crate) use observe_predicates::ObservePredicates;
pub(crate) use prune_calls::PruneCalls;
