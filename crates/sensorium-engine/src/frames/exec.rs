//! Reads a frame: one partition, so that rows keep their order.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, CardinalityEffect, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::stream::{self, BoxStream};
use futures::{Stream, TryStreamExt};

use super::source::Frame;

/// The operator.
#[derive(Debug, Clone)]
pub(super) struct FrameExec {
    name: String,
    frame: Arc<dyn Frame>,
    columns: Vec<usize>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FrameExec {
    pub(super) fn try_new(name: String, frame: Arc<dyn Frame>, columns: Vec<usize>, limit: Option<usize>) -> Result<Self> {
        let schema = Arc::new(frame.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { name, frame, columns, limit, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DisplayAs for FrameExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameExec: {}, columns: [", self.name)?;
        let schema = self.schema();
        for (place, field) in schema.fields().iter().enumerate() {
            write!(f, "{}{}", if place == 0 { "" } else { ", " }, field.name())?;
        }
        write!(f, "]")?;
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit: {limit}"))
    }
}

impl ExecutionPlan for FrameExec {
    fn name(&self) -> &'static str {
        "FrameExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(&self, _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("FrameExec has no inputs") }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("FrameExec has no inputs") }
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { limit, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let rows = self.frame.rows().map(|rows| self.limit.map_or(rows, |limit| limit.min(rows)));
        let unknown = Statistics::new_unknown(&self.schema());
        Ok(Arc::new(Statistics { num_rows: rows.map_or(Precision::Absent, Precision::Exact), ..unknown }))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let rows = limited(self.frame.read(&self.columns, self.limit)?, self.limit);
        let rows = rows.inspect_ok(move |batch| {
            batch.record_output(&baseline);
        });
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The first `limit` rows; the input is dropped with the last of them.
pub(super) fn limited(
    input: BoxStream<'static, Result<RecordBatch>>,
    limit: Option<usize>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    stream::try_unfold((input, limit.unwrap_or(usize::MAX)), |(mut input, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = input.try_next().await? else { return Ok(None) };
        let taken = batch.slice(0, batch.num_rows().min(left));
        let left = left - taken.num_rows();
        Ok(Some((taken, (input, left))))
    })
}
