//! Flight SQL's calls: statements, prepared statements, updates.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::*;
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use maru_core::{Error, ErrorKind};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::ingest::ingest;
use super::sessions::{FlightSession, Sessions, basic_credentials};
use super::statements::{
    Held, Statements, encode, hand_out_told, packing, prepare, run_command, run_query, run_shared,
    run_write,
};
use super::status::{status, unsupported};
use super::{actions, keys, metadata};

/// Answers Flight SQL.
pub(super) struct Service {
    pub(super) sessions: Arc<Sessions>,
    abort: CancellationToken,
}

type Reply<T> = Result<Response<T>, Status>;
type DoGet = <Service as FlightService>::DoGetStream;

impl Service {
    pub(super) fn new(sessions: Arc<Sessions>, abort: CancellationToken) -> Self {
        Self { sessions, abort }
    }

    pub(super) async fn session<T>(
        &self,
        request: &Request<T>,
    ) -> Result<Arc<FlightSession>, Status> {
        self.sessions.of(request).await.map_err(status)
    }

    async fn stream(
        &self,
        session: Arc<FlightSession>,
        held: Arc<Held>,
        handle: &[u8],
    ) -> Reply<DoGet> {
        // A command has run when its ticket was made.
        if held.prepared.schema.is_none() {
            return Ok(Response::new(encode(held.schema.clone(), futures::stream::empty(), None)));
        }
        let schema = held.schema.clone();
        let packing = packing(&session);
        let abort = self.abort.clone();
        if held.prepared.writes() {
            let told = hand_out_told(&session, &held, abort).map_err(status)?;
            return Ok(Response::new(encode(schema, told.map_err(status), packing)));
        }
        let batches = match Statements::ticket(handle) {
            Some(ticket) => run_shared(session, held, ticket, abort).await?,
            None => run_query(session, held, abort).await.map_err(status)?.map_err(status).boxed(),
        };
        Ok(Response::new(encode(schema, batches, packing)))
    }

    /// Returns the schema of a statement without running it, for GetSchema.
    pub(super) async fn statement_schema(
        &self,
        request: &Request<FlightDescriptor>,
    ) -> Result<Arc<Schema>, Status> {
        let session = self.session(request).await?;
        let bad = |_| status(Error::new(ErrorKind::ProtocolViolation, "unreadable command"));
        let any = Any::decode(&*request.get_ref().cmd).map_err(bad)?;
        if let Ok(Some(query)) = any.unpack::<CommandStatementQuery>() {
            let held = prepare(&session, &query.query).await.map_err(status)?;
            session.statements.close(&held.handle);
            return Ok(held.schema.clone());
        }
        if let Ok(Some(query)) = any.unpack::<CommandPreparedStatementQuery>() {
            let held = session.statements.get(&query.prepared_statement_handle).map_err(status)?;
            return Ok(held.schema.clone());
        }
        Err(unsupported("cannot tell the schema of this command"))
    }
}

/// Runs what has to be done whether its result is fetched or not: drivers send commands and writes the same way as queries.
async fn run_unread(session: &Arc<FlightSession>, held: &Held) -> Result<(), Status> {
    if held.prepared.schema.is_none() {
        run_command(session, held).await.map_err(status)?;
    } else if held.prepared.writes() {
        run_write(session, held).await.map_err(status)?;
    }
    Ok(())
}

/// Describes a result with one ticket for the whole of it.
pub(super) fn info(
    schema: &Schema,
    ticket: impl Into<Bytes>,
    request: Request<FlightDescriptor>,
) -> Reply<FlightInfo> {
    info_of(schema, [ticket.into()], request)
}

/// Describes the result of a statement with the tickets that its rows are handed out by.
fn described(
    session: &FlightSession,
    held: &Held,
    request: Request<FlightDescriptor>,
) -> Reply<FlightInfo> {
    let tickets = held.tickets(session).into_iter().map(|statement_handle| {
        Bytes::from(TicketStatementQuery { statement_handle }.as_any().encode_to_vec())
    });
    info_of(&held.schema, tickets, request)
}

/// Without a location the client asks the same server.
fn info_of(
    schema: &Schema,
    tickets: impl IntoIterator<Item = Bytes>,
    request: Request<FlightDescriptor>,
) -> Reply<FlightInfo> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| status(Error::from(error)))?
        .with_descriptor(request.into_inner());
    let endpoints = tickets.into_iter().map(|t| FlightEndpoint::new().with_ticket(Ticket::new(t)));
    Ok(Response::new(endpoints.fold(info, FlightInfo::with_endpoint)))
}

