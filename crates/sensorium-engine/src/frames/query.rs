//! A statement over frames that is planned, and can be run as a whole or in part, as often as wanted; rows come in the order of what
//! they are made of.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, collect_partitioned, execute_stream, execute_stream_partitioned};
use datafusion::prelude::{DataFrame, Expr, ident};
use futures::{StreamExt, stream};

use crate::session::Session;

/// A plan.
#[derive(Debug, Clone)]
pub struct FrameQuery(DataFrame);

impl Session {
    /// Plans one statement, as [`Session::sql`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn frame_statement(&self, sql: &str) -> Result<FrameQuery> {
        self.sql(sql).await.map(FrameQuery)
    }

    /// Plans a query; nothing else is taken for one.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    pub async fn frame_query(&self, sql: &str) -> Result<FrameQuery> {
        let prepared = self.prepare(sql, &Default::default(), &Default::default()).await?;
        Ok(FrameQuery(DataFrame::new(self.context().state(), prepared.plan)))
    }
}

impl FrameQuery {
    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema().inner())
    }

    /// Whether it has the same rows each time, as far as its functions go.
    ///
    /// # Errors
    /// When the plan cannot be looked through.
    pub fn is_repeatable(&self) -> Result<bool> {
        let mut repeatable = true;
        self.0.logical_plan().apply_with_subqueries(|node| {
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
        let (mut state, _) = self.0.clone().into_parts();
        state.config_mut().options_mut().sql_parser.dialect = Default::default();
        state.create_logical_expr(sql, self.0.schema())
    }

    /// The rows of which `predicate` holds, of these the first `limit`, of these `columns`.
    ///
    /// # Errors
    /// When it names columns that are not there.
    pub fn part(&self, columns: Option<&[String]>, predicate: Option<Expr>, limit: Option<usize>) -> Result<Self> {
        let mut frame = self.0.clone();
        if let Some(predicate) = predicate {
            frame = frame.filter(predicate)?;
        }
        if let Some(columns) = columns {
            frame = frame.select(columns.iter().map(ident).collect::<Vec<Expr>>())?;
        }
        let Some(limit) = limit else { return Ok(Self(frame)) };
        // The first rows are those of the first partition: of one, where these would be taken from whichever is there first.
        let (mut state, plan) = frame.limit(0, Some(limit))?.into_parts();
        state.config_mut().options_mut().execution.target_partitions = 1;
        Ok(Self(DataFrame::new(state, plan)))
    }

    /// All rows.
    ///
    /// # Errors
    /// Those of the query.
    pub async fn collect(self) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let context = Arc::new(self.0.task_ctx());
        let plan = self.0.create_physical_plan().await?;
        let schema = plan.schema();
        let parts = collect_partitioned(plan, context).await?;
        Ok((schema, parts.into_iter().flatten().filter(|batch| batch.num_rows() > 0).collect()))
    }

    /// Rows as they come; one partition after the other, unless rows were dealt out among them and have no order.
    ///
    /// # Errors
    /// Those of planning.
    pub async fn stream(self) -> Result<SendableRecordBatchStream> {
        let context = Arc::new(self.0.task_ctx());
        let plan = self.0.create_physical_plan().await?;
        if plan.properties().partitioning.partition_count() < 2 || deals_out(&plan)? {
            return execute_stream(plan, context);
        }
        let schema = plan.schema();
        let parts = execute_stream_partitioned(plan, context)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(parts).flatten())))
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
