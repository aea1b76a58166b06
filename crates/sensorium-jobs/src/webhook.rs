//! A message to another system where a run has failed.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use serde_json::json;

use crate::job_file::{Job, Notice};
use crate::ledger::{Ledger, RunRecord};

/// How long the other side may take, and how often it is asked again.
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRIES: usize = 3;

/// Posts what has happened as JSON: `{job, run, run_date, state, error, rows, rejected}`. What goes wrong here is written into the run's log;
/// it does not change what the run has come to.
pub(crate) async fn notify(ledger: &Ledger, job: &Job, run: &RunRecord, notice: Notice, error: Option<&str>, counts: Option<(u64, u64)>) {
    let Some(webhook) = job.file.webhook.as_ref().filter(|webhook| webhook.on.contains(&notice)) else { return };
    let message = json!({
        "job": job.name,
        "run": run.run,
        "run_date": run.run_date.to_string(),
        "state": notice.name(),
        "error": error,
        "rows": counts.map(|(rows, _)| rows),
        "rejected": counts.map(|(_, rejected)| rejected),
    });
    let post = || async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).user_agent(concat!("sensorium/", env!("CARGO_PKG_VERSION"))).build()?;
        let request = client.post(&webhook.url).header("content-type", "application/json").body(message.to_string());
        request.send().await?.error_for_status().map(|_| ())
    };
    let delays = ExponentialBuilder::default().with_max_times(RETRIES);
    if let Err(error) = post.retry(delays).await {
        // Addresses of webhooks are secrets.
        let _ = ledger.log(&run.run, &format!("the webhook was not told: {}", error.without_url()));
    }
}
