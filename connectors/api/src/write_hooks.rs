//! A write that does something around another one: before its first row, after its commit, when it comes to nothing.

use std::fmt::Debug;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use maru_core::Result;
use tokio::sync::OnceCell;

use crate::{BatchStream, Committed, WriteJob, Written};

/// What is done around a write.
pub trait WriteHooks: Send + Sync + Debug {
    /// Called once, before the first row is written; not at all if there are none.
    fn begin(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    /// Called when the rows are about to be committed; what it gives is kept until they are. An error keeps them from it.
    fn committing(&self) -> BoxFuture<'_, Result<Box<dyn Send + Sync>>> {
        ready(Ok(Box::new(()) as Box<dyn Send + Sync>)).boxed()
    }

    /// Called when the rows are committed; an error takes the commit back.
    fn committed(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    /// Called when nothing came of the write, after it has removed what it had put down.
    fn undone(&self) -> BoxFuture<'_, ()>;
}

/// A write with something around it.
#[derive(Debug)]
pub struct HookedJob<H> {
    inner: Arc<dyn WriteJob>,
    hooks: H,
    begun: OnceCell<()>,
}

impl<H: WriteHooks + 'static> HookedJob<H> {
    pub fn wrap(inner: Arc<dyn WriteJob>, hooks: H) -> Arc<dyn WriteJob> {
        Arc::new(Self { inner, hooks, begun: OnceCell::new() })
    }
}

impl<H: WriteHooks + 'static> WriteJob for HookedJob<H> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn max_streams(&self) -> usize {
        self.inner.max_streams()
    }

    fn sorted_by(&self) -> Vec<usize> {
        self.inner.sorted_by()
    }

    fn write(self: Arc<Self>, rows: BatchStream) -> BoxFuture<'static, Result<Written>> {
        async move {
            self.begun.get_or_try_init(|| self.hooks.begin()).await?;
            Arc::clone(&self.inner).write(rows).await
        }
        .boxed()
    }

    fn commit(self: Arc<Self>) -> BoxFuture<'static, Result<Committed>> {
        async move {
            let _kept = match self.hooks.committing().await {
                Ok(kept) => kept,
                Err(error) => {
                    Arc::clone(&self.inner).abort().await;
                    self.hooks.undone().await;
                    return Err(error);
                }
            };
            let work = async {
                let committed = Arc::clone(&self.inner).commit().await?;
                self.hooks.committed().await?;
                Ok(committed)
            };
            let outcome = work.await;
            if outcome.is_err() {
                self.hooks.undone().await;
            }
            outcome
        }
        .boxed()
    }

    fn abort(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            Arc::clone(&self.inner).abort().await;
            self.hooks.undone().await;
        }
        .boxed()
    }
}
