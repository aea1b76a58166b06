//! The physical operator: gathers windows of rows, runs the call on them away from tokio's workers, keeps their order.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, filter_record_batch, take};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::internal_datafusion_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
};
use futures::{TryStreamExt, stream};
use sensorium_inference::{Cancel, Stats};

use super::call::model_function;
use super::figures::Figures;
use super::guard::PhysicalGuard;
use super::window::{Rest, Window, WindowSize, next_window};
use crate::call::Arguments;
use crate::settings::MmSettings;

/// Windows that are evaluated at once: while the last batches of one run, the next is prepared.
const WINDOWS_AT_ONCE: usize = 2;

/// A call over physical expressions.
#[derive(Debug, Clone)]
pub(crate) struct PhysicalCall {
    pub(crate) func: Arc<ScalarUDF>,
    pub(crate) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) guard: PhysicalGuard,
    /// The result column.
    pub(crate) field: FieldRef,
}

/// The operator.
#[derive(Debug, Clone)]
pub(crate) struct InferExec {
    input: Arc<dyn ExecutionPlan>,
    call: PhysicalCall,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl InferExec {
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, call: PhysicalCall) -> Result<Self> {
        let fields: Vec<FieldRef> = input.schema().fields().iter().cloned().chain([Arc::clone(&call.field)]).collect();
        let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        if let Some(order) = input.output_ordering() {
            equivalence.add_ordering(order.clone());
        }
        let properties =
            PlanProperties::new(equivalence, input.output_partitioning().clone(), input.pipeline_behavior(), input.boundedness());
        Ok(Self { input, call, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for InferExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = model_function(&self.call.func).ok().and_then(|function| function.pinned()).unwrap_or_default();
        write!(f, "InferExec: {} = {}({model}", self.call.field.name(), self.call.func.name())?;
        self.call.args.iter().try_for_each(|arg| write!(f, ", {arg}"))?;
        write!(f, "){}", self.call.guard)
    }
}

impl ExecutionPlan for InferExec {
    fn name(&self) -> &'static str {
        "InferExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// All cores work on one partition.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        for expr in self.call.args.iter().chain(self.call.guard.expressions()) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children).map_err(|_| internal_datafusion_err!("InferExec has one input"))?;
        Ok(Arc::new(Self::try_new(input, self.call.clone())?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children).map_err(|_| internal_datafusion_err!("InferExec has one input"))?;
        Ok(Arc::new(Self::try_new(input, self.call.clone())?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let settings = MmSettings::of(context.session_config().options());
        let windows = Windows {
            input,
            rest: Rest::default(),
            size: Arc::new(WindowSize::new(settings.window_rows, settings.window_bytes)),
            consumer: format!("InferExec[{partition}]"),
            func: Arc::clone(&self.call.func),
            context,
        };
        let (cancel, figures) = (Cancel::default(), Figures::new(&self.metrics, partition));
        let work = Arc::new(Work { call: self.call.clone(), schema: self.schema(), settings, cancel: cancel.clone(), figures });
        let stop = StopWhenDropped(cancel);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let batches = windows
            .into_stream()
            .map_ok(move |(window, size)| evaluate_elsewhere(Arc::clone(&work), window, size))
            .try_buffered(WINDOWS_AT_ONCE)
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok::<_, DataFusionError>)))
            .try_flatten()
            .inspect_ok(move |batch: &RecordBatch| {
                let _held_by_the_stream = &stop;
                baseline.output_rows().add(batch.num_rows());
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The input, cut into windows.
struct Windows {
    input: SendableRecordBatchStream,
    rest: Rest,
    size: Arc<WindowSize>,
    consumer: String,
    func: Arc<ScalarUDF>,
    context: Arc<TaskContext>,
}

impl Windows {
    fn into_stream(self) -> impl futures::Stream<Item = Result<(Window, Arc<WindowSize>)>> {
        stream::try_unfold(self, |mut state| async move {
            let memory = MemoryConsumer::new(state.consumer.clone()).register(state.context.memory_pool());
            let window = next_window(&mut state.input, &mut state.rest, &state.size, memory).await?;
            let Some(mut window) = window else { return Ok(None) };
            window.first_row = model_function(&state.func)?.count(window.rows);
            Ok(Some(((window, Arc::clone(&state.size)), state)))
        })
    }
}

/// What a window is evaluated with.
struct Work {
    call: PhysicalCall,
    schema: SchemaRef,
    settings: MmSettings,
    cancel: Cancel,
    figures: Figures,
}

/// Stops the windows under way when the stream is dropped.
struct StopWhenDropped(Cancel);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn evaluate_elsewhere(work: Arc<Work>, window: Window, size: Arc<WindowSize>) -> Result<Vec<RecordBatch>> {
    let evaluation = move || {
        let (start, rows) = (Instant::now(), window.rows);
        let batches = evaluate(&work, window)?;
        size.learn(rows, start.elapsed());
        Ok(batches)
    };
    tokio::task::spawn_blocking(evaluation).await.map_err(|error| DataFusionError::External(Box::new(error)))?
}

/// Adds the result column to the window's batches.
fn evaluate(work: &Work, window: Window) -> Result<Vec<RecordBatch>> {
    let Window { batches, rows, first_row, memory: _memory } = window;
    let Some(first) = batches.first() else { return Ok(batches) };
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
    let number = |row: usize| first_row + selection.as_ref().map_or(row, |selection| selection[row]) as u64;
    let arguments = Arguments { arrays: &columns, fields: &fields, rows: needed, cancel: &work.cancel, stats: &stats, number: &number };
    let values = model_function(&work.call.func)?.evaluate_bound(&arguments, &work.settings)?;
    work.figures.add(&stats);
    let values = match selection {
        None => values,
        Some(selection) => scatter(&values, &selection, rows)?,
    };
    let mut start = 0;
    batches
        .into_iter()
        .map(|batch| {
            let own = values.slice(start, batch.num_rows());
            start += batch.num_rows();
            let columns = batch.columns().iter().cloned().chain([own]).collect();
            Ok(RecordBatch::try_new(Arc::clone(&work.schema), columns)?)
        })
        .collect()
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

/// Values to the rows that they belong to, NULL elsewhere.
fn scatter(values: &ArrayRef, selection: &[usize], rows: usize) -> Result<ArrayRef> {
    let mut places: Vec<Option<u32>> = vec![None; rows];
    for (place, row) in selection.iter().enumerate() {
        places[*row] = u32::try_from(place).ok();
    }
    Ok(take(values, &UInt32Array::from(places), None)?)
}
