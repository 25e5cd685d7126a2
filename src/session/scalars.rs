//! Scalar functions of PostgreSQL that the engine underneath lacks, or has with another meaning.
//!
//! Each file has a table of [`RowFunction`]s, computed a row at a time; those that have to be fast stand on their own.
//! `system.functions` and `SHOW FUNCTIONS` show what is registered here.
//!
//! Source: PostgreSQL 16, chapter 9.

mod arrays;
mod byte_parts;
mod catalog;
mod coalesce;
mod concat;
mod date_bin;
mod date_trunc;
mod dates;
mod domain;
mod format;
mod hash;
mod json;
mod numbers;
mod regexp;
mod rounded;
mod sizes;
mod text;
mod to_char;
mod to_number;

use std::sync::Arc;

use arrow::array::new_empty_array;
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

use crate::system::types::sql_name;
use crate::value_text::Zone;

pub(super) use byte_parts::Substrings;
pub(super) use dates::divided_interval;
pub(super) use json::Gives;
use json::marked;
pub(crate) use json::{Style, TYPE_KEY, mark, put_json, style_of};

/// All tables.
const TABLES: &[&[RowFunction]] = &[
    arrays::FUNCTIONS,
    catalog::FUNCTIONS,
    dates::FUNCTIONS,
    format::FUNCTIONS,
    hash::FUNCTIONS,
    numbers::FUNCTIONS,
    regexp::FUNCTIONS,
    text::FUNCTIONS,
    to_char::FUNCTIONS,
    to_number::FUNCTIONS,
];

fn all() -> impl Iterator<Item = &'static RowFunction> {
    TABLES.iter().chain(json::TABLES).copied().flatten()
}

/// Registers the functions.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for function in all() {
        state.register_udf(Arc::new(ScalarUDF::from(Rowwise::new(function))))?;
    }
    byte_parts::register(state)?;
    coalesce::register(state)?;
    concat::register(state)?;
    date_bin::register(state)?;
    date_trunc::register(state)?;
    domain::register(state)?;
    rounded::register(state)?;
    sizes::register(state)
}

/// Returns which JSON a function gives.
pub(super) fn gives_json(name: &str) -> Gives {
    all().find(|function| function.name == name).map_or(Gives::Other, |function| function.json)
}

/// Returns a call of one of the functions; `None` if there is none of that name.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Option<Expr> {
    let function = all().find(|function| function.name == name)?;
    Some(ScalarUDF::from(Rowwise::new(function)).call(arguments))
}

/// What an argument may be, and what it is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Utf8.
    Text,
    /// Int64, of any whole number.
    Whole,
    /// Int64, Float64 or a decimal.
    Number,
    /// Float64, of any number.
    Float,
    /// Months, days and nanoseconds.
    Interval,
    /// Microseconds, with a zone or without; of a date midnight.
    Timestamp,
    /// Binary.
    Bytes,
    /// A list.
    Array,
    /// A list of texts, or the text of one.
    Path,
    /// Boolean.
    Truth,
    /// As it comes.
    Any,
}

