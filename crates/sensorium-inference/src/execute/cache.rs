//! Results of rows that were seen before, bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef};

use super::cancel::Cancel;
use super::keys::RowKey;
use crate::error::Result;

/// Memory of one entry besides its value.
const BYTES_PER_ENTRY: usize = 120;
/// How often one that waits looks whether its query was cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// A cache that several calls use at once: of two that want the same row, one computes it and the other waits.
#[derive(Debug, Default)]
pub(super) struct Cache {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<RowKey, Entry>,
    /// Results by the call that made them, oldest first, which is the order in which they are dropped.
    chunks: BTreeMap<u64, Chunk>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// Row `row` of chunk `chunk`.
    Ready { chunk: u64, row: usize },
    /// Some call is at it.
    Claimed,
}

#[derive(Debug)]
struct Chunk {
    values: ArrayRef,
    keys: Vec<RowKey>,
    bytes: usize,
}

/// What the cache says of a key.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Row `row` of `values`.
    Ready { values: ArrayRef, row: usize },
    /// The caller is to compute it, and then to call [`Claims::publish`].
    Yours,
    /// Another call computes it.
    Theirs,
}

/// Keys that the caller has promised to compute; those not published are given back when this is dropped.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    cache: &'a Cache,
    keys: Vec<RowKey>,
}

impl Cache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks all keys up; those that nobody has are claimed.
    pub(super) fn look_up(&self, keys: &[RowKey]) -> (Vec<Found>, Claims<'_>) {
        let mut state = self.state();
        let mut claimed = Vec::new();
        let look = |key: &RowKey| match state.entries.get(key) {
            Some(Entry::Claimed) => Found::Theirs,
            Some(Entry::Ready { chunk, row }) => match state.chunks.get(chunk) {
                Some(chunk) => Found::Ready { values: Arc::clone(&chunk.values), row: *row },
                None => Found::Theirs,
            },
            None => {
                state.entries.insert(*key, Entry::Claimed);
                claimed.push(*key);
                Found::Yours
            }
        };
        let found = keys.iter().map(look).collect();
        drop(state);
        (found, Claims { cache: self, keys: claimed })
    }

    /// Waits until no call is at any of the keys.
    pub(super) fn wait(&self, keys: &[RowKey], cancel: &Cancel) -> Result<()> {
        let mut state = self.state();
        while keys.iter().any(|key| matches!(state.entries.get(key), Some(Entry::Claimed))) {
            cancel.check()?;
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Claims<'_> {
    /// Keeps the results of claimed keys: row `i` of `values` is that of `keys[i]`. Keys that failed are not among them.
    pub(super) fn publish(self, keys: Vec<RowKey>, values: ArrayRef, max_bytes: usize) {
        let bytes = values.get_array_memory_size() + keys.len() * BYTES_PER_ENTRY;
        if bytes > max_bytes || keys.is_empty() {
            return;
        }
        let mut state = self.cache.state();
        let number = state.next;
        state.next += 1;
        for (row, key) in keys.iter().enumerate() {
            state.entries.insert(*key, Entry::Ready { chunk: number, row });
        }
        state.bytes += bytes;
        state.chunks.insert(number, Chunk { values, keys, bytes });
        while state.bytes > max_bytes {
            let Some((_, oldest)) = state.chunks.pop_first() else { break };
            state.bytes -= oldest.bytes;
            for key in &oldest.keys {
                state.entries.remove(key);
            }
        }
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        for key in &self.keys {
            if matches!(state.entries.get(key), Some(Entry::Claimed)) {
                state.entries.remove(key);
            }
        }
        self.cache.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn keys(numbers: impl IntoIterator<Item = u8>) -> Vec<RowKey> {
        numbers.into_iter().map(|number| [number; 32]).collect()
    }

    fn values(numbers: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(numbers.into_iter().collect::<Int64Array>())
    }

    #[test]
    fn what_is_published_is_found_and_what_is_not_is_given_back() {
        let cache = Cache::default();
        let (found, claims) = cache.look_up(&keys([1, 2, 3]));
        assert!(found.iter().all(|found| matches!(found, Found::Yours)));
        assert!(matches!(cache.look_up(&keys([2])).0[0], Found::Theirs));
        claims.publish(keys([1, 3]), values([10, 30]), 1 << 20);
        let (found, _claims) = cache.look_up(&keys([3, 2]));
        assert!(matches!(&found[0], Found::Ready { values, row } if values.as_primitive::<Int64Type>().value(*row) == 30));
        assert!(matches!(found[1], Found::Yours));
    }

    #[test]
    fn the_oldest_results_go_first() {
        let cache = Cache::default();
        for number in 0..100 {
            let (_, claims) = cache.look_up(&keys([number]));
            claims.publish(keys([number]), values([i64::from(number)]), 4_096);
        }
        let state = cache.state();
        assert!(state.bytes <= 4_096);
        assert_eq!(state.entries.len(), state.chunks.len());
        drop(state);
        assert!(matches!(cache.look_up(&keys([0])).0[0], Found::Yours));
        assert!(matches!(cache.look_up(&keys([99])).0[0], Found::Ready { .. }));
    }

    #[test]
    fn waiting_ends_when_the_other_call_gives_up() {
        let cache = Cache::default();
        let (_, claims) = cache.look_up(&keys([7]));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| cache.wait(&keys([7]), &Cancel::default()).is_ok());
            drop(claims);
            assert!(waiter.join().expect("no panic"));
        });
        let cancel = Cancel::default();
        cancel.cancel();
        let (_, _claims) = cache.look_up(&keys([7]));
        assert!(cache.wait(&keys([7]), &cancel).is_err());
    }
}
