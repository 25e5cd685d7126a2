//! Functions that answer from the session: who, where, which settings.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use maru_core::{Error, ErrorKind};

use super::Session;

/// The functions: names, and what they tell of a session and their text argument.
const FUNCTIONS: &[(&[&str], Answer)] = &[
    (&["current_catalog", "current_database"], Answer::Text(|s| s.catalog())),
    (&["current_schema"], Answer::Text(|s| s.search_path().first().cloned().unwrap_or_default())),
    (&["current_user", "current_role", "user"], Answer::Text(|s| s.role())),
    (&["session_user"], Answer::Text(|s| s.user().to_owned())),
    (
        &["version"],
        Answer::Text(|_| {
            format!("PostgreSQL {} (Maru {})", crate::POSTGRES_VERSION, env!("CARGO_PKG_VERSION"))
        }),
    ),
    (&["pg_client_encoding"], Answer::Text(|_| "UTF8".to_owned())),
    (&["pg_backend_pid"], Answer::Integer(|s| s.id())),
    (&["txid_current", "pg_current_xact_id"], Answer::Count(|s| s.engine.commands_so_far())),
    (&["current_setting"], Answer::Setting),
    (&["set_config"], Answer::Set),
    (&["pg_cancel_backend"], Answer::Act(|target| target.cancel())),
    (&["pg_terminate_backend"], Answer::Act(|target| target.terminate())),
];

#[derive(Debug, Clone, Copy)]
enum Answer {
    Text(fn(&Session) -> String),
    Integer(fn(&Session) -> i32),
    Count(fn(&Session) -> i64),
    /// `current_setting(name)`
    Setting,
    /// `set_config(name, value, is_local)`
    Set,
    /// Does something to the session of a number, and tells whether there is one.
    Act(fn(&Session)),
}

/// Registers the functions of a session with its state.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    for (names, answer) in FUNCTIONS {
        let signature = match answer {
            Answer::Setting => Signature::one_of(
                vec![
                    TypeSignature::Exact(vec![DataType::Utf8]),
                    TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean]),
                ],
                Volatility::Stable,
            ),
            Answer::Set => Signature::exact(
                vec![DataType::Utf8, DataType::Utf8, DataType::Boolean],
                Volatility::Volatile,
            ),
            Answer::Act(_) => Signature::exact(vec![DataType::Int64], Volatility::Volatile),
            Answer::Text(_) | Answer::Integer(_) | Answer::Count(_) => {
                Signature::nullary(Volatility::Stable)
            }
        };
        let function = SessionFunction {
            name: names[0],
            aliases: names[1..].iter().map(|name| (*name).to_owned()).collect(),
            answer: *answer,
            signature,
            session: Weak::clone(session),
        };
        // Replaces the general one of the same name; registering cannot fail for scalar functions.
        if let Err(error) = state.register_udf(Arc::new(ScalarUDF::from(function))) {
            tracing::error!(error = %error, "could not register function");
        }
    }
}

/// Acts on the session of each number; false where there is none.
///
/// # Errors
/// 42501 for a session of somebody else, unless the role may signal those.
fn act_on(
    session: &Session,
    act: fn(&Session),
    args: &ScalarFunctionArgs,
) -> DfResult<ColumnarValue> {
    let [numbers] = args.args.as_slice() else {
        return Err(Error::internal("a session has one number").into());
    };
    let array = numbers.to_array(args.number_rows)?;
    let done = array.as_primitive::<Int64Type>().iter().map(|number| {
        let Some(number) = number else { return Ok(None) };
        let target = i32::try_from(number).ok().and_then(|id| session.engine().session_of(id));
        let Some(target) = target else { return Ok(Some(false)) };
        if !session.rights().may_signal(target.user()) {
            return Err(Error::new(ErrorKind::NotAllowed, "permission denied to signal a session")
                .with_detail("It belongs to another user."));
        }
        act(&target);
        Ok(Some(true))
    });
    let done = done.collect::<maru_core::Result<BooleanArray>>()?;
    match numbers {
        ColumnarValue::Scalar(_) => {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&done, 0)?))
        }
        ColumnarValue::Array(_) => Ok(ColumnarValue::Array(Arc::new(done))),
    }
}

