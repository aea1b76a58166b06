//! A statement over frames that is planned, and can be run as a whole or in part, as often as wanted; rows come in the order of what
//! they are made of.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, collect_partitioned, execute_stream, execute_stream_partitioned};
use datafusion::prelude::{DataFrame, Expr, ident};
use futures::{StreamExt, TryStreamExt, stream};

use super::exec::limited;
use crate::session::Session;

/// A plan.
#[derive(Debug, Clone)]
pub struct FrameQuery {
    frame: DataFrame,
    /// How many of its first rows are wanted.
    limit: Option<usize>,
}

impl Session {
    /// Plans one statement, as [`Session::sql`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn frame_statement(&self, sql: &str) -> Result<FrameQuery> {
        Ok(FrameQuery { frame: self.sql(sql).await?, limit: None })
    }

    /// Plans a query; nothing else is taken for one.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub async fn frame_query(&self, sql: &str) -> Result<FrameQuery> {
        let prepared = self.prepare(sql, &Default::default(), &Default::default()).await?;
        Ok(FrameQuery { frame: DataFrame::new(self.context().state(), prepared.plan), limit: None })
    }
}

impl FrameQuery {
    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.frame.schema().inner())
    }

    /// Whether it has the same rows each time, as far as its functions go.
    ///
    /// # Errors
    /// When the plan cannot be looked through.
    pub fn is_repeatable(&self) -> Result<bool> {
        let mut repeatable = true;
        self.frame.logical_plan().apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                repeatable &= !expr.is_volatile();
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(repeatable)
    }

    /// A SQL expression over its columns, in the words of DataFusion's own dialect whatever the session's is.
    ///
    /// # Errors
    /// When it is not well formed.
    pub fn expression(&self, sql: &str) -> Result<Expr> {
        let (mut state, _) = self.frame.clone().into_parts();
        state.config_mut().options_mut().sql_parser.dialect = Default::default();
        state.create_logical_expr(sql, self.frame.schema())
    }

    /// The rows of which `predicate` holds, of these the first `limit`, of these `columns`.
    ///
    /// # Errors
    /// When it names columns that are not there.
    pub fn part(&self, columns: Option<&[String]>, predicate: Option<Expr>, limit: Option<usize>) -> Result<Self> {
        let mut frame = self.frame.clone();
        if let Some(predicate) = predicate {
            frame = frame.filter(predicate)?;
        }
        if let Some(columns) = columns {
            frame = frame.select(columns.iter().map(ident).collect::<Vec<Expr>>())?;
        }
        if limit.is_some() {
            // The first rows are those of the first partition: of one, where these would be taken from whichever is there first.
            let (mut state, plan) = frame.into_parts();
            state.config_mut().options_mut().execution.target_partitions = 1;
            frame = DataFrame::new(state, plan);
        }
        Ok(Self { frame, limit })
    }

    /// All rows.
    ///
    /// # Errors
    /// Those of the query.
    pub async fn collect(self) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        if self.limit.is_some() {
            let stream = self.stream().await?;
            return Ok((stream.schema(), stream.try_collect().await?));
        }
        let context = Arc::new(self.frame.task_ctx());
        let plan = self.frame.create_physical_plan().await?;
        let schema = plan.schema();
        let parts = collect_partitioned(plan, context).await?;
        Ok((schema, parts.into_iter().flatten().filter(|batch| batch.num_rows() > 0).collect()))
    }

    /// Rows as they come; one partition after the other, unless rows were dealt out among them and have no order.
    ///
    /// # Errors
    /// Those of planning.
    pub async fn stream(self) -> Result<SendableRecordBatchStream> {
        let context = Arc::new(self.frame.task_ctx());
        if let Some(limit) = self.limit {
            let plan = self.frame.clone().limit(0, Some(limit))?.create_physical_plan().await?;
            // A limit above several partitions takes rows of whichever has some.
            if !plan.exists(|node| Ok(node.is::<CoalescePartitionsExec>()))? {
                return execute_stream(plan, context);
            }
        }
        let plan = self.frame.create_physical_plan().await?;
        let schema = plan.schema();
        let rows = if plan.properties().partitioning.partition_count() < 2 || deals_out(&plan)? {
            execute_stream(plan, context)?.boxed()
        } else {
            stream::iter(execute_stream_partitioned(plan, context)?).flatten().boxed()
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, limited(rows, self.limit))))
    }
}

fn deals_out(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| Ok(node.is::<RepartitionExec>()))
}

/// A batch's columns by the names of `schema`; a batch without any still has its rows.
///
/// # Errors
/// When one is missing or has another type.
pub fn columns_by_name(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| batch.column_by_name(field.name()).cloned());
    let Some(columns) = columns.collect::<Option<Vec<_>>>() else { return plan_err!("a frame gave other columns than it has said") };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
