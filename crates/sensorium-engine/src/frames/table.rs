//! A frame as DataFusion's table.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::exec::FrameExec;
use super::source::Frame;

/// The frame under its name.
#[derive(Debug)]
pub(super) struct FrameTable {
    pub(super) name: String,
    pub(super) frame: Arc<dyn Frame>,
}

#[async_trait]
impl TableProvider for FrameTable {
    fn schema(&self) -> SchemaRef {
        self.frame.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.frame.schema().fields().len()).collect());
        Ok(Arc::new(FrameExec::try_new(self.name.clone(), Arc::clone(&self.frame), columns, limit)?))
    }
}
