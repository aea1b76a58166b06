//! Statements about models, read before DataFusion sees the text.

mod create;
mod describe;
mod export;
mod parse;
mod statement;

pub(crate) use crate::grammar::OptionValue;
pub(crate) use parse::parse;
pub(crate) use statement::{Evaluation, Statement, Training, execute, status_lines};