pub(super) fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    Ok(message.map_err(|error| status(Error::from(error)))?.0)
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Reply<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>> {
        let token = match basic_credentials(request.metadata()) {
            Some((user, password)) => self.sessions.log_in(&request, &user, &password).await,
            None => self.sessions.log_in_certified(&request).await,
        };
        let token = token.map_err(status)?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into() };
        let mut response: Response<Pin<Box<dyn Stream<Item = _> + Send>>> =
            Response::new(Box::pin(futures::stream::iter([Ok(answer)])));
        let header = format!("Bearer {token}")
            .parse()
            .map_err(|_| status(Error::internal("the token does not fit into a header")))?;
        response.metadata_mut().insert("authorization", header);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        let session = self.session(&request).await?;
        let held = prepare(&session, &query.query).await.map_err(status)?;
        run_unread(&session, &held).await?;
        described(&session, &held, request)
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        let session = self.session(&request).await?;
        let held = session.statements.get(&query.prepared_statement_handle).map_err(status)?;
        run_unread(&session, &held).await?;
        described(&session, &held, request)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        let held = session.statements.get(&ticket.statement_handle).map_err(status)?;
        self.stream(session, held, &ticket.statement_handle).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        let held = session.statements.get(&query.prepared_statement_handle).map_err(status)?;
        self.stream(session, held, &query.prepared_statement_handle).await
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = self.session(&request).await?;
        let held = prepare(&session, &command.query).await.map_err(status)?;
        session.statements.close(&held.handle);
        run_command(&session, &held).await.map_err(status)
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let session = self.session(&request).await?;
        let held = session.statements.get(&query.prepared_statement_handle).map_err(status)?;
        bind(&held, request).await?;
        let handle = Some(held.handle.clone());
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: handle })
    }

    async fn do_put_prepared_statement_update(
        &self,
        query: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = self.session(&request).await?;
        let held = session.statements.get(&query.prepared_statement_handle).map_err(status)?;
        if !held.prepared.parameters.is_empty() {
            bind(&held, request).await?;
        }
        run_command(&session, &held).await.map_err(status)
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let session = self.session(&request).await?;
        ingest(&session, command, request.into_inner()).await.map_err(status)
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let session = self.session(&request).await?;
        let held = prepare(&session, &query.query).await.map_err(status)?;
        // JDBC takes a statement for an update if, and only if, its result has no columns.
        let dataset_schema = match held.prepared.schema {
            Some(_) => ipc(&held.schema)?,
            None => Bytes::new(),
        };
        let parameter_schema = match held.prepared.parameters.is_empty() {
            true => Bytes::new(),
            false => ipc(&held.parameter_schema())?,
        };
        let prepared_statement_handle = held.handle.clone();
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle,
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let session = self.session(&request).await?;
        session.statements.close(&query.prepared_statement_handle);
        Ok(())
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let session = self.session(&request).await?;
        let cancelled = actions::cancel(&session, FlightInfo::decode(query.info).ok());
        // ActionCancelQueryResult.CancelResult of FlightSql.proto: 1 is cancelled, 3 is not cancellable.
        Ok(ActionCancelQueryResult { result: if cancelled { 1 } else { 3 } })
    }

    async fn do_action_begin_transaction(
        &self,
        _query: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        self.session(&request).await?;
        Err(unsupported("there are no transactions: every statement commits by itself"))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<arrow_flight::ActionType, Status>>> {
        Some(actions::list())
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Reply<<Self as FlightService>::DoActionStream> {
        actions::run(self, request).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        let ticket = query.as_any().encode_to_vec();
        info(&query.into_builder().schema(), ticket, request)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        let ticket = query.as_any().encode_to_vec();
        info(metadata::sql_info_schema(), ticket, request)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        let ticket = query.as_any().encode_to_vec();
        let types = metadata::types().map_err(status)?;
        info(&query.into_builder(&types).schema(), ticket, request)
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        info(&metadata::primary_keys(), query.as_any().encode_to_vec(), request)
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        info(&metadata::foreign_keys(), query.as_any().encode_to_vec(), request)
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        info(&metadata::foreign_keys(), query.as_any().encode_to_vec(), request)
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Reply<FlightInfo> {
        self.session(&request).await?;
        info(&metadata::foreign_keys(), query.as_any().encode_to_vec(), request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(metadata::catalogs(&session, query).await)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(metadata::schemas(&session, query).await)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(metadata::tables(&session, query).await)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(metadata::table_types(&session, query).await)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        self.session(&request).await?;
        metadata::reply(metadata::sql_info(query))
    }

    async fn do_get_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        self.session(&request).await?;
        metadata::reply(metadata::type_info(query))
    }

    async fn do_get_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(keys::primary(&session, query).await)
    }

    async fn do_get_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(keys::exported(&session, query).await)
    }

    async fn do_get_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(keys::imported(&session, query).await)
    }

    async fn do_get_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<Ticket>,
    ) -> Reply<DoGet> {
        let session = self.session(&request).await?;
        metadata::reply(keys::between(&session, query).await)
    }

    /// What the server can do is told by `metadata::sql_info`, not collected call by call.
    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

async fn bind(held: &Held, request: Request<PeekableFlightDataStream>) -> Result<(), Status> {
    let messages = request.into_inner().map_err(FlightError::from);
    let batches: Vec<_> = FlightRecordBatchStream::new_from_flight_data(messages)
        .try_collect()
        .await
        .map_err(|error| match error {
            FlightError::Tonic(status) => *status,
            error => status(Error::new(
                ErrorKind::ProtocolViolation,
                format!("could not read the parameters: {error}"),
            )),
        })?;
    held.bind(&batches).map_err(status)
}
