//! What a session can do besides with Polars at hand.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::error::Result;
use datafusion::physical_plan::collect_partitioned;
use datafusion::prelude::DataFrame as Query;
use futures::StreamExt;
use futures::stream::BoxStream;
use polars::prelude::{DataFrame, LazyFrame};
use sensorium_engine::Session;

use crate::columns::{from_batch, from_batches};
use crate::input::Input;
use crate::scan::scan;

/// Statements over frames by name, with frames as answers.
#[async_trait]
pub trait PolarsSession {
    /// Runs one statement and returns its rows, in the order of the frame that they come from where no join, aggregate or sort
    /// decides otherwise.
    ///
    /// # Errors
    /// As `Session::sql`, and when a column has a type that the other side lacks.
    async fn query_frame(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<DataFrame>;

    /// Runs a query and gives its rows as they come; it ends when the stream is dropped.
    ///
    /// # Errors
    /// As for `query_frame`.
    async fn stream_frames(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<BoxStream<'static, Result<DataFrame>>>;

    /// A query as a lazy frame: the columns, predicates and first rows that Polars pushes down reach the engine, so that models run
    /// on no more rows. It runs on threads of its own and can be collected anywhere, as often as wanted.
    ///
    /// # Errors
    /// As for `query_frame`; anything but a query is refused.
    async fn scan_query(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<LazyFrame>;
}

#[async_trait]
impl PolarsSession for Session {
    async fn query_frame(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<DataFrame> {
        let query = with_frames(self, frames)?.sql(sql).await?;
        let plan = query.clone().create_physical_plan().await?;
        let schema = plan.schema();
        let parts = collect_partitioned(plan, Arc::new(query.task_ctx())).await?;
        let batches: Vec<_> = parts.into_iter().flatten().filter(|batch| batch.num_rows() > 0).collect();
        from_batches(&schema, &batches)
    }

    async fn stream_frames(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<BoxStream<'static, Result<DataFrame>>> {
        let stream = prepared(&with_frames(self, frames)?, sql).await?.execute_stream().await?;
        Ok(stream.map(|batch| from_batch(&batch?)).boxed())
    }

    async fn scan_query(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<LazyFrame> {
        scan(prepared(&with_frames(self, frames)?, sql).await?)
    }
}

fn with_frames(session: &Session, frames: Vec<(&str, Input)>) -> Result<Session> {
    let frames = frames.into_iter().map(|(name, input)| Ok((name.to_string(), input.into_frame()?)));
    session.with_frames(frames.collect::<Result<_>>()?)
}

/// The plan of a query, which nothing else is taken for.
async fn prepared(session: &Session, sql: &str) -> Result<Query> {
    let prepared = session.prepare(sql, &Default::default(), &Default::default()).await?;
    Ok(Query::new(session.context().state(), prepared.plan))
}
