//! Functions that tools know objects of PostgreSQL's catalog by: `to_regclass`, `col_description`, `obj_description`, and arrays of OIDs
//! as parameters.
//!
//! Names and remarks are looked up when a statement with such a function is planned ([`Session::learn_oids`]).

use std::sync::{Arc, Weak};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use maru_core::Error;

use super::Session;
use super::owner_session::{OwnerSession, add};

/// What a function tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    /// The OID of a table by its name; NULL if it is not there.
    Name,
    /// The remark on a column, by the table's OID and the column's number.
    Column,
    /// The remark on a table or schema, by its OID.
    Object,
    /// The argument, which is an array of OIDs.
    Oids,
}

/// A parameter under this function is an array of OIDs.
pub(super) const OIDS: &str = "oid_array";

const FUNCTIONS: &[(&str, About)] = &[
    ("to_regclass", About::Name),
    ("col_description", About::Column),
    ("obj_description", About::Object),
    ("shobj_description", About::Object),
    (OIDS, About::Oids),
];

/// Returns the type of an array of OIDs, as the wire tells it from one of integers.
pub(super) fn oids() -> DataType {
    let told = [("pg.oid_alias".to_owned(), "oid".to_owned())];
    let item = Field::new("item", DataType::Int32, true).with_metadata(told.into());
    DataType::List(Arc::new(item))
}

/// Registers the functions of a session with its state.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    for (name, about) in FUNCTIONS {
        let signature = match about {
            About::Name => Signature::string(1, Volatility::Stable),
            About::Column => Signature::any(2, Volatility::Stable),
            About::Object => Signature::one_of(
                vec![TypeSignature::Any(1), TypeSignature::Any(2)],
                Volatility::Stable,
            ),
            About::Oids => Signature::user_defined(Volatility::Immutable),
        };
        let session = OwnerSession::new(session);
        let function = Told { name, about: *about, signature, session };
        add(state, function);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Told {
    name: &'static str,
    about: About,
    signature: Signature,
    session: OwnerSession,
}

impl ScalarUDFImpl for Told {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.about {
            About::Name => DataType::Int32,
            About::Column | About::Object => DataType::Utf8,
            About::Oids => plain_oids(),
        })
    }

    fn coerce_types(&self, _: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(vec![plain_oids()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Some(first) = args.args.first() else {
            return Err(Error::internal(format!("{} of nothing", self.name)).into());
        };
        if self.about == About::Oids {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            return Ok(match first {
                ColumnarValue::Array(array) => {
                    ColumnarValue::Array(cast_with_options(array, &plain_oids(), &options)?)
                }
                ColumnarValue::Scalar(value) => {
                    ColumnarValue::Scalar(value.cast_to(&plain_oids())?)
                }
            });
        }
        let session = self.session.get()?;
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let first = first.to_array(n_rows)?;
        let answer: ArrayRef = match self.about {
            About::Name => {
                let names = cast(&first, &DataType::Utf8)?;
                let names = names.as_string::<i32>().iter();
                let known = session.known_oids();
                let found = names.map(|name| known.by_name(&session, name?));
                Arc::new(found.collect::<Int32Array>())
            }
            _ => {
                let oids = cast(&first, &DataType::Int64)?;
                let oids = oids.as_primitive::<Int64Type>();
                let numbers = match (self.about, args.args.get(1)) {
                    (About::Column, Some(numbers)) => {
                        Some(cast(&numbers.to_array(n_rows)?, &DataType::Int64)?)
                    }
                    _ => None,
                };
                let numbers = numbers.as_ref().map(|numbers| numbers.as_primitive::<Int64Type>());
                let (known, rights) = (session.known_oids(), session.rights());
                let remark = |row: usize| {
                    let number = match numbers {
                        Some(numbers) => numbers.is_valid(row).then(|| numbers.value(row))?,
                        None => 0,
                    };
                    known.remark(oids.is_valid(row).then(|| oids.value(row))?, number, &rights)
                };
                Arc::new((0..oids.len()).map(remark).collect::<StringArray>())
            }
        };
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?),
            false => ColumnarValue::Array(answer),
        })
    }
}

/// The type without what tells it from integers: results of functions lose that on their way through a plan.
fn plain_oids() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))
}

/// Reads `"a"."b"` and `a . b`: names in quotes, or folded.
pub(crate) fn parts(name: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (_, '"') if chars.next_if(|(_, c)| *c == '"').is_some() => text.push('"'),
                    (at, '"') => break at + 1,
                    (_, other) => text.push(other),
                }
            };
            part = text;
            rest = &quoted[end..];
        } else {
            let end = rest.find(['.', '"']).unwrap_or(rest.len());
            part = rest[..end].trim().to_lowercase();
            rest = &rest[end..];
        }
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None => return rest.is_empty().then_some(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let read = |name: &str| parts(name).map(|parts| parts.join("|"));
        assert_eq!(read("\"public\" . \"a\"\"B\"").as_deref(), Some("public|a\"B"));
        assert_eq!(read("Public.Orders").as_deref(), Some("public|orders"));
        assert_eq!(read(" x ").as_deref(), Some("x"));
        assert_eq!(read("\"a.b\"").as_deref(), Some("a.b"));
        for bad in ["", ".", "a.", "\"a", "a\"b\"", "\"a\"b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
