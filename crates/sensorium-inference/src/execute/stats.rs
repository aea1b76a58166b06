//! What a call did, counted while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters and times of a call; times are summed over workers.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: Count,)+
        }

        impl Stats {
            /// All figures with their names, times in nanoseconds.
            pub fn figures(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get())),+]
            }

            /// Adds what `stats` has counted since its figures were `before`.
            pub(super) fn add_growth(&self, stats: &Self, before: &Self) {
                $(self.$name.0.fetch_add(stats.$name.get().saturating_sub(before.$name.get()), Ordering::Relaxed);)+
            }

            /// The figures as they are now.
            pub(super) fn snapshot(&self) -> Self {
                Self { $($name: Count(AtomicU64::new(self.$name.get())),)+ }
            }
        }
    };
}

stats! {
    /// Rows that were given.
    input_rows,
    /// Rows that a guard spared.
    guarded_rows,
    /// Different rows among those that were not spared, where they were told apart.
    distinct_rows,
    /// Different rows whose results were known already.
    cache_hits,
    /// Different rows whose results an earlier process had kept.
    disk_cache_hits,
    /// Rows that reached the model.
    model_rows,
    /// Batches that the model saw.
    batches,
    /// Tokens of texts.
    tokens,
    /// Tokens that the model saw, padding included.
    padded_tokens,
    /// Tokens that the model wrote.
    generated_tokens,
    /// Requests to endpoints.
    requests,
    /// Of these, such as were sent again.
    retried_requests,
    /// What their tokens cost, in millionths of a dollar.
    cost_microdollars,
    /// Bytes that were read from files and object stores.
    fetched_bytes,
    /// Reading media.
    fetch_time,
    /// Decoding sounds, and decoding and preparing pictures.
    decode_time,
    /// Making spectrograms and other features of sounds.
    feature_time,
    /// Cutting texts into tokens.
    tokenize_time,
    /// Waiting for a device that others use.
    queue_time,
    /// Running graphs.
    device_time,
    /// Of that, writing texts token by token.
    generate_time,
    /// Sharing predictions out among inputs, runs of the head included.
    explain_time,
    /// Filling and reading tensors, and putting results where their rows are.
    scatter_time,
}

impl Stats {
    /// All work of the call, summed over workers; waiting is none.
    pub(super) fn work(&self) -> Duration {
        let times = [&self.fetch_time, &self.decode_time, &self.feature_time, &self.tokenize_time, &self.device_time, &self.scatter_time];
        times.into_iter().map(Count::time).sum()
    }
}

/// One figure.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to the figure.
    pub fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Ordering::Relaxed);
    }

    /// Adds the time since `start`.
    pub fn since(&self, start: Instant) {
        self.add_time(start.elapsed());
    }

    /// Adds a time.
    pub fn add_time(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The figure so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The figure so far as a time.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}
