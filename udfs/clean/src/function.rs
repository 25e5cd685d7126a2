//! Functions of one row that take text: their declaration, and how they meet the engine.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};
use maru_core::{Error, ErrorKind, Result};

/// What a function is called, takes, gives and does.
pub(crate) struct Spec {
    pub name: &'static str,
    /// With its arguments; those in brackets may be left out.
    pub syntax: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// The least and the greatest number of arguments, all of them text.
    pub takes: (usize, usize),
    /// The type of the result; arguments that are constant are known.
    pub gives: fn(&[Option<String>]) -> Result<DataType>,
    pub run: fn(&Texts) -> Result<ArrayRef>,
}

/// The arguments of a call, over the rows of a batch.
pub(crate) struct Texts {
    pub n_rows: usize,
    arguments: Vec<Text>,
}

enum Text {
    Constant(Option<String>),
    Usual(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

impl Texts {
    /// Returns the argument of a row; `None` is NULL, or an argument that is left out.
    pub fn get(&self, argument: usize, row: usize) -> Option<&str> {
        match self.arguments.get(argument)? {
            Text::Constant(text) => text.as_deref(),
            Text::Usual(array) => array.is_valid(row).then(|| array.value(row)),
            Text::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Text::View(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }

    /// Returns an argument that is the same for all rows.
    ///
    /// # Errors
    /// 22023 for a column.
    pub fn constant(&self, argument: usize, what: &str) -> Result<Option<&str>> {
        match self.arguments.get(argument) {
            None => Ok(None),
            Some(Text::Constant(text)) => Ok(text.as_deref()),
            Some(_) => Err(not_constant(what)),
        }
    }

    /// Applies a function to the first argument, row by row.
    pub fn map<T>(
        &self,
        mut each: impl FnMut(&str) -> Option<T>,
    ) -> impl Iterator<Item = Option<T>> {
        (0..self.n_rows).map(move |row| self.get(0, row).and_then(&mut each))
    }
}

pub(crate) fn not_constant(what: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, format!("{what} must be a constant, not a column"))
}

/// A [`Spec`] as the engine knows functions.
pub(crate) struct TextFunction {
    spec: &'static Spec,
    signature: Signature,
    documentation: Documentation,
}

impl TextFunction {
    pub fn new(spec: &'static Spec) -> Self {
        let documentation =
            Documentation::builder(DocSection::default(), spec.doc, spec.syntax).build();
        Self { spec, signature: Signature::user_defined(Volatility::Immutable), documentation }
    }
}

impl std::fmt::Debug for TextFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.spec.name)
    }
}

impl PartialEq for TextFunction {
    fn eq(&self, other: &Self) -> bool {
        self.spec.name == other.spec.name
    }
}

impl Eq for TextFunction {}

impl Hash for TextFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.name.hash(state);
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    /// What does not fit is refused by [`Self::return_field_from_args`], whose SQLSTATE the planner keeps.
    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let coerced = types.iter().map(|data_type| match data_type {
            DataType::Null => DataType::Utf8,
            DataType::Dictionary(_, value) if is_text(value) => value.as_ref().clone(),
            other => other.clone(),
        });
        Ok(coerced.collect())
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Err(Error::internal("the type depends on the arguments").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let Spec { name, syntax, takes, gives, .. } = self.spec;
        let fields = args.arg_fields;
        if fields.len() < takes.0
            || fields.len() > takes.1
            || !fields.iter().all(|field| is_text(field.data_type()) || field.data_type().is_null())
        {
            let what = format!("function {name} takes {} text", count(*takes));
            return Err(Error::new(ErrorKind::UndefinedFunction, what)
                .with_hint(format!("Write {syntax}. Other types are made text by ::text."))
                .into());
        }
        let constants = args.scalar_arguments.iter();
        let constants = constants
            .map(|value| value.and_then(|value| value.try_as_str().flatten().map(str::to_owned)))
            .collect::<Vec<_>>();
        Ok(Arc::new(Field::new(*name, gives(&constants)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let n_rows = if constant { 1 } else { args.number_rows };
        let arguments = args.args.into_iter().map(text).collect::<Result<Vec<_>>>()?;
        let result = (self.spec.run)(&Texts { n_rows, arguments })?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn text(value: ColumnarValue) -> Result<Text> {
    Ok(match value {
        ColumnarValue::Scalar(value) => {
            Text::Constant(value.try_as_str().flatten().map(str::to_owned))
        }
        ColumnarValue::Array(array) => match array.data_type() {
            DataType::Utf8 => Text::Usual(array.as_string().clone()),
            DataType::LargeUtf8 => Text::Large(array.as_string().clone()),
            DataType::Utf8View => Text::View(array.as_string_view().clone()),
            DataType::Null => Text::Constant(None),
            other => {
                return Err(Error::internal(format!("an argument of type {other} is no text")));
            }
        },
    })
}

fn count((least, most): (usize, usize)) -> String {
    match (least, most) {
        (1, 1) => "a".to_owned(),
        (least, most) if least == most => format!("{least} arguments of"),
        (least, most) => format!("{least} to {most} arguments of"),
    }
}
