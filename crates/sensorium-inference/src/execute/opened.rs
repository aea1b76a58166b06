//! What of a model is the same for every session of the process: its graphs on a device and its tokenizers.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::limits::Limits;
use super::sessions::Sessions;
use crate::error::Result;
use crate::modality::{TextCodec, TextEncoder};
use crate::package::{Manifest, TextSpec};
use crate::runtime::{Device, GpuOptions, Provider};

/// Graphs by their content, whether they write, and how they are run. The two sides of a joint graph are one.
static GRAPHS: Shared<(String, bool, Device, GpuOptions), Sessions> = Shared::new();

/// Tokenizers by the content of their file, and how they cut.
static TOKENIZERS: Shared<(String, TextSpec), TextEncoder> = Shared::new();

/// Tokenizers that turn tokens into text, by the content of their file.
static TEXT_CODECS: Shared<String, TextCodec> = Shared::new();

/// The sessions of a model's graphs, whose files lie in `folder`.
pub(super) fn sessions(manifest: &Manifest, folder: &Path, limits: &Limits) -> Result<Arc<Sessions>> {
    let key = (manifest.graphs_sha256(), manifest.writes(), limits.device, limits.gpu);
    GRAPHS.get_or_make(&key, || {
        if manifest.endpoint.is_some() {
            Ok(Sessions::nowhere())
        } else {
            Sessions::open(manifest, folder, &Provider::choose(limits.device)?, limits.gpu)
        }
    })
}

/// The tokenizer of a text input.
pub(super) fn tokenizer(manifest: &Manifest, spec: &TextSpec, folder: &Path) -> Result<Arc<TextEncoder>> {
    let content = manifest.files.get(&spec.tokenizer).map(|file| file.sha256.clone()).unwrap_or_default();
    TOKENIZERS.get_or_make(&(content, spec.clone()), || TextEncoder::load(folder, spec))
}

/// The tokenizer of what a model writes, whose file is `tokenizer`.
pub(super) fn text_codec(manifest: &Manifest, tokenizer: &str, folder: &Path) -> Result<Arc<TextCodec>> {
    let content = manifest.files.get(tokenizer).map(|file| file.sha256.clone()).unwrap_or_default();
    TEXT_CODECS.get_or_make(&content, || TextCodec::load(folder, tokenizer))
}

/// One thing for each key, made by the first who asks and gone with the last who holds it.
#[derive(Debug)]
pub(super) struct Shared<K, T>(Mutex<Vec<(K, Place<T>)>>);

type Place<T> = Arc<Mutex<Weak<T>>>;

impl<K: PartialEq + Clone, T> Shared<K, T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// What others hold under `key`, or what `make` makes. Who asks meanwhile for the same key waits; for another, does not.
    pub(super) fn get_or_make(&self, key: &K, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let place = self.place(key);
        let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.upgrade() {
            return Ok(held);
        }
        let made = Arc::new(make()?);
        *held = Arc::downgrade(&made);
        Ok(made)
    }

    fn place(&self, key: &K) -> Place<T> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A place that someone else has is being filled.
        let is_used = |place: &Place<T>| Arc::strong_count(place) > 1 || place.lock().is_ok_and(|held| held.strong_count() > 0);
        places.retain(|(other, place)| other == key || is_used(place));
        if let Some((_, place)) = places.iter().find(|(other, _)| other == key) {
            return Arc::clone(place);
        }
        let place = Place::<T>::default();
        places.push((key.clone(), Arc::clone(&place)));
        place
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::scope;
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn one_is_made_for_all_who_ask_at_once() {
        let (shared, made) = (Shared::new(), AtomicUsize::new(0));
        let make = || {
            std::thread::sleep(Duration::from_millis(20));
            Ok(made.fetch_add(1, Ordering::Relaxed))
        };
        scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| shared.get_or_make(&"a", make))).collect();
            let held: Vec<_> = all.into_iter().map(|thread| thread.join().expect("no panic").expect("made")).collect();
            assert!(held.iter().all(|one| **one == 0));
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_nobody_holds_is_made_again_and_its_place_is_not_kept() {
        let shared = Shared::new();
        let first = shared.get_or_make(&1, || Ok("first")).expect("made");
        assert_eq!(*shared.get_or_make(&1, || Ok("second")).expect("held"), "first");
        drop(first);
        assert_eq!(*shared.get_or_make(&1, || Ok("third")).expect("made"), "third");
        let kept = shared.get_or_make(&2, || Ok("kept")).expect("made");
        shared.get_or_make(&3, || Ok("other")).expect("made");
        assert_eq!(shared.0.lock().expect("no panic").iter().map(|(key, _)| *key).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(*kept, "kept");
    }

    #[test]
    fn what_fails_is_tried_again() {
        let shared: Shared<_, &str> = Shared::new();
        let failed = shared.get_or_make(&1, || Err(Error::new(Kind::Package, "damaged")));
        assert_eq!(failed.expect_err("an error").to_string(), "damaged");
        assert_eq!(*shared.get_or_make(&1, || Ok("mended")).expect("made"), "mended");
    }
}
