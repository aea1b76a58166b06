//! What a model call is, before and while it runs.
//!
//! `evaluate` is the boundary between plans and models: whoever executes bound calls (today the functions
//! themselves, through DataFusion's `invoke`) needs it and a [`Bound`], and nothing else of this folder.

mod arguments;
mod evaluate;
mod function;
mod policy;
mod wildcard;

pub(crate) use evaluate::{Arguments, Bound, Kind};
pub(crate) use function::{ModelFunction, model_literal};
pub(crate) use policy::{Policy, settle, try_type};
pub(crate) use wildcard::expand_wildcards;
