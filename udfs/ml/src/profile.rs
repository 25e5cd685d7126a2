//! The aggregate behind `ML.DESCRIBE_DATA`, `ML.VALIDATE_DATA_SKEW` and `ML.VALIDATE_DATA_DRIFT`: the columns of a query beside
//! those of training, or of another query.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, StructArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::Column;
use maru_ml_kernels::pipeline::Kind;
use maru_ml_kernels::profile::{Drift, Profile, Values};

use crate::columns::{check_types, column, require_kind};
use crate::info::Table;
use crate::manifest::Version;

/// What is made of the columns.
#[derive(Debug, Clone)]
pub enum Compares {
    /// A row for each column.
    Nothing,
    /// Beside what the version has kept.
    Training(Arc<Version>),
    /// Rows whose last column is true beside the others.
    Halves,
}

/// Metrics with the value from which on a column has drifted.
const LIMITS: &[(&str, f64)] =
    &[("psi", 0.25), ("ks", 0.2), ("jensen_shannon", 0.1), ("l_infinity", 0.2)];

/// Takes columns, gives the rows of a table as one list.
#[derive(Debug, Clone)]
pub struct Describe {
    names: Vec<String>,
    compares: Compares,
    threshold: Option<f64>,
    name: String,
    signature: Signature,
}

impl PartialEq for Describe {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.compares, &other.compares) {
            (Compares::Training(a), Compares::Training(b)) => Arc::ptr_eq(a, b),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        same && self.names == other.names
            && self.threshold.map(f64::to_bits) == other.threshold.map(f64::to_bits)
    }
}

impl Eq for Describe {}

impl Hash for Describe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.names.hash(state);
    }
}

impl Describe {
    /// `names` are those of the columns, without the last one of [`Compares::Halves`].
    ///
    /// # Errors
    /// 42809 for a version that has kept nothing to compare with.
    pub fn new(names: Vec<String>, compares: Compares, threshold: Option<f64>) -> Result<Self> {
        let name = match &compares {
            Compares::Nothing => "ml_describe_data".to_owned(),
            Compares::Halves => "ml_validate_data_drift".to_owned(),
            Compares::Training(version) => {
                if version.manifest.profiles.is_empty() {
                    return Err(Error::new(
                        ErrorKind::WrongObjectType,
                        format!(
                            "model \"{}\" has kept nothing of its rows of training",
                            version.name
                        ),
                    )
                    .with_hint("An older version of Maru has trained it: train it again."));
                }
                let of = format!("{}.{} v{}", version.schema, version.name, version.version);
                format!("ml_validate_data_skew[{of}]")
            }
        };
        let signature = Signature::variadic_any(Volatility::Immutable);
        Ok(Self { names, compares, threshold, name, signature })
    }

    /// Returns the columns of the rows.
    pub fn fields(&self) -> Fields {
        let empty = match self.compares {
            Compares::Nothing => described(&[]),
            _ => self.compared(&[]),
        };
        empty.map_or_else(|_| Fields::empty(), |rows| rows.fields().clone())
    }

    fn compared(&self, drifts: &[(String, Option<Drift>)]) -> Result<StructArray> {
        let mut rows = Vec::new();
        for (input, drift) in drifts {
            let drift = drift.as_ref();
            for (metric, usual) in LIMITS {
                let value = match *metric {
                    "psi" => drift.map(|d| d.psi),
                    "jensen_shannon" => drift.map(|d| d.jensen_shannon),
                    "ks" => drift.and_then(|d| d.ks),
                    _ => drift.and_then(|d| d.l_infinity),
                };
                let limit = self.threshold.unwrap_or(*usual);
                // Of a column without rows, or of another kind of column, there is nothing to say.
                if value.is_some() || (drift.is_none() && *metric == "psi") {
                    rows.push((input.as_str(), *metric, limit, value));
                }
            }
        }
        Table::default()
            .text("input", rows.iter().map(|row| Some(row.0)))
            .text("metric", rows.iter().map(|row| Some(row.1)))
            .number("threshold", rows.iter().map(|row| Some(row.2)))
            .number("value", rows.iter().map(|row| row.3))
            .add(
                "is_anomaly",
                Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.3.map(|v| v > row.2)))),
            )
            .rows()
    }
}

