//! One window: the arguments of the rows that need the call, their results, and the batches that go on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat, filter_record_batch};
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::util::display::array_value_to_string;
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::Time;
use sensorium_inference::{Cancel, Stats, Values};

use super::call::model_function;
use super::exec::PhysicalCall;
use super::figures::Figures;
use super::window::{Window, WindowSize};
use crate::call::{Arguments, RowNames};
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

/// What a window is evaluated with.
pub(super) struct Work {
    pub(super) call: PhysicalCall,
    pub(super) settings: MmSettings,
    pub(super) cancel: Cancel,
    pub(super) figures: Figures,
    pub(super) compute: Time,
}

/// What is needed to put a window's results beside its rows.
pub(super) struct Output {
    pub(super) schema: SchemaRef,
    pub(super) call: PhysicalCall,
    /// The filter above, whose selectivity is to be learned.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

/// A window with its results, and the memory that is taken for both.
pub(super) struct Done {
    batches: Vec<RecordBatch>,
    values: Values,
    memory: MemoryReservation,
}

pub(super) async fn evaluate_elsewhere(work: Arc<Work>, window: Window, size: Arc<WindowSize>, on_workers: bool) -> Result<Done> {
    let evaluation = move || {
        let (timer, start, rows) = (work.compute.timer(), std::time::Instant::now(), window.rows);
        let done = evaluate(&work, window)?;
        timer.done();
        size.learn(rows, start.elapsed());
        size.hold(&done.memory, &done.batches, &done.values)?;
        Ok(done)
    };
    if on_workers {
        let done = sensorium_inference::on_workers(evaluation).map_err(to_datafusion)?.await;
        return done.unwrap_or_else(|| internal_err!("a model's evaluation panicked"));
    }
    tokio::task::spawn_blocking(evaluation).await.map_err(|error| DataFusionError::External(Box::new(error)))?
}

impl Done {
    /// The batches with their results, each made when it is asked for. The window's memory is held until the last is.
    pub(super) fn into_batches(self, output: Arc<Output>) -> impl Iterator<Item = Result<RecordBatch>> {
        let Self { batches, values, memory } = self;
        let mut start = 0;
        batches.into_iter().map(move |batch| {
            let _ = &memory;
            let end = start + batch.num_rows();
            let own = values.of(start..end).map_err(to_datafusion)?;
            start = end;
            let columns = batch.columns().iter().cloned().chain([own]).collect();
            let batch = RecordBatch::try_new(Arc::clone(&output.schema), columns)?;
            output.observe(&batch)?;
            Ok(batch)
        })
    }
}

impl Output {
    /// Records how many of the rows the filter above will keep.
    fn observe(&self, batch: &RecordBatch) -> Result<()> {
        let (Some(filter), Some(text)) = (&self.filter, &self.call.decides) else { return Ok(()) };
        let kept = filter.evaluate(batch)?.into_array(batch.num_rows())?.as_boolean().true_count();
        model_function(&self.call.func)?.learned().record(text, batch.num_rows(), kept);
        Ok(())
    }
}

/// Runs the call on the rows of the window that need it.
fn evaluate(work: &Work, window: Window) -> Result<Done> {
    let Window { batches, rows, first_row, memory } = window;
    let Some(first) = batches.first() else { return internal_err!("a window without rows") };
    let masks = batches.iter().map(|batch| work.call.guard.rows(batch)).collect::<Result<Vec<_>>>()?;
    let arguments = batches.iter().zip(&masks).map(|(batch, mask)| arguments(work, batch, mask.as_ref())).collect::<Result<Vec<_>>>()?;
    let columns: Vec<ArrayRef> = (0..work.call.args.len())
        .map(|index| {
            let parts: Vec<&dyn Array> = arguments.iter().map(|arrays| arrays[index].as_ref()).collect();
            if let [single] = arguments.as_slice() { Ok(Arc::clone(&single[index])) } else { Ok(concat(&parts)?) }
        })
        .collect::<Result<_>>()?;
    let input_schema = first.schema();
    let fields: Vec<FieldRef> = work.call.args.iter().map(|arg| arg.return_field(&input_schema)).collect::<Result<_>>()?;
    let selection = selection(&batches, &masks);
    let needed = selection.as_ref().map_or(rows, Vec::len);
    let stats = Stats::default();
    stats.guarded_rows.add(rows - needed);
    let names = WindowNames { batches: &batches, selection: selection.as_deref(), first_row, key: &work.settings.row_key };
    let arguments = Arguments { arrays: &columns, fields: &fields, rows: needed, cancel: &work.cancel, stats: &stats, names: &names };
    let values = model_function(&work.call.func)?.evaluate_bound(&arguments, &work.settings)?;
    work.figures.add(&stats);
    let values = match selection {
        None => values,
        Some(selection) => values.spread(&selection, rows),
    };
    Ok(Done { batches, values, memory })
}

/// What the rows of a window are called.
struct WindowNames<'w> {
    batches: &'w [RecordBatch],
    /// The rows that need the call.
    selection: Option<&'w [usize]>,
    first_row: u64,
    key: &'w [String],
}

impl WindowNames<'_> {
    fn place(&self, row: usize) -> usize {
        self.selection.map_or(row, |selection| selection[row])
    }
}

impl RowNames for WindowNames<'_> {
    fn number(&self, row: usize) -> u64 {
        self.first_row + self.place(row) as u64
    }

    fn key(&self, row: usize) -> Option<Vec<String>> {
        let mut place = self.place(row);
        let batch = self.batches.iter().find(|batch| {
            let is_in = place < batch.num_rows();
            place -= if is_in { 0 } else { batch.num_rows() };
            is_in
        })?;
        let value = |name: &String| {
            let schema = batch.schema();
            let mut columns = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
            // Of two that are called so, either could be meant.
            match (columns.next(), columns.next()) {
                (Some((column, _)), None) => array_value_to_string(batch.column(column), place).ok(),
                _ => None,
            }
        };
        if self.key.is_empty() { None } else { self.key.iter().map(value).collect() }
    }
}

/// The arguments of the rows that need the call; of no other, as computing them could fail.
fn arguments(work: &Work, batch: &RecordBatch, mask: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
    let kept = match mask {
        Some(mask) => filter_record_batch(batch, mask)?,
        None => batch.clone(),
    };
    work.call.args.iter().map(|arg| arg.evaluate(&kept)?.into_array(kept.num_rows())).collect()
}

/// Numbers of the needed rows within the window.
fn selection(batches: &[RecordBatch], masks: &[Option<BooleanArray>]) -> Option<Vec<usize>> {
    let mut start = 0;
    let mut selection = Vec::new();
    for (batch, mask) in batches.iter().zip(masks) {
        selection.extend(mask.as_ref()?.values().set_indices().map(|row| start + row));
        start += batch.num_rows();
    }
    Some(selection)
}
