//! `ExecuteIngest`: batches that a client sends become rows of a table, in one commit.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use futures::{Stream, StreamExt, TryStreamExt};
use maru_core::{Error, ErrorKind, Result};
use maru_sql::Name;

use super::given::plain;
use super::sessions::FlightSession;
use crate::output::Body;
use crate::session::{IfExists, Ingest};

/// Writes what the client sends; returns the number of rows.
///
/// # Errors
/// 0A000 for transactions, 22023 for modes that are not given; those of `INSERT` and `CREATE TABLE AS`.
///
/// # Cancel
/// Dropping the future, as happens when the client goes away, leaves nothing behind.
pub(super) async fn ingest(
    session: &Arc<FlightSession>,
    command: CommandStatementIngest,
    mut data: PeekableFlightDataStream,
) -> Result<i64> {
    let _reading = session.reading();
    let schema = match data.peek().await {
        Some(Ok(first)) => Schema::try_from(first).map_err(unreadable)?,
        Some(Err(refused)) => return Err(unreadable(refused.clone())),
        None => return Err(unreadable("the stream is empty")),
    };
    let request = request(command, schema)?;
    let (prepared, incoming) = session.session.prepare_ingest(request).await?;
    let messages: Pin<Box<dyn Stream<Item = Result<_, FlightError>> + Send>> =
        Box::pin(data.map_err(FlightError::from));
    let batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let batches = batches.map(|batch| plain(batch.map_err(unreadable)?));
    incoming.give(batches.boxed());
    match session.session.execute(&prepared, Vec::new()).await?.body {
        Body::Command { tag } => {
            Ok(tag.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(-1))
        }
        _ => Err(Error::internal("an ingest gave rows")),
    }
}

/// A client that goes away ends its stream with an error of this kind, too.
fn unreadable(error: impl ToString) -> Error {
    let message = format!("could not read the rows of the client: {}", error.to_string());
    Error::new(ErrorKind::ProtocolViolation, message)
}

fn request(command: CommandStatementIngest, schema: Schema) -> Result<Ingest> {
    let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidParameter, message));
    if command.transaction_id.is_some_and(|id| !id.is_empty()) {
        return Err(Error::unsupported("rows cannot be ingested in a transaction")
            .with_hint("Each ingest is a transaction of its own: connect with autocommit."));
    }
    let modes = command.table_definition_options.unwrap_or_default();
    let creates = match TableNotExistOption::try_from(modes.if_not_exist) {
        Ok(TableNotExistOption::Create) => true,
        Ok(TableNotExistOption::Fail) => false,
        _ => return invalid("it is not said what becomes of a table that does not exist"),
    };
    let if_exists = match TableExistsOption::try_from(modes.if_exists) {
        Ok(TableExistsOption::Fail) => IfExists::Fail,
        Ok(TableExistsOption::Append) => IfExists::Append,
        Ok(TableExistsOption::Replace) => IfExists::Replace,
        _ => return invalid("it is not said what becomes of a table that exists"),
    };
    if command.table.is_empty() {
        return invalid("it is not said which table the rows are for");
    }
    let given = |part: Option<String>| part.filter(|part| !part.is_empty());
    let before = match (given(command.catalog), given(command.schema)) {
        (Some(catalog), Some(schema)) => vec![catalog, schema],
        (None, Some(schema)) => vec![schema],
        (Some(catalog), None) => vec![catalog, "public".to_owned()],
        (None, None) => Vec::new(),
    };
    let parts = before.into_iter().chain([command.table]).collect();
    let mut options = command.options.into_iter().collect::<Vec<_>>();
    options.sort();
    let (table, schema) = (Name(parts), Arc::new(schema));
    Ok(Ingest { table, schema, creates, if_exists, options, temporary: command.temporary })
}
