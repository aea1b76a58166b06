//! What a session can do besides with Polars at hand.

use async_trait::async_trait;
use datafusion::error::Result;
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
    /// on no more rows. It runs on threads of its own and can be collected anywhere, as often as wanted; Polars takes its rows all at
    /// once, so that `stream_frames` is the way for more than memory holds.
    ///
    /// # Errors
    /// As for `query_frame`; anything but a query is refused.
    async fn scan_query(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<LazyFrame>;
}

#[async_trait]
impl PolarsSession for Session {
    async fn query_frame(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<DataFrame> {
        let (schema, batches) = with_frames(self, frames)?.frame_statement(sql).await?.collect().await?;
        from_batches(&schema, &batches)
    }

    async fn stream_frames(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<BoxStream<'static, Result<DataFrame>>> {
        let stream = with_frames(self, frames)?.frame_query(sql).await?.stream().await?;
        Ok(stream.map(|batch| from_batch(&batch?)).boxed())
    }

    async fn scan_query(&self, sql: &str, frames: Vec<(&str, Input)>) -> Result<LazyFrame> {
        scan(with_frames(self, frames)?.frame_query(sql).await?)
    }
}

fn with_frames(session: &Session, frames: Vec<(&str, Input)>) -> Result<Session> {
    let frames = frames.into_iter().map(|(name, input)| Ok((name.to_string(), input.into_frame()?)));
    session.with_frames(frames.collect::<Result<_>>()?)
}
