//! `CREATE MODEL … OPTIONS (model_type = 'onnx', path = '…')`: a model that others have made becomes a version.

use std::sync::Arc;
use std::time::SystemTime;

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
use maru_core::{Error, ErrorKind, Result};
use maru_ml::{ImportOptions, Trained};
use maru_sql::CreateModel;
use object_store::ObjectStoreExt;

use super::{publish, retrain};
use crate::catalog::builtin::location_url;
use crate::engine::history::micros;
use crate::engine::memory::QueryPool;
use crate::output::Output;
use crate::session::Session;

/// Reads the file, with the rights of the role, has the runtime look at it, and keeps it as the next version.
///
/// # Errors
/// 42601 for a query or transforms, 42704 for a place that no catalog serves, 54000 for too large a file, and those of
/// [`maru_ml::import`].
pub(super) async fn import(
    session: &Arc<Session>,
    create: &CreateModel,
    options: ImportOptions,
    schema: String,
    name: String,
) -> Result<Output> {
    if create.query.is_some() || !create.transform.is_empty() || create.train_where.is_some() {
        return Err(Error::new(
            ErrorKind::Syntax,
            "an imported model takes no TRANSFORM, no TRAIN WHERE and no query",
        )
        .with_hint("CREATE MODEL … OPTIONS (model_type = 'onnx', path = '…')."));
    }
    let url = location_url(&options.path)?;
    let opened = session.catalogs().store_for_reader(&url, &session.rights()).await?;
    let failed = |error: object_store::Error| match error {
        object_store::Error::NotFound { .. } => {
            Error::new(ErrorKind::FileNotFound, format!("there is no file {}", options.path))
        }
        error => Error::new(ErrorKind::RemoteFailed, format!("could not read {}", options.path))
            .with_cause(error),
    };
    let n_bytes = opened.store.head(&opened.path).await.map_err(failed)?.size;
    if n_bytes > maru_ml::imported::FILE_BYTES_MAX as u64 {
        return Err(
            maru_ml::imported::too_large(n_bytes).with_context("path", options.path.clone())
        );
    }
    let inner = &session.engine().inner;
    let pool: Arc<dyn MemoryPool> =
        QueryPool::new(Arc::clone(&inner.governor), session.memory_limit());
    let reservation = MemoryConsumer::new("import").register(&pool);
    // The file as it was read and as it is kept, and what the runtime makes of it.
    reservation.try_resize(usize::try_from(n_bytes).unwrap_or(usize::MAX).saturating_mul(4))?;
    let file = opened.store.get(&opened.path).await.map_err(failed)?;
    let file = file.bytes().await.map_err(failed)?.to_vec();
    let (set_default, path) = (options.set_default, options.path.clone());
    let library = Arc::clone(&inner.models.library);
    let work = tokio::task::spawn_blocking(move || maru_ml::import(file, &options, &library));
    let trained = work.await.map_err(|_| Error::internal("importing a model was broken off"))?;
    let mut trained: Trained = trained.map_err(|error| error.with_context("path", path))?;
    trained.manifest.created_us = micros(SystemTime::now());
    trained.manifest.created_by = session.role();
    trained.manifest.statement = retrain::text(create);
    let remarks = trained.manifest.remarks.clone();
    let version = publish(session, &schema, &name, trained, set_default).await?;
    let output =
        Output::command("CREATE MODEL").with_notice(format!("version {version} is imported"));
    Ok(remarks.into_iter().fold(output, Output::with_notice))
}
