//! The functions of advisory locks: `pg_advisory_lock(number)` and its like. The locks are the engine's (`engine/locks.rs`).

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use super::Session;
use crate::catalog::BUILTIN;
use crate::engine::locks::{Claim, Key, Number};

const SHARED: bool = true;
const ALONE: bool = false;

/// The functions, and what they do.
const FUNCTIONS: &[(&str, Act)] = &[
    ("pg_advisory_lock", Act::Take { shared: ALONE, transaction: false }),
    ("pg_advisory_lock_shared", Act::Take { shared: SHARED, transaction: false }),
    ("pg_advisory_xact_lock", Act::Take { shared: ALONE, transaction: true }),
    ("pg_advisory_xact_lock_shared", Act::Take { shared: SHARED, transaction: true }),
    ("pg_try_advisory_lock", Act::Try { shared: ALONE, transaction: false }),
    ("pg_try_advisory_lock_shared", Act::Try { shared: SHARED, transaction: false }),
    ("pg_try_advisory_xact_lock", Act::Try { shared: ALONE, transaction: true }),
    ("pg_try_advisory_xact_lock_shared", Act::Try { shared: SHARED, transaction: true }),
    ("pg_advisory_unlock", Act::Release { shared: ALONE }),
    ("pg_advisory_unlock_shared", Act::Release { shared: SHARED }),
    ("pg_advisory_unlock_all", Act::ReleaseAll),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Waits until the lock can be had.
    Take {
        shared: bool,
        transaction: bool,
    },
    /// Tells whether it could be had.
    Try {
        shared: bool,
        transaction: bool,
    },
    /// Tells whether the session had it.
    Release {
        shared: bool,
    },
    ReleaseAll,
}

/// Registers the functions of a session with its state.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    for (name, act) in FUNCTIONS {
        let signature = match act {
            Act::ReleaseAll => Signature::nullary(Volatility::Volatile),
            _ => Signature::one_of(
                vec![
                    TypeSignature::Exact(vec![DataType::Int64]),
                    TypeSignature::Exact(vec![DataType::Int64, DataType::Int64]),
                ],
                Volatility::Volatile,
            ),
        };
        let function = Advisory { name, act: *act, signature, session: Weak::clone(session) };
        let function = match act {
            Act::Take { .. } => AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf(),
            _ => ScalarUDF::from(function),
        };
        // Registering cannot fail for scalar functions.
        if let Err(error) = state.register_udf(Arc::new(function)) {
            tracing::error!(%error, "could not register function");
        }
    }
}

/// Returns whether a plan may wait for a lock. Who waits keeps no place from him who has it.
pub(super) fn waits(text: &str, plan: &LogicalPlan) -> Result<bool> {
    if !text.to_ascii_lowercase().contains("_lock") {
        return Ok(false);
    }
    let is_waiting = |name: &str| {
        FUNCTIONS.iter().any(|(known, act)| matches!(act, Act::Take { .. }) && *known == name)
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                found |= matches!(part, Expr::ScalarFunction(call) if is_waiting(call.name()));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Held by a statement: locks of a transaction end with it, if it is one of its own.
///
/// A cursor's rows are the session's own, so that they must not keep it.
pub(super) struct OwnTransaction(Weak<Session>);

impl OwnTransaction {
    pub(super) fn of(session: &Arc<Session>) -> Self {
        Self(Arc::downgrade(session))
    }
}

impl Drop for OwnTransaction {
    fn drop(&mut self) {
        if let Some(session) = self.0.upgrade()
            && !session.in_transaction()
        {
            session.engine.inner.locks.end_transaction(session.id);
        }
    }
}

#[derive(Debug)]
struct Advisory {
    name: &'static str,
    act: Act,
    signature: Signature,
    session: Weak<Session>,
}

impl Advisory {
    fn session(&self) -> Result<Arc<Session>> {
        let session = self.session.upgrade();
        session.ok_or_else(|| Error::new(ErrorKind::ShuttingDown, "the session has ended"))
    }
}

impl PartialEq for Advisory {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Weak::ptr_eq(&self.session, &other.session)
    }
}

impl Eq for Advisory {}

impl Hash for Advisory {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.session.as_ptr().hash(state);
    }
}

impl ScalarUDFImpl for Advisory {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// PostgreSQL's is `void` for those that wait, which clients are shown as empty text.
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.act {
            Act::Take { .. } | Act::ReleaseAll => DataType::Utf8,
            Act::Try { .. } | Act::Release { .. } => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self.session()?;
        let locks = &session.engine.inner.locks;
        let one = |key: Key| match self.act {
            Act::Try { shared, transaction } => {
                Ok(locks.try_take(key, Claim { session: session.id, shared, transaction }))
            }
            Act::Release { shared } => Ok(locks.release(&key, session.id, shared)),
            Act::Take { .. } | Act::ReleaseAll => {
                Err(Error::unsupported(format!("{} cannot be used here", self.name))
                    .with_hint("SELECT it in a statement of its own."))
            }
        };
        if self.act == Act::ReleaseAll {
            locks.release_all(session.id);
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(String::new()))));
        }
        let keys = keys(&session, &args)?;
        let done = keys.into_iter().map(|key| key.map(one).transpose());
        Ok(ColumnarValue::Array(Arc::new(done.collect::<Result<BooleanArray>>()?)))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Advisory {
    /// Takes one lock for each row; NULL where a number is NULL.
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Act::Take { shared, transaction } = self.act else {
            return Err(Error::internal("only taking a lock waits").into());
        };
        let session = self.session()?;
        let claim = Claim { session: session.id, shared, transaction };
        let limit = session.duration("lock_timeout");
        let mut taken = Vec::with_capacity(args.number_rows);
        for key in keys(&session, &args)? {
            let Some(key) = key else {
                taken.push(None);
                continue;
            };
            let work = session.engine.inner.locks.take(key, claim);
            match limit.is_zero() {
                true => work.await?,
                false => tokio::time::timeout(limit, work).await.map_err(|_| too_late())??,
            }
            taken.push(Some(""));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(taken))))
    }
}

fn too_late() -> Error {
    Error::new(ErrorKind::LockNotAvailable, "canceling statement due to lock timeout").with_hint(
        "pg_locks shows who has the lock. SET lock_timeout = 0 waits as long as it takes.",
    )
}

/// Returns the lock that each row is about.
///
/// # Errors
/// 22003 for one of two numbers that is none of four bytes.
fn keys(session: &Session, args: &ScalarFunctionArgs) -> Result<Vec<Option<Key>>> {
    let database = session.login.database.clone().unwrap_or_else(|| BUILTIN.to_owned());
    let columns = args.args.iter().map(|value| value.to_array(args.number_rows));
    let columns = columns.collect::<DfResult<Vec<_>>>()?;
    let number = |column: usize, row: usize| {
        let numbers = columns.get(column)?.as_primitive_opt::<Int64Type>()?;
        numbers.is_valid(row).then(|| numbers.value(row))
    };
    let small = |number: i64| {
        i32::try_from(number).map_err(|_| Error::new(ErrorKind::OutOfRange, "integer out of range"))
    };
    let key = |row: usize| -> Result<Option<Key>> {
        let number = match (columns.len(), number(0, row), number(1, row)) {
            (1, Some(number), _) => Number::One(number),
            (2, Some(first), Some(second)) => Number::Two(small(first)?, small(second)?),
            _ => return Ok(None),
        };
        Ok(Some(Key { database: database.clone(), number }))
    };
    (0..args.number_rows).map(key).collect()
}
