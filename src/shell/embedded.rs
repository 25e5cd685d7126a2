//! The engine in this process as a backend of the shell.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use maru_core::Error;
use parking_lot::Mutex;

use super::backend::{Backend, Column, Failure, Reply, ResultSet};
use super::text;
use crate::access::Login;
use crate::engine::Engine;
use crate::output::Body;
use crate::session::{Session, StatementText};

/// A session of an engine that lives in this process.
pub struct Embedded {
    engine: Engine,
    session: Arc<Session>,
    notices: Mutex<Vec<String>>,
}

impl Embedded {
    /// Opens a session.
    pub async fn open(engine: Engine) -> Result<Self, Failure> {
        let session = engine.session(Login::embedded()).await?;
        Ok(Self { engine, session, notices: Mutex::new(Vec::new()) })
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn run(&self, statement: &StatementText, _typed: bool) -> Result<Reply, Failure> {
        let output = self.session.run(statement).await?;
        self.notices.lock().extend(output.notices);
        match output.body {
            Body::Command { tag } => Ok(Reply::Command(tag)),
            // Refused when it is prepared: this session is not of the wire.
            Body::Copy { .. } => Err(Error::internal("a COPY came to the wrong door").into()),
            Body::Rows(rows) => {
                let columns = rows.schema.fields().iter().map(|field| Column {
                    name: field.name().clone(),
                    kind: text::kind_of(field.data_type()),
                });
                let columns = columns.collect();
                let rows = rows
                    .stream
                    .map(|batch| Ok(batch.and_then(|batch| text::rows(&batch))?))
                    .boxed();
                Ok(Reply::Rows(ResultSet { columns, rows }))
            }
        }
    }

    async fn cancel(&self) {
        self.session.cancel();
    }

    fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock())
    }

    fn describe(&self) -> String {
        format!(
            "You are user \"{}\" of the engine in this process, data directory \"{}\".",
            self.session.user(),
            self.engine.config().data_dir.display()
        )
    }

    async fn companion(&self) -> Result<Arc<dyn Backend>, Failure> {
        Ok(Arc::new(Self::open(self.engine.clone()).await?))
    }
}
