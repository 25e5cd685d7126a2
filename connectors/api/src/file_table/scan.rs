//! From a file table to a plan over its files.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use maru_core::Error;

use crate::FileTable;

/// What one scan of a file table asks, lowered synchronously so that no future holds an expression.
#[derive(Debug)]
pub(crate) struct FileScanRequest;

impl FileScanRequest {
    pub(crate) fn lower(
        _table: &FileTable,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Self {
        Self
    }
}

pub(crate) fn pushdown(_table: &FileTable, _filter: &Expr) -> TableProviderFilterPushDown {
    TableProviderFilterPushDown::Unsupported
}

pub(crate) fn plan<'a>(
    _table: Arc<FileTable>,
    _request: FileScanRequest,
    _state: &'a dyn Session,
) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
    Box::pin(async { Err(Error::unsupported("file tables cannot be read yet").into()) })
}