impl Kind {
    /// Returns what a type is brought to, and whether it is no text that has to be read for it.
    fn takes(self, data_type: &DataType) -> Option<(DataType, bool)> {
        use DataType as D;
        let data_type = match data_type {
            D::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        let is_text = matches!(data_type, D::Utf8 | D::LargeUtf8 | D::Utf8View);
        let interval = D::Interval(IntervalUnit::MonthDayNano);
        Some(match (self, data_type) {
            (Self::Any, other) => (other.clone(), true),
            (Self::Text, _) if is_text => (D::Utf8, true),
            (Self::Text, D::Null) => (D::Utf8, true),
            (Self::Whole, D::Null) => (D::Int64, true),
            (Self::Whole, other) if other.is_integer() => (D::Int64, true),
            (Self::Number, D::Null) => (D::Int64, true),
            (Self::Number, other) if other.is_integer() && *other != D::UInt64 => (D::Int64, true),
            (Self::Number, D::UInt64) => (D::Decimal128(20, 0), true),
            (Self::Number, D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s)) => {
                (D::Decimal128(*p, *s), true)
            }
            (Self::Number | Self::Float, other) if other.is_floating() => (D::Float64, true),
            (Self::Float, other) if other.is_numeric() || other.is_null() => (D::Float64, true),
            (Self::Interval, D::Interval(_) | D::Duration(_) | D::Null) => (interval, true),
            (Self::Interval, _) if is_text => (interval, false),
            (Self::Timestamp, D::Timestamp(_, zone)) => {
                (D::Timestamp(TimeUnit::Microsecond, zone.clone()), true)
            }
            (Self::Timestamp, D::Date32 | D::Date64 | D::Null) => {
                (D::Timestamp(TimeUnit::Microsecond, None), true)
            }
            (Self::Timestamp, _) if is_text => (D::Timestamp(TimeUnit::Microsecond, None), false),
            (Self::Bytes, D::Binary | D::LargeBinary | D::BinaryView | D::Null) => {
                (D::Binary, true)
            }
            (Self::Path, _) if is_text || data_type.is_null() => (D::Utf8, true),
            (Self::Path, D::List(_) | D::LargeList(_) | D::FixedSizeList(..)) => {
                return Self::Array.takes(data_type);
            }
            (Self::Truth, D::Boolean | D::Null) => (D::Boolean, true),
            (Self::Array, D::List(_)) => (data_type.clone(), true),
            (Self::Array, D::LargeList(item) | D::FixedSizeList(item, _)) => {
                (D::List(Arc::clone(item)), true)
            }
            _ => return None,
        })
    }
}

/// One row as a function sees it.
pub(super) struct Row<'a> {
    pub(super) values: &'a [ScalarValue],
    pub(super) fields: &'a [FieldRef],
    /// The session's, and its name.
    pub(super) zone: &'a Zone,
    pub(super) zone_name: &'a str,
    /// The type of the result.
    pub(super) returns: &'a DataType,
}

impl Row<'_> {
    /// Returns a text argument; the empty text for NULL, which a strict function never sees.
    pub(super) fn text(&self, at: usize) -> &str {
        match self.values.get(at) {
            Some(ScalarValue::Utf8(Some(text))) => text,
            _ => "",
        }
    }

    pub(super) fn whole(&self, at: usize) -> i64 {
        match self.values.get(at) {
            Some(ScalarValue::Int64(Some(number))) => *number,
            _ => 0,
        }
    }

    pub(super) fn float(&self, at: usize) -> f64 {
        match self.values.get(at) {
            Some(ScalarValue::Float64(Some(number))) => *number,
            _ => 0.0,
        }
    }
}

/// What a result's type is by arguments that are known while the statement is planned.
type TypeOf = fn(&[Option<&ScalarValue>]) -> DataType;

/// A function computed row by row.
#[derive(Debug)]
pub(super) struct RowFunction {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    /// Its lists of arguments.
    pub(super) forms: &'static [&'static [Kind]],
    /// Whether the last argument of its form may come any number of times, also not at all.
    pub(super) variadic: bool,
    /// Whether it is NULL when an argument is, without being called.
    pub(super) strict: bool,
    /// The type of the result; of types as [`Kind`] brings them.
    pub(super) returns: fn(&[DataType]) -> DataType,
    /// The same by arguments that are known, where the type depends on them.
    pub(super) returns_of: Option<TypeOf>,
    /// Whether the result is JSON, and which.
    pub(super) json: Gives,
    /// NULL by [`ScalarValue::Null`].
    pub(super) compute: fn(&Row) -> Result<ScalarValue>,
    pub(super) syntax: &'static str,
    pub(super) description: &'static str,
}

impl RowFunction {
    /// What most functions are.
    pub(super) const BASE: Self = Self {
        name: "",
        aliases: &[],
        forms: &[],
        variadic: false,
        strict: true,
        returns: |_| DataType::Utf8,
        returns_of: None,
        json: Gives::Other,
        compute: |_| Ok(ScalarValue::Null),
        syntax: "",
        description: "",
    };
}

/// Compared by name: there is one of each.
#[derive(Debug)]
struct Rowwise {
    function: &'static RowFunction,
    aliases: Vec<String>,
    signature: Signature,
    documentation: Documentation,
}

