//! What a file of text gives for columns of a table. It comes as it is written and is read by the types of the table, as
//! `COPY … FROM STDIN` reads it: what a reader of the file would take it for may hold less, `1.10` is not `1.1` in a column of text.

use std::sync::Arc;

use arrow::array::{AsArray, BinaryArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit, when,
};
use maru_connect::{FederatedTable, FileFormatSpec, SourceTable, read_nested};
use maru_core::{Error, ErrorKind, Result};

use crate::session::arithmetic::assigned;

pub(crate) use maru_connect::value_text::read_bytea as bytea;

/// Digits behind the point of a JSON number on its way to a whole one.
const EXACT_SCALE: i8 = 38;

/// A format in which values are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Csv,
    Json,
}

impl Written {
    /// Returns how the files are written that a plan reads, if they are text.
    pub(super) fn of(mut plan: &LogicalPlan) -> Option<Self> {
        loop {
            if let LogicalPlan::TableScan(scan) = plan {
                let provider = source_as_provider(&scan.source).ok()?;
                let table = provider.downcast_ref::<FederatedTable>()?;
                let SourceTable::Files(files) = table.source_table() else { return None };
                return match &files.format {
                    FileFormatSpec::Csv { .. } => Some(Self::Csv),
                    FileFormatSpec::Json => Some(Self::Json),
                    _ => None,
                };
            }
            let inputs = plan.inputs();
            let [input] = inputs.as_slice() else { return None };
            plan = *input;
        }
    }

    /// Refuses a file with fewer or more columns than it is read into.
    ///
    /// # Errors
    /// 22P04, as PostgreSQL says it of a line.
    pub(super) fn check_width(self, n_given: usize, columns: &[FieldRef]) -> Result<()> {
        // The objects of JSON leave out what they do not know.
        if self == Self::Json {
            return Ok(());
        }
        let what = match columns.get(n_given) {
            Some(missing) => format!("missing data for column \"{}\"", missing.name()),
            None if n_given > columns.len() => "extra data after last expected column".to_owned(),
            None => return Ok(()),
        };
        Err(Error::new(ErrorKind::BadFileFormat, what)
            .with_detail(format!(
                "The file has {n_given} columns where {} are expected.",
                columns.len()
            ))
            .with_hint("Name the columns of the table that the file has: COPY table (column, …) FROM 'place'. Check the option delimiter."))
    }

    /// Reads the texts of a plan by the types of the columns they are for. What cannot be read stays text.
    pub(super) fn read(
        self,
        plan: LogicalPlan,
        columns: &[FieldRef],
        zone: &str,
    ) -> Result<LogicalPlan> {
        let mut values = Vec::with_capacity(columns.len());
        for (index, target) in columns.iter().enumerate() {
            let (qualifier, field) = plan.schema().qualified_field(index);
            let is_text = field.data_type().is_string();
            let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let value = if is_text { self.read_one(value, target, &plan, zone)? } else { value };
            values.push(value.alias(target.name()));
        }
        Ok(LogicalPlanBuilder::from(plan).project(values)?.build()?)
    }

    fn read_one(self, value: Expr, target: &Field, plan: &LogicalPlan, zone: &str) -> Result<Expr> {
        use DataType as D;
        let to = target.data_type();
        if to.is_string() {
            return Ok(value);
        }
        if to.is_binary() {
            let function = ReadBytes {
                target: to.clone(),
                column: target.name().clone(),
                signature: Signature::any(1, Volatility::Immutable),
            };
            let function = Arc::new(ScalarUDF::from(function));
            return Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value])));
        }
        let is_read = match to {
            D::FixedSizeBinary(_) => false,
            to => to.is_nested() || can_cast_types(&D::Utf8, to),
        };
        if !is_read {
            return Ok(value);
        }
        let value = match self {
            // An empty field is NULL where it cannot be a text, in quotes or not.
            Self::Csv => {
                when(value.clone().eq(lit("")), lit(ScalarValue::Utf8(None))).otherwise(value)?
            }
            // `1e3` and `2.0` are whole numbers there.
            Self::Json if to.is_integer() => {
                let exact = D::Decimal256(DECIMAL256_MAX_PRECISION, EXACT_SCALE);
                let exact = Field::new(target.name(), exact, true);
                assigned(value, &exact, plan.schema(), zone)
            }
            Self::Json => value,
        };
        if !to.is_nested() {
            return Ok(assigned(value, target, plan.schema(), zone));
        }
        let function = ReadNested {
            target: to.clone(),
            column: target.name().clone(),
            signature: Signature::any(1, Volatility::Immutable),
        };
        let function = Arc::new(ScalarUDF::from(function));
        let json = ScalarFunction::new_udf(function, vec![value.clone()]);
        let json = Expr::ScalarFunction(json);
        // What PostgreSQL writes in braces is cast, where a text can be: not to arrays of objects.
        if !matches!(to, D::List(_)) || item_of(to).is_nested() {
            return Ok(json);
        }
        // JSON, as `COPY … TO` writes arrays, ends as it begins; an array of PostgreSQL ends with a brace.
        let literal = assigned(value.clone(), target, plan.schema(), zone);
        Ok(when(value.like(lit("[%]")), json).otherwise(literal)?)
    }
}

/// Returns the type of the values in an array of any number of dimensions.
fn item_of(mut data_type: &DataType) -> &DataType {
    while let DataType::List(item) = data_type {
        data_type = item.data_type();
    }
    data_type
}

/// Reads bytes as [`bytea`] does: a cast would take the letters themselves for them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadBytes {
    target: DataType,
    /// What the value is for, to be named in errors.
    column: String,
    signature: Signature,
}

impl ScalarUDFImpl for ReadBytes {
    fn name(&self) -> &str {
        "read_bytea"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [texts] = args.args.as_slice() else {
            return Err(Error::internal("bytes of more than one text").into());
        };
        let texts = texts.to_array(args.number_rows)?;
        let texts = cast_with_options(&texts, &DataType::Utf8, &Default::default())?;
        let read = |text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => bytea(text).map(Some).ok_or_else(|| {
                let what = format!("invalid input syntax for type bytea: \"{text}\"");
                Error::new(ErrorKind::InvalidText, what).with_context("column", self.column.clone())
            }),
        };
        let bytes = texts.as_string::<i32>().iter().map(read).collect::<Result<BinaryArray>>()?;
        let bytes = cast_with_options(&bytes, &self.target, &Default::default())?;
        Ok(ColumnarValue::Array(bytes))
    }
}

/// Reads arrays and objects of JSON as the values of a nested type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadNested {
    target: DataType,
    /// What the value is for, to be named in errors.
    column: String,
    signature: Signature,
}

impl ScalarUDFImpl for ReadNested {
    fn name(&self) -> &str {
        "read_nested"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [texts] = args.args.as_slice() else {
            return Err(Error::internal("nested values of more than one text").into());
        };
        let texts = texts.to_array(args.number_rows)?;
        let texts = cast_with_options(&texts, &DataType::Utf8, &CastOptions::default())?;
        // Lists are read as such, however the target lays them out.
        let as_list = match &self.target {
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                DataType::List(Arc::clone(item))
            }
            other => other.clone(),
        };
        let read = read_nested(&texts, &as_list);
        let values = read.map_err(|error| error.or_context("column", self.column.clone()))?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        Ok(ColumnarValue::Array(cast_with_options(&values, &self.target, &options)?))
    }
}
