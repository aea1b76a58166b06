//! Memory for the caches of decoders, all calls of the process together.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::execute::Cancel;

static USED: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// How often one that waits looks whether it still should.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes that are spoken for until this is dropped.
#[derive(Debug)]
pub(super) struct Reserved(usize);

impl Drop for Reserved {
    fn drop(&mut self) {
        *USED.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        FREED.notify_all();
    }
}

/// Speaks for `bytes`, if so many are left of `limit`.
pub(super) fn reserve(bytes: usize, limit: usize) -> Option<Reserved> {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let after = used.checked_add(bytes).filter(|after| *after <= limit)?;
    *used = after;
    Some(Reserved(bytes))
}

/// Speaks for `bytes` of `limit` as soon as they are free. Who waits must hold none, so that those who do can end.
pub(super) fn wait(bytes: usize, limit: usize, cancel: &Cancel) -> Result<Reserved> {
    loop {
        if let Some(reserved) = reserve(bytes, limit) {
            return Ok(reserved);
        }
        cancel.check()?;
        let used = USED.lock().unwrap_or_else(PoisonError::into_inner);
        drop(FREED.wait_timeout(used, LOOK));
    }
}
