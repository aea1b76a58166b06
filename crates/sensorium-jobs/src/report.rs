//! What is kept of a run for people: one HTML page that needs no other file.

use crate::error::{JobError, Result};
use crate::ledger::Ledger;
use crate::pages::one_run;

/// The page of a run.
///
/// # Errors
/// For a run that the ledger does not know.
pub fn report(ledger: &Ledger, run: &str) -> Result<String> {
    let page = one_run(run, ledger, false)?;
    let page = page.ok_or_else(|| JobError::new(format!("no such run: {run}")).with_hint("`sensorium job status` lists runs"))?;
    sensorium_report::html(&page).map_err(|error| JobError::new(error.to_string()))
}
