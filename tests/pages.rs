//! Pages that are written from the code, and the README's blocks.

use crate::Outcome;
use crate::support::{command, ensure};

pub(crate) const TESTS: &[(&str, fn() -> Outcome)] = &[("reference_pages_are_up_to_date", reference)];

fn reference() -> Outcome {
    let output = command().args(["reference", "--check"]).output()?;
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
}