fn described(profiles: &[Profile]) -> Result<StructArray> {
    type Pick = fn(&Values) -> Option<f64>;
    let numbers = |pick: Pick| {
        profiles
            .iter()
            .map(move |profile| pick(&profile.values).filter(|_| profile.n_rows > profile.n_null))
    };
    let category = |at: usize| {
        profiles.iter().map(move |profile| match &profile.values {
            Values::Texts { categories, .. } => categories.get(at).map(|(text, _)| text.clone()),
            Values::Numbers { .. } => None,
        })
    };
    let pick = |f: Pick| numbers(f);
    Table::default()
        .text("name", profiles.iter().map(|p| Some(p.name.as_str())))
        .count("num_rows", profiles.iter().map(|p| p.n_rows))
        .count("num_nulls", profiles.iter().map(|p| p.n_null))
        .number(
            "min",
            pick(|v| match v {
                Values::Numbers { min, .. } => Some(*min),
                Values::Texts { .. } => None,
            }),
        )
        .number(
            "max",
            pick(|v| match v {
                Values::Numbers { max, .. } => Some(*max),
                Values::Texts { .. } => None,
            }),
        )
        .number(
            "mean",
            pick(|v| match v {
                Values::Numbers { mean, .. } => Some(*mean),
                Values::Texts { .. } => None,
            }),
        )
        .number(
            "stddev",
            pick(|v| match v {
                Values::Numbers { stddev, .. } => Some(*stddev),
                Values::Texts { .. } => None,
            }),
        )
        .number(
            "median",
            pick(|v| match v {
                Values::Numbers { median, .. } => Some(*median),
                Values::Texts { .. } => None,
            }),
        )
        .count(
            "num_zeros",
            profiles.iter().map(|p| match &p.values {
                Values::Numbers { n_zero, .. } => *n_zero,
                Values::Texts { .. } => 0,
            }),
        )
        .count(
            "unique_values",
            profiles.iter().map(|p| match &p.values {
                Values::Numbers { n_distinct, .. } | Values::Texts { n_distinct, .. } => {
                    *n_distinct
                }
            }),
        )
        .text("top_value", category(0))
        .number(
            "mean_length",
            pick(|v| match v {
                Values::Texts { mean_length, .. } => Some(*mean_length),
                Values::Numbers { .. } => None,
            }),
        )
        .rows()
}

fn item(fields: Fields) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields), true))
}

impl AggregateUDFImpl for Describe {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        for (name, data_type) in self.names.iter().zip(types) {
            require_kind(name, data_type)?;
        }
        if let Compares::Training(version) = &self.compares {
            // Days beside seconds would be a drift of all rows.
            check_types(&version.artifact.pipeline.inputs, &version.manifest.input_types, types)?;
        }
        Ok(DataType::List(item(self.fields())))
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let types = arguments.expr_fields.iter().map(|field| field.data_type());
        let mut kinds = Vec::new();
        for (name, data_type) in self.names.iter().zip(types) {
            kinds.push(match &self.compares {
                // What was learnt as text is compared as text, whatever it is now.
                Compares::Training(version) => {
                    let inputs = &version.artifact.pipeline.inputs;
                    let known = inputs.iter().find(|(known, _)| known == name);
                    match known {
                        Some((_, kind)) => *kind,
                        None => require_kind(name, data_type)?,
                    }
                }
                _ => require_kind(name, data_type)?,
            });
        }
        let parts = || kinds.iter().map(|kind| Gathered::new(*kind)).collect::<Vec<_>>();
        let (first, second) = (parts(), parts());
        Ok(Box::new(Columns { of: self.clone(), kinds, first, second }))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let field = |index: usize| {
            Arc::new(Field::new(format!("part{index}"), DataType::LargeBinary, true)) as FieldRef
        };
        Ok((0..2 * self.names.len()).map(field).collect())
    }
}

/// The values of one column.
#[derive(Debug)]
enum Gathered {
    Numbers(Vec<f64>),
    Texts(Vec<Option<String>>, usize),
}

