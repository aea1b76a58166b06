//! Pages that are written from the code, and the README's blocks.

use crate::support::{command, ensure, fresh};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[("readme_statements_run", readme), ("reference_pages_are_up_to_date", reference)];

/// The block that begins with CREATE MODEL, statement by statement.
fn readme() -> Outcome {
    let page = std::fs::read_to_string("README.md")?;
    let block = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).find(|block| block.starts_with("CREATE MODEL"));
    let fresh = fresh();
    for statement in sensorium_engine::split_statements(block.ok_or("no block with CREATE MODEL")?)? {
        fresh.rows(&statement)?;
    }
    Ok(())
}

fn reference() -> Outcome {
    let output = command().args(["reference", "--check"]).output()?;
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())
}
