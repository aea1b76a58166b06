//! The physical operator: gathers windows of rows, runs the call on them away from tokio's workers, keeps their order.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
};
use futures::{TryStreamExt, stream};
use sensorium_inference::{Cancel, Distinct, Windows};

use super::call::model_function;
use super::evaluate::{Output, Work, evaluate_elsewhere};
use super::figures::Figures;
use super::guard::PhysicalGuard;
use super::window::{Rest, Window, WindowSize, next_window};
use crate::settings::MmSettings;

/// Windows that are evaluated at once: while the last batches of one run, the next is prepared.
const WINDOWS_AT_ONCE: usize = 2;

/// The same for windows that are single batches: enough to keep all cores at work while the input reads a row group.
const BATCHES_AT_ONCE: usize = 8;

/// How windows are evaluated.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How large they are.
    kind: Windows,
    /// Rows of a window at most.
    rows: usize,
    /// Windows under way.
    at_once: usize,
}

impl Pace {
    /// Where no row gains from later ones, each batch of the input is a window and is worked off by one core.
    fn of(kind: Windows, settings: &MmSettings, batch_rows: usize) -> Self {
        match kind {
            Windows::Single => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                Self { kind, rows: settings.window_rows.min(batch_rows), at_once: cores.max(BATCHES_AT_ONCE) }
            }
            Windows::Short | Windows::Long => Self { kind, rows: settings.window_rows, at_once: WINDOWS_AT_ONCE },
        }
    }

    /// Whether a window is one task of the workers that run models, rather than a thread that waits for them.
    fn is_on_workers(self) -> bool {
        self.kind == Windows::Single
    }
}

/// A call over physical expressions.
#[derive(Debug, Clone)]
pub(crate) struct PhysicalCall {
    pub(crate) func: Arc<ScalarUDF>,
    pub(crate) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) guard: PhysicalGuard,
    /// The result column.
    pub(crate) field: FieldRef,
    /// Whether the plan has the same call elsewhere.
    pub(crate) is_repeated: bool,
    /// The predicate that the results decide, by its text.
    pub(crate) decides: Option<String>,
    /// How rows are cut into batches, for EXPLAIN.
    pub(crate) batches: String,
}

/// The operator.
#[derive(Debug, Clone)]
pub(crate) struct InferExec {
    input: Arc<dyn ExecutionPlan>,
    call: PhysicalCall,
    /// The filter above, whose selectivity is to be learned.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether a limit above may want only the first rows.
    may_end_early: bool,
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
        Ok(Self {
            input,
            call,
            filter: None,
            may_end_early: false,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(crate) fn call(&self) -> &PhysicalCall {
        &self.call
    }

    pub(crate) fn filter(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.filter.as_ref()
    }

    /// Whether a predicate stands and falls with the results.
    pub(crate) fn decides(&self) -> bool {
        self.call.decides.is_some()
    }

    /// The same operator, which also records how many rows `filter` keeps.
    pub(crate) fn observed_by(&self, filter: Arc<dyn PhysicalExpr>) -> Self {
        Self { filter: Some(filter), metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }
    }

    pub(crate) fn may_end_early(&self) -> bool {
        self.may_end_early
    }

    /// The same operator below a limit.
    pub(crate) fn below_limit(&self) -> Self {
        Self { may_end_early: true, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }
    }

    fn with_input(&self, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else { return internal_err!("InferExec has one input") };
        let (filter, may_end_early) = (self.filter.clone(), self.may_end_early);
        Ok(Arc::new(Self { filter, may_end_early, ..Self::try_new(input, self.call.clone())? }))
    }
}

impl DisplayAs for InferExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = model_function(&self.call.func).map_err(|_| fmt::Error)?;
        let model = function.pinned().unwrap_or_default();
        write!(f, "InferExec: {} = {}({model}", self.call.field.name(), self.call.func.name())?;
        self.call.args.iter().try_for_each(|arg| write!(f, ", {arg}"))?;
        function.bound().and_then(|bound| bound.options()).map_or(Ok(()), |options| write!(f, ", {options}"))?;
        write!(f, "){}", self.call.guard)?;
        let shared = if self.call.is_repeated { ", shared" } else { "" };
        write!(f, "{shared}, batches: {}, cost: {}", self.call.batches, function.row_time())
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
        self.with_input(children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.with_input(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let mut settings = MmSettings::of(context.session_config().options());
        if self.call.is_repeated && settings.limits.distinct == Distinct::Auto {
            settings.limits.distinct = Distinct::Always;
        }
        let function = model_function(&self.call.func)?;
        let pace = Pace::of(function.windows(&settings.limits)?, &settings, context.session_config().batch_size());
        let size = WindowSize::new(pace.kind, pace.rows, settings.window_bytes, function.result_bytes()?, self.may_end_early);
        let windows = CutInput {
            input,
            rest: Rest::default(),
            size: Arc::new(size),
            consumer: format!("InferExec[{partition}]"),
            func: Arc::clone(&self.call.func),
            context,
        };
        let (cancel, figures) = (Cancel::default(), Figures::new(&self.metrics, partition));
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let compute = baseline.elapsed_compute().clone();
        let work = Arc::new(Work { call: self.call.clone(), settings, cancel: cancel.clone(), figures, compute });
        let output = Arc::new(Output { schema: self.schema(), call: self.call.clone(), filter: self.filter.clone() });
        let stop = StopWhenDropped(cancel);
        let batches = windows
            .into_stream()
            .map_ok(move |(window, size)| evaluate_elsewhere(Arc::clone(&work), window, size, pace.is_on_workers()))
            .try_buffered(pace.at_once)
            .map_ok(move |done| stream::iter(done.into_batches(Arc::clone(&output))))
            .try_flatten()
            .inspect_ok(move |batch: &RecordBatch| {
                let _held_by_the_stream = &stop;
                batch.record_output(&baseline);
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The input, cut into windows.
struct CutInput {
    input: SendableRecordBatchStream,
    rest: Rest,
    size: Arc<WindowSize>,
    consumer: String,
    func: Arc<ScalarUDF>,
    context: Arc<TaskContext>,
}

impl CutInput {
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

/// Stops the windows under way when the stream is dropped.
struct StopWhenDropped(Cancel);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
