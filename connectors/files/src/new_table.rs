//! What goes around a write that makes a table in a catalog of files.

use futures::future::BoxFuture;
use maru_connect::{OpenedStore, WriteHooks};
use maru_core::Result;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::source::Place;

/// Around a write that makes a table. Until its first commit a mark in its log says that its files are no table yet; if it does not
/// come to be, its directories go too, for they would look like one.
#[derive(Debug)]
pub(crate) struct NewTable {
    pub(crate) opened: OpenedStore,
    pub(crate) place: Place,
    pub(crate) mark: Path,
}

impl NewTable {
    async fn unmark(&self) {
        match self.opened.store.delete(&self.mark).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(path = %self.mark, %error, "could not remove the mark of a table that was made");
            }
        }
    }
}

impl WriteHooks for NewTable {
    fn begin(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.opened.store.put(&self.mark, PutPayload::from_static(b"unmade\n")).await?;
            Ok(())
        })
    }

    fn committed(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.unmark().await;
            Ok(())
        })
    }

    fn undone(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.unmark().await;
            if let Err(error) = self.place.remove_empty(&self.opened.path).await {
                let path = &self.opened.path;
                tracing::warn!(%path, %error, "could not remove the directory of a table that was not made");
            }
        })
    }
}