impl Gathered {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Number => Self::Numbers(Vec::new()),
            Kind::Text => Self::Texts(Vec::new(), 0),
        }
    }

    fn push(&mut self, column: &Column) {
        match (self, column) {
            (Self::Numbers(all), Column::Number(values)) => all.extend_from_slice(values),
            (Self::Texts(all, bytes), column) => {
                for row in 0..column.len() {
                    let text = column.text(row).map(|text| text.into_owned());
                    *bytes += text.as_ref().map_or(0, String::len);
                    all.push(text);
                }
            }
            (Self::Numbers(all), Column::Text(values)) => {
                all.extend(std::iter::repeat_n(f64::NAN, values.len()));
            }
        }
    }

    fn column(&self) -> Column {
        match self {
            Self::Numbers(values) => Column::number(values.clone()),
            Self::Texts(texts, _) => Column::Text(texts.iter().collect::<StringArray>()),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Numbers(values) => values.capacity() * 8,
            Self::Texts(texts, bytes) => texts.capacity() * size_of::<Option<String>>() + bytes,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Numbers(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Texts(texts, _) => {
                let mut bytes = Vec::new();
                for text in texts {
                    // The length plus one; 0 is NULL.
                    let length = text.as_ref().map_or(0, |text| text.len() as u64 + 1);
                    bytes.extend_from_slice(&length.to_le_bytes());
                    bytes.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
                }
                bytes
            }
        }
    }

    fn decode(&mut self, mut bytes: &[u8]) -> Result<()> {
        let damaged = || Error::internal("the state of a description is damaged");
        match self {
            Self::Numbers(all) => {
                let chunks = bytes.as_chunks::<8>().0.iter();
                all.extend(chunks.map(|chunk| f64::from_le_bytes(*chunk)));
            }
            Self::Texts(all, size) => {
                while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
                    let length = u64::from_le_bytes(*length) as usize;
                    let (text, rest) =
                        rest.split_at_checked(length.saturating_sub(1)).ok_or_else(damaged)?;
                    let text = std::str::from_utf8(text).map_err(|_| damaged())?;
                    *size += text.len();
                    all.push((length > 0).then(|| text.to_owned()));
                    bytes = rest;
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Columns {
    of: Describe,
    kinds: Vec<Kind>,
    /// With [`Compares::Halves`] the rows to compare with, else all rows.
    first: Vec<Gathered>,
    second: Vec<Gathered>,
}

impl Columns {
    fn add(&mut self, arrays: &[ArrayRef]) -> Result<()> {
        let failed = |error: arrow::error::ArrowError| {
            Error::internal("could not tell rows apart").with_cause(error)
        };
        let flags = match self.of.compares {
            Compares::Halves => {
                arrays.get(self.kinds.len()).map(|flags| flags.as_boolean().clone())
            }
            _ => None,
        };
        for (index, kind) in self.kinds.iter().enumerate() {
            let (name, array) = (&self.of.names[index], &arrays[index]);
            match &flags {
                None => self.first[index].push(&column(name, array, *kind)?),
                Some(flags) => {
                    let base = filter(array, flags).map_err(failed)?;
                    let others = arrow::compute::not(flags).map_err(failed)?;
                    let study = filter(array, &others).map_err(failed)?;
                    self.first[index].push(&column(name, &base, *kind)?);
                    self.second[index].push(&column(name, &study, *kind)?);
                }
            }
        }
        Ok(())
    }

    fn rows(&self) -> Result<StructArray> {
        let names = self.of.names.iter();
        match &self.of.compares {
            Compares::Nothing => {
                let profiles = names
                    .zip(&self.first)
                    .map(|(name, values)| Profile::of(name, &values.column()))
                    .collect::<Vec<_>>();
                described(&profiles)
            }
            Compares::Training(version) => {
                let one = |(name, values): (&String, &Gathered)| {
                    let base = version.manifest.profiles.iter().find(|known| known.name == *name);
                    let drift = base.and_then(|base| base.drift(&base.like(&values.column())?));
                    (name.clone(), drift)
                };
                self.of.compared(&names.zip(&self.first).map(one).collect::<Vec<_>>())
            }
            Compares::Halves => {
                let pairs = self.first.iter().zip(&self.second);
                let one = |(name, (base, study)): (&String, (&Gathered, &Gathered))| {
                    let base = Profile::of(name, &base.column());
                    let drift = base.like(&study.column()).and_then(|study| base.drift(&study));
                    (name.clone(), drift)
                };
                self.of.compared(&names.zip(pairs).map(one).collect::<Vec<_>>())
            }
        }
    }
}

impl Accumulator for Columns {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        Ok(self.add(values)?)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let rows = self.rows()?;
        let builder =
            SingleRowListArrayBuilder::new(Arc::new(rows)).with_field(&item(self.of.fields()));
        Ok(ScalarValue::List(Arc::new(builder.build_list_array())))
    }

    fn size(&self) -> usize {
        let parts = self.first.iter().chain(&self.second);
        size_of::<Self>() + parts.map(Gathered::size).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let parts = self.first.iter().chain(&self.second);
        Ok(parts.map(|part| ScalarValue::LargeBinary(Some(part.encode()))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let parts = self.first.iter_mut().chain(&mut self.second);
        for (part, state) in parts.zip(states) {
            for bytes in state.as_binary::<i64>().iter().flatten() {
                part.decode(bytes)?;
            }
        }
        Ok(())
    }
}