/// Makes the functions that depend on settings anew: `now()` gives an instant of the session's time zone.
pub(super) fn follow_settings(state: &mut SessionState) {
    let options = state.config_options();
    let updated = state
        .scalar_functions()
        .iter()
        // Each function is listed under its aliases too, and registering one registers them all.
        .filter(|(name, function)| name.as_str() == function.name())
        .filter_map(|(_, function)| function.inner().with_updated_config(options))
        .collect::<Vec<_>>();
    for function in updated {
        if let Err(error) = state.register_udf(Arc::new(function)) {
            tracing::error!(%error, "could not register function");
        }
    }
}

/// Returns the value of the setting of each name; NULL for NULL of either argument, and for an unknown one if the second says so.
fn current_setting(session: &Session, args: &ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    let Some(names) = args.args.first() else {
        return Err(Error::internal("a setting has a name").into());
    };
    let is_one = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
    let n_rows = if is_one { 1 } else { args.number_rows };
    let missing_ok = args.args.get(1).map(|value| value.to_array(n_rows)).transpose()?;
    let tolerates = |row: usize| {
        let words = missing_ok.as_ref().and_then(|words| words.as_boolean_opt());
        words.is_some_and(|words| words.is_valid(row) && words.value(row))
    };
    let names = names.to_array(n_rows)?;
    let values = names.as_string::<i32>().iter().enumerate().map(|(row, name)| {
        let Some(name) = name else { return Ok(None) };
        if missing_ok.as_ref().is_some_and(|words| words.is_null(row)) {
            return Ok(None);
        }
        match session.setting(&name.to_lowercase()) {
            None if !tolerates(row) => Err(super::settings::unknown(name)),
            found => Ok(found),
        }
    });
    let values = values.collect::<maru_core::Result<StringArray>>()?;
    match is_one {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)),
        false => Ok(ColumnarValue::Array(Arc::new(values))),
    }
}

/// Sets a setting, for the transaction alone if the third argument says so, and returns what it is then.
fn set_config(session: &Session, args: &ScalarFunctionArgs) -> DfResult<ScalarValue> {
    let text = |at: usize| match args.args.get(at) {
        Some(ColumnarValue::Scalar(value)) => Ok(value.try_as_str().flatten().map(str::to_owned)),
        _ => Err(Error::unsupported("set_config takes one name and value, not columns")),
    };
    let (name, value) = (text(0)?, text(1)?);
    let name = name.ok_or_else(|| {
        Error::new(ErrorKind::InvalidParameter, "the name of a setting cannot be NULL")
    })?;
    let name = name.to_lowercase();
    let local =
        matches!(args.args.get(2), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
    match session.choose(&name, value.as_deref(), local)? {
        true => {
            let value = session.setting(&name).map(|value| super::settings::shown(&name, value));
            Ok(ScalarValue::Utf8(value))
        }
        // A transaction of this statement alone has ended before anybody could look.
        false => Ok(ScalarValue::Utf8(value)),
    }
}

#[derive(Debug)]
struct SessionFunction {
    name: &'static str,
    aliases: Vec<String>,
    answer: Answer,
    signature: Signature,
    session: Weak<Session>,
}

impl PartialEq for SessionFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Weak::ptr_eq(&self.session, &other.session)
    }
}

impl Eq for SessionFunction {}

impl Hash for SessionFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.session.as_ptr().hash(state);
    }
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.answer {
            Answer::Integer(_) => DataType::Int32,
            Answer::Count(_) => DataType::Int64,
            Answer::Act(_) => DataType::Boolean,
            Answer::Text(_) | Answer::Setting | Answer::Set => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self
            .session
            .upgrade()
            .ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))?;
        if let Answer::Act(act) = self.answer {
            return act_on(&session, act, &args);
        }
        let value = match self.answer {
            Answer::Act(_) => return Err(Error::internal("acts are done above").into()),
            Answer::Text(text) => ScalarValue::Utf8(Some(text(&session))),
            Answer::Integer(number) => ScalarValue::Int32(Some(number(&session))),
            Answer::Count(number) => ScalarValue::Int64(Some(number(&session))),
            Answer::Set => set_config(&session, &args)?,
            Answer::Setting => return current_setting(&session, &args),
        };
        Ok(ColumnarValue::Scalar(value))
    }
}
