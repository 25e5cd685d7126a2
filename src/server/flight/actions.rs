//! Actions that Flight added after this library's Flight SQL: cancelling, session options, the end of a session.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, CommandPreparedStatementQuery, TicketStatementQuery};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus,
    FlightEndpoint, FlightInfo, RenewFlightEndpointRequest,
};
use maru_core::{Error, ErrorKind};
use prost::Message;
use tonic::{Request, Response, Status};

use super::service::Service;
use super::sessions::FlightSession;
use super::status::{status, unsupported};
use crate::session::SETTINGS;

const CANCEL: &str = "CancelFlightInfo";
const SET_OPTIONS: &str = "SetSessionOptions";
const GET_OPTIONS: &str = "GetSessionOptions";
const CLOSE: &str = "CloseSession";
const RENEW: &str = "RenewFlightEndpoint";

/// The actions by name and what they do.
const ACTIONS: &[(&str, &str)] = &[
    (CANCEL, "Cancels the statement of a FlightInfo."),
    (
        SET_OPTIONS,
        "Sets settings of the session; \"catalog\" and \"schema\" choose where names are looked up.",
    ),
    (GET_OPTIONS, "Returns the settings of the session."),
    (CLOSE, "Ends the session and its token."),
    (RENEW, "Keeps a ticket, and the session that it belongs to, for as long as a new one."),
];

pub(super) fn list() -> Vec<Result<ActionType, Status>> {
    let action = |(name, description): &(&str, &str)| {
        Ok(ActionType { r#type: (*name).to_owned(), description: (*description).to_owned() })
    };
    ACTIONS.iter().map(action).collect()
}

pub(super) async fn run(
    service: &Service,
    request: Request<Action>,
) -> Result<Response<<Service as FlightService>::DoActionStream>, Status> {
    let session = service.session(&request).await?;
    let action = request.into_inner();
    let body = action.body;
    let answer = match action.r#type.as_str() {
        CANCEL => {
            let request = decode::<CancelFlightInfoRequest>(&body)?;
            let cancelled = cancel(&session, request.info);
            let result =
                if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
            CancelFlightInfoResult::new(result).encode_to_vec()
        }
        SET_OPTIONS => set_options(&session, decode(&body)?).encode_to_vec(),
        GET_OPTIONS => get_options(&session).encode_to_vec(),
        RENEW => {
            let request = decode::<RenewFlightEndpointRequest>(&body)?;
            renew(&session, request.endpoint).map_err(status)?.encode_to_vec()
        }
        CLOSE => {
            service.sessions.close(&session);
            CloseSessionResult { status: CLOSED }.encode_to_vec()
        }
        other => return Err(unsupported(&format!("there is no action \"{other}\""))),
    };
    let result = arrow_flight::Result { body: answer.into() };
    Ok(Response::new(Box::pin(futures::stream::iter([Ok(result)]))))
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|error| {
        let message = format!("could not read the request of the action: {error}");
        status(Error::new(ErrorKind::ProtocolViolation, message))
    })
}

/// Returns the endpoint again if its ticket is still worth something. Asking has kept the session; tickets do not expire by
/// themselves.
fn renew(
    session: &FlightSession,
    endpoint: Option<FlightEndpoint>,
) -> Result<FlightEndpoint, Error> {
    let missing =
        || Error::new(ErrorKind::UndefinedPrepared, "there is no statement for this ticket");
    let endpoint = endpoint.ok_or_else(missing)?;
    let ticket = endpoint.ticket.as_ref().ok_or_else(missing)?;
    let handle = handle_of(&ticket.ticket).ok_or_else(missing)?;
    session.statements.get(&handle)?;
    Ok(endpoint)
}

/// Returns the statement's handle that a ticket holds.
fn handle_of(ticket: &[u8]) -> Option<bytes::Bytes> {
    let any = Any::decode(ticket).ok()?;
    match (any.unpack::<TicketStatementQuery>(), any.unpack::<CommandPreparedStatementQuery>()) {
        (Ok(Some(ticket)), _) => Some(ticket.statement_handle),
        (_, Ok(Some(query))) => Some(query.prepared_statement_handle),
        _ => None,
    }
}

/// Ends what runs under the tickets of an info. Returns whether there was such a statement.
pub(super) fn cancel(session: &Arc<FlightSession>, info: Option<FlightInfo>) -> bool {
    let mut found = false;
    for endpoint in info.into_iter().flat_map(|info| info.endpoint) {
        let handle = endpoint.ticket.and_then(|ticket| handle_of(&ticket.ticket));
        let Some(handle) = handle else { continue };
        if let Ok(held) = session.statements.get(&handle) {
            held.cancel();
            found = true;
        }
    }
    found
}

/// A client's name for a setting.
fn setting(name: &str) -> &str {
    if name.eq_ignore_ascii_case("schema") { "search_path" } else { name }
}

fn set_options(
    session: &FlightSession,
    request: SetSessionOptionsRequest,
) -> SetSessionOptionsResult {
    let mut errors = HashMap::new();
    for (name, value) in request.session_options {
        use option_value::OptionValue as V;
        let text = match value.option_value {
            Some(V::StringValue(text)) => Some(text),
            Some(V::BoolValue(value)) => Some(if value { "on" } else { "off" }.to_owned()),
            Some(V::Int64Value(value)) => Some(value.to_string()),
            Some(V::DoubleValue(value)) => Some(value.to_string()),
            Some(V::StringListValue(list)) => Some(list.values.join(", ")),
            None => None,
        };
        let done = match text {
            Some(text) => session.session.set(setting(&name), &text),
            // An option without a value goes back to its default.
            None => session.session.reset(Some(setting(&name))),
        };
        if let Err(error) = done {
            let value = match error.kind() {
                ErrorKind::UndefinedObject => INVALID_NAME,
                ErrorKind::InvalidParameter | ErrorKind::UndefinedCatalog => INVALID_VALUE,
                _ => OTHER_ERROR,
            };
            errors.insert(name, OptionError { value });
        }
    }
    SetSessionOptionsResult { errors }
}

fn get_options(session: &FlightSession) -> GetSessionOptionsResult {
    let value = |text| SessionOptionValue {
        option_value: Some(option_value::OptionValue::StringValue(text)),
    };
    let names = SETTINGS.iter().map(|spec| spec.name).chain(["schema"]);
    let options = names
        .filter_map(|name| Some((name.to_owned(), value(session.session.setting(setting(name))?))));
    GetSessionOptionsResult { session_options: options.collect() }
}

// The messages below are Flight.proto's; arrow-flight does not have them.

const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;
const OTHER_ERROR: i32 = 3;
const CLOSED: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct StringListValue {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionOptionValue {
    #[prost(oneof = "option_value::OptionValue", tags = "1, 2, 3, 4, 5")]
    option_value: Option<option_value::OptionValue>,
}

mod option_value {
    //! The kinds of value that a session option has.

    #[derive(Clone, PartialEq, prost::Oneof)]
    #[allow(clippy::enum_variant_names, reason = "the names of the protocol")]
    pub(super) enum OptionValue {
        #[prost(string, tag = "1")]
        StringValue(String),
        #[prost(bool, tag = "2")]
        BoolValue(bool),
        #[prost(sfixed64, tag = "3")]
        Int64Value(i64),
        #[prost(double, tag = "4")]
        DoubleValue(f64),
        #[prost(message, tag = "5")]
        StringListValue(super::StringListValue),
    }
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}
