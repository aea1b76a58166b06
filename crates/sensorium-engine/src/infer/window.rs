//! Windows: the rows of several batches that a model gets at once.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use sensorium_inference::{Values, Windows};

/// Rows of the first window where a limit above may stop the query early: what comes soon.
const FEW_ROWS: usize = 256;
/// Rows of the first window elsewhere: the more texts are sorted together, the less of a batch is padding.
const FIRST_ROWS: usize = 4_096;
/// How much larger the next window may be: few small ones, as texts are sorted within each.
const GROWTH: usize = 8;
/// What a window should take; longer ones only delay the first rows.
const TARGET: Duration = Duration::from_secs(10);
/// The same where rows gain nothing from many others: enough to keep all cores busy between two windows.
const SHORT_TARGET: Duration = Duration::from_secs(1);

/// How large windows are, which grows with what was seen.
#[derive(Debug)]
pub(super) struct WindowSize {
    max_rows: usize,
    max_bytes: usize,
    kind: Windows,
    /// Bytes of a row's result.
    result_bytes: usize,
    /// Rows of the next window, and rows that take the target time.
    next: Mutex<(usize, usize)>,
}

impl WindowSize {
    pub(super) fn new(kind: Windows, max_rows: usize, max_bytes: usize, result_bytes: usize, may_end_early: bool) -> Self {
        let first = if may_end_early || kind == Windows::Short { FEW_ROWS } else { FIRST_ROWS };
        let next = Mutex::new((first, first * GROWTH));
        Self { kind, max_rows, max_bytes, result_bytes, next }
    }

    /// Rows of the next window.
    fn rows(&self) -> usize {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = next.0.min(next.1).clamp(1, self.max_rows);
        next.0 = rows.saturating_mul(GROWTH);
        rows
    }

    /// What is held of a window from now on: its input, its different results, and one batch with the results copied.
    ///
    /// # Errors
    /// When results are longer than was thought, and the memory pool has no more.
    pub(super) fn hold(&self, memory: &MemoryReservation, batches: &[RecordBatch], values: &Values) -> Result<()> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let largest = batches.iter().map(RecordBatch::num_rows).max().unwrap_or(0);
        let input = memory.size().saturating_sub(rows * self.result_bytes);
        memory.try_resize(input + values.bytes() + largest * self.result_bytes)
    }

    /// A window of `rows` took `elapsed`: the next ones are to stay below the target.
    pub(super) fn learn(&self, rows: usize, elapsed: Duration) {
        let target = if self.kind == Windows::Short { SHORT_TARGET } else { TARGET };
        let within = (rows as f64 * target.as_secs_f64() / elapsed.as_secs_f64().max(1e-6)) as usize;
        self.next.lock().unwrap_or_else(PoisonError::into_inner).1 = within.max(FEW_ROWS);
    }
}

/// Batches that are evaluated together, with the memory that was taken for them and their results.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rows: usize,
    /// Number of the first row within the query.
    pub(super) first_row: u64,
    pub(super) memory: MemoryReservation,
}

/// The rest of a batch that did not fit into the last window.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<RecordBatch>);

fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())).sum()
}

/// Reads the next window; `None` at the end of the input. Memory that cannot be had makes a window smaller, unless it
/// is a single batch, which is an error of the memory pool.
pub(super) async fn next_window(
    input: &mut SendableRecordBatchStream,
    rest: &mut Rest,
    size: &WindowSize,
    memory: MemoryReservation,
) -> Result<Option<Window>> {
    let mut window = Window { batches: Vec::new(), rows: 0, first_row: 0, memory };
    let wanted = size.rows();
    while window.rows < wanted && window.memory.size() < size.max_bytes {
        let batch = match rest.0.take() {
            Some(batch) => batch,
            None => match input.next().await {
                Some(batch) => batch?,
                None => break,
            },
        };
        if batch.num_rows() == 0 {
            continue;
        }
        let room = wanted - window.rows;
        // A whole batch needs no copying, so a window that is full enough does not cut the next one.
        // Where rows gain nothing from others, a batch that fits is one by itself.
        let is_single = size.kind == Windows::Single && window.rows > 0 && batch.num_rows() <= wanted;
        let is_full_enough = is_single || 2 * window.rows >= wanted;
        if batch.num_rows() > room && is_full_enough {
            rest.0 = Some(batch);
            break;
        }
        let taken = batch.slice(0, room.min(batch.num_rows()));
        match window.memory.try_grow(slice_bytes(&taken) + taken.num_rows() * size.result_bytes) {
            Ok(()) => {}
            // What is there already is worked off first.
            Err(_) if window.rows > 0 => {
                rest.0 = Some(batch);
                break;
            }
            Err(error) => return Err(error),
        }
        if taken.num_rows() < batch.num_rows() {
            rest.0 = Some(batch.slice(taken.num_rows(), batch.num_rows() - taken.num_rows()));
        }
        window.rows += taken.num_rows();
        window.batches.push(taken);
    }
    Ok((window.rows > 0).then_some(window))
}