impl PartialEq for Rowwise {
    fn eq(&self, other: &Self) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Rowwise {}

impl std::hash::Hash for Rowwise {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl Rowwise {
    fn new(function: &'static RowFunction) -> Self {
        let RowFunction { description, syntax, .. } = *function;
        Self {
            function,
            aliases: function.aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: Documentation::builder(DocSection::default(), description, syntax)
                .build(),
        }
    }

    /// Returns the types of the form that fits best.
    fn fitting(&self, types: &[DataType]) -> Option<Vec<DataType>> {
        let fit = |form: &&[Kind]| {
            let kinds = if self.function.variadic {
                let (last, first) = form.split_last()?;
                if types.len() < first.len() {
                    return None;
                }
                let more = types.len() - first.len();
                first.iter().copied().chain(std::iter::repeat_n(*last, more)).collect()
            } else {
                form.to_vec()
            };
            if kinds.len() != types.len() {
                return None;
            }
            let taken = kinds.iter().zip(types).map(|(kind, data_type)| kind.takes(data_type));
            let taken = taken.collect::<Option<Vec<_>>>()?;
            let n_read = taken.iter().filter(|(_, as_is)| !as_is).count();
            Some((n_read, taken.into_iter().map(|(data_type, _)| data_type).collect()))
        };
        let fits = self.function.forms.iter().filter_map(fit);
        fits.min_by_key(|(n_read, _)| *n_read).map(|(_, types)| types)
    }

    fn refused(&self, types: &[DataType]) -> Error {
        let types = types.iter().map(sql_name).collect::<Vec<_>>().join(", ");
        let what = format!("function {}({types}) does not exist", self.function.name);
        Error::new(ErrorKind::UndefinedFunction, what)
            .with_hint(format!("It is called as {}.", self.function.syntax))
    }
}

impl ScalarUDFImpl for Rowwise {
    fn name(&self) -> &str {
        self.function.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.fitting(types).ok_or_else(|| self.refused(types).into())
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok((self.function.returns)(types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types = args.arg_fields.iter().map(|field| field.data_type().clone());
        let data_type = match self.function.returns_of {
            Some(returns) => returns(args.scalar_arguments),
            None => (self.function.returns)(&types.collect::<Vec<_>>()),
        };
        if let (name @ ("json" | "jsonb"), [from]) = (self.name(), args.arg_fields)
            && Kind::Text.takes(from.data_type()).is_none()
        {
            let what = format!("cannot cast type {} to {name}", sql_name(from.data_type()));
            return Err(Error::new(ErrorKind::CannotCast, what)
                .with_hint(format!("to_{name}(value) makes JSON of a value."))
                .into());
        }
        let field = Field::new(self.name(), data_type, true);
        Ok(Arc::new(marked(field, self.function.json, args.arg_fields.first().map(AsRef::as_ref))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let data_type = args.return_field.data_type();
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if is_scalar { 1 } else { args.number_rows };
        let zone_name = args.config_options.execution.time_zone.as_deref().unwrap_or("UTC");
        let zone = Zone::parse(zone_name);
        let mut values = vec![ScalarValue::Null; args.args.len()];
        let mut found = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            for (value, argument) in values.iter_mut().zip(&args.args) {
                *value = match argument {
                    ColumnarValue::Scalar(scalar) => scalar.clone(),
                    ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row)?,
                };
            }
            let result = if self.function.strict && values.iter().any(ScalarValue::is_null) {
                ScalarValue::Null
            } else {
                let (fields, zone) = (args.arg_fields.as_slice(), &zone);
                let row = Row { values: &values, fields, zone, zone_name, returns: data_type };
                (self.function.compute)(&row)?
            };
            found.push(match result {
                ScalarValue::Null => ScalarValue::try_new_null(data_type)?,
                value => value,
            });
        }
        if is_scalar {
            let value = found.pop().unwrap_or(ScalarValue::Null);
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(match found.is_empty() {
            true => new_empty_array(data_type),
            false => ScalarValue::iter_to_array(found)?,
        }))
    }
}

/// 22023 about an argument.
fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, what)
}
