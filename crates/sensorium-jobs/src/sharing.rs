//! Results of models that machines share: taken before a run, given behind it. A run goes on without them.

use std::path::PathBuf;

use sensorium_engine::MmSettings;
use sensorium_inference::{Shared, give_shared_results, take_shared_results};

use crate::ledger::Ledger;
use crate::setting_up::Ready;

/// Takes what others have made since the last time.
pub(crate) async fn take(ledger: &Ledger, run: &str, ready: &Ready) {
    let Some((folder, url, bytes)) = places(ready) else { return };
    let taken = tokio::task::spawn_blocking(move || take_shared_results(&folder, &url, bytes)).await;
    tell(ledger, run, "taken", taken);
}

/// Gives what this run has made.
pub(crate) async fn give(ledger: &Ledger, run: &str, ready: &Ready) {
    let Some((folder, url, _)) = places(ready) else { return };
    let given = tokio::task::spawn_blocking(move || give_shared_results(&folder, &url)).await;
    tell(ledger, run, "given", given);
}

/// The cache of this machine, the one that is shared, and bytes that there may be.
fn places(ready: &Ready) -> Option<(PathBuf, String, usize)> {
    let url = ready.shared_cache.clone()?;
    let config = ready.session.context().copied_config();
    let limits = &config.options().extensions.get::<MmSettings>()?.limits;
    (!limits.cache_path.as_os_str().is_empty()).then(|| (limits.cache_path.clone(), url, limits.cache_disk_bytes))
}

type Visit = Result<sensorium_inference::Result<Shared>, tokio::task::JoinError>;

fn tell(ledger: &Ledger, run: &str, what: &str, visit: Visit) {
    let line = match visit {
        Ok(Ok(Shared { files: 0, .. })) => return,
        Ok(Ok(shared)) => format!("{} shared results {what}", shared.results),
        Ok(Err(error)) => format!("not {what}: {error}"),
        Err(error) => format!("not {what}: {error}"),
    };
    // The rows are what counts.
    let _ = ledger.log(run, &line);
}
