//! What a model call is, before and while it runs.
//!
//! `evaluate` is the boundary between plans and models: the operator and, for calls that could not be lifted, the
//! functions themselves through DataFusion's `invoke` end there with a [`Bound`].

mod arguments;
mod classify;
mod evaluate;
mod function;
mod generation;
mod policy;
mod reasons;
mod side;
mod task;
mod wildcard;

pub(crate) use evaluate::{Arguments, Asked, Bound, Kind, NumberedFrom, RowNames};
pub(crate) use function::{ModelFunction, model_literal};
pub(crate) use policy::{Policy, settle, try_type};
pub(crate) use wildcard::expand_wildcards;
