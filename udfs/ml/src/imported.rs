//! Models that others have made: the options that import one, columns of a query as its inputs, its outputs as columns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
    ListArray, StringArray, StructArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options, concat, take};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Int32Type, Int64Type};
use maru_core::{Error, ErrorKind, Result};
use maru_ml_kernels::artifact::Artifact;
use maru_ml_kernels::imported::{Element, Imported, Port, Shape};
use maru_ml_kernels::model::{Model, Problem};
use maru_ml_kernels::pipeline::{Features, Kind, Pipeline};
use maru_ml_kernels::transform::Literal;
pub use maru_ml_onnx::{FILE_BYTES_MAX, too_large};
use maru_ml_onnx::{Library, PROVIDERS, Runtime, Values};
use maru_sql::ast::Expr;

use crate::lower::literal;
use crate::manifest::{FeatureFacts, LabelType, Manifest, Version};
use crate::train::Trained;

/// What OPTIONS say of a model to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    pub path: String,
    provider: String,
    /// The columns of the one input that is a matrix.
    input_columns: Option<Vec<String>>,
    pub set_default: bool,
    shown: BTreeMap<String, String>,
}

fn invalid(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, format!("invalid value of option {name}"))
        .with_detail(format!("It takes {what}."))
}

impl ImportOptions {
    /// Returns the options if they are those of an import, `None` for a model that is to be trained.
    ///
    /// # Errors
    /// 22023 for an option that imports do not have.
    pub fn new(options: &[(String, Expr)]) -> Result<Option<Self>> {
        let is_onnx = |value: &Expr| matches!(literal(value), Ok(Literal::Text(text)) if text.eq_ignore_ascii_case("onnx"));
        if !options.iter().any(|(name, value)| name == "model_type" && is_onnx(value)) {
            return Ok(None);
        }
        let mut found = Self {
            path: String::new(),
            provider: "cpu".to_owned(),
            input_columns: None,
            set_default: true,
            shown: BTreeMap::new(),
        };
        for (name, value) in options {
            let value = literal(value)?;
            found.shown.insert(name.clone(), crate::train::show(&value));
            match (name.as_str(), value) {
                ("model_type", _) => {}
                ("path" | "model_path", Literal::Text(path)) if found.path.is_empty() => {
                    found.path = path;
                }
                ("path" | "model_path", _) => {
                    return Err(invalid(name, "one place, such as 's3://bucket/model.onnx'"));
                }
                ("execution_provider", Literal::Text(provider)) => {
                    found.provider = provider.to_lowercase();
                    if !PROVIDERS.contains(&found.provider.as_str()) {
                        return Err(invalid(name, &format!("one of {}", PROVIDERS.join(", "))));
                    }
                }
                ("input_cols", Literal::List(columns)) if !columns.is_empty() => {
                    let names = columns.into_iter().map(|column| match column {
                        Literal::Text(name) => Ok(name),
                        _ => Err(invalid(
                            "input_cols",
                            "names of columns, such as ['temp', 'press']",
                        )),
                    });
                    found.input_columns = Some(names.collect::<Result<_>>()?);
                }
                ("set_default", Literal::Boolean(flag)) => found.set_default = flag,
                ("execution_provider", _) => return Err(invalid(name, "text")),
                ("input_cols", _) => {
                    return Err(invalid(name, "names of columns, such as ['temp', 'press']"));
                }
                ("set_default", _) => return Err(invalid(name, "true or false")),
                (other, _) => {
                    return Err(Error::new(
                        ErrorKind::InvalidParameter,
                        format!("model_type 'onnx' has no option \"{other}\""),
                    )
                    .with_detail("It has path (also model_path), input_cols, execution_provider and set_default."));
                }
            }
        }
        if found.path.is_empty() {
            return Err(Error::new(ErrorKind::InvalidParameter, "option path is missing")
                .with_hint("OPTIONS (model_type = 'onnx', path = 's3://bucket/model.onnx')."));
        }
        Ok(Some(found))
    }
}

/// Makes a version of a file. Blocking: the runtime reads and arranges the whole model.
///
/// # Errors
/// Of [`maru_ml_onnx::check`] and [`Runtime::open`]; 22023 for `input_cols` that do not fit the model.
pub fn import(file: Vec<u8>, options: &ImportOptions, library: &Arc<Library>) -> Result<Trained> {
    let start = Instant::now();
    maru_ml_onnx::check(&file)?;
    let file: Arc<[u8]> = file.into();
    let signature =
        Runtime::new(Arc::clone(library), Arc::clone(&file), &options.provider).open()?;
    let mut names = signature.inputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    let mut kinds = signature.inputs.iter().map(|port| kind_of(port.element)).collect::<Vec<_>>();
    if let Some(columns) = &options.input_columns {
        let fits = match signature.inputs.as_slice() {
            [Port { shape: Shape::Matrix(width), .. }] => {
                width.is_none_or(|width| width == columns.len())
            }
            _ => false,
        };
        if !fits {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "input_cols does not fit the inputs of the ONNX model",
            )
            .with_detail(format!("It takes {}.", told(&signature.inputs)))
            .with_hint("input_cols names the columns of one input of rows by columns; other inputs are columns of the same name."));
        }
        kinds = vec![kinds[0]; columns.len()];
        names.clone_from(columns);
    }
    let remark = format!(
        "it takes {}, and gives {}",
        match &options.input_columns {
            Some(columns) => format!("columns {}", columns.join(", ")),
            None => told(&signature.inputs),
        },
        told(&signature.outputs)
    );
    let facts = names.iter().map(|name| FeatureFacts {
        name: name.clone(),
        min: None,
        max: None,
        mean: None,
        stddev: None,
        n_null: 0,
        n_categories: None,
    });
    let leaves =
        names.iter().map(|name| (name.clone(), format!("\"{}\"", name.replace('"', "\"\""))));
    let manifest = Manifest {
        model_type: "onnx".to_owned(),
        label_type: LabelType::Text,
        leaves: leaves.collect(),
        options: options.shown.clone(),
        converged: true,
        features: facts.collect(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        remarks: vec![remark],
        sources: vec![options.path.clone()],
        ..Manifest::default()
    };
    let artifact = Artifact {
        model_type: "onnx".to_owned(),
        problem: Problem::Imported,
        label: None,
        classes: Vec::new(),
        pipeline: Pipeline {
            inputs: names.iter().cloned().zip(kinds).collect(),
            outputs: Vec::new(),
            features: Features::default(),
        },
        features: names,
        model: Model::Imported(Imported {
            file: file.to_vec(),
            provider: options.provider.clone(),
            signature,
            spread: options.input_columns.is_some(),
        }),
        threshold: 0.5,
    };
    Ok(Trained { artifact, manifest })
}

fn kind_of(element: Element) -> Kind {
    match element {
        Element::Text => Kind::Text,
        _ => Kind::Number,
    }
}

fn told(ports: &[Port]) -> String {
    let one = |port: &Port| {
        let what = port.element.sql();
        let what = match port.shape {
            _ if port.is_single() => what.to_owned(),
            Shape::Matrix(Some(width)) => format!("array of {width} {what}"),
            Shape::Maps => format!("list of {what} and real"),
            _ => format!("array of {what}"),
        };
        format!("\"{}\" ({what})", port.name)
    };
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn data_type(element: Element) -> DataType {
    match element {
        Element::Float => DataType::Float32,
        Element::Double => DataType::Float64,
        Element::Int => DataType::Int32,
        Element::Long => DataType::Int64,
        Element::Bool => DataType::Boolean,
        Element::Text => DataType::Utf8,
    }
}

fn map_fields(label: Element) -> Fields {
    vec![Field::new("label", data_type(label), true), Field::new("prob", DataType::Float32, true)]
        .into()
}

fn output_type(port: &Port) -> DataType {
    match port.shape {
        _ if port.is_single() => data_type(port.element),
        Shape::Maps => crate::score::list_of(map_fields(port.element)),
        _ => DataType::List(Arc::new(Field::new_list_field(data_type(port.element), true))),
    }
}

/// Returns the columns that a model gives.
pub(crate) fn fields(imported: &Imported) -> Fields {
    let outputs = imported.signature.outputs.iter();
    outputs.map(|port| Field::new(&port.name, output_type(port), true)).collect::<Vec<_>>().into()
}

fn takes(element: Element, given: &DataType) -> bool {
    match given {
        DataType::Null => true,
        DataType::Dictionary(_, values) => takes(element, values),
        _ => match element {
            Element::Text => given.is_string(),
            Element::Bool => *given == DataType::Boolean,
            Element::Int | Element::Long => given.is_integer() || *given == DataType::Boolean,
            Element::Float | Element::Double => given.is_numeric() || *given == DataType::Boolean,
        },
    }
}

/// Returns the type of a column that the model takes, by its number; `None` if it is an array.
pub fn input_type(imported: &Imported, column: usize) -> Option<DataType> {
    let port = imported.signature.inputs.get(if imported.spread { 0 } else { column })?;
    (imported.spread || port.is_single()).then(|| data_type(port.element))
}

/// # Errors
/// 42804 for a column of another type than the model takes.
pub(crate) fn check_types(
    imported: &Imported,
    inputs: &[(String, Kind)],
    types: &[DataType],
) -> Result<()> {
    for (index, ((name, _), given)) in inputs.iter().zip(types).enumerate() {
        let Some(port) = imported.signature.inputs.get(if imported.spread { 0 } else { index })
        else {
            return Err(Error::internal("an imported model has another number of inputs"));
        };
        let single = imported.spread || port.is_single();
        let fits = match given {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                !single && takes(port.element, item.data_type())
            }
            _ => single && takes(port.element, given),
        };
        if !fits {
            let wanted = if single {
                port.element.sql().to_owned()
            } else {
                told(std::slice::from_ref(port))
            };
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("column \"{name}\" is {given}, the model takes {wanted}"),
            )
            .with_hint("Cast it in the query: CAST(column AS type)."));
        }
    }
    Ok(())
}

/// One input: columns that hold its values, without NULLs but in floating-point numbers.
struct Input {
    columns: Vec<ArrayRef>,
}

/// Casts the columns of an input; marks rows that cannot be asked about.
fn read(port: &Port, arrays: &[ArrayRef], single: bool, asked: &mut [bool]) -> Result<Input> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let to = match single {
        true => data_type(port.element),
        false => DataType::List(Arc::new(Field::new_list_field(data_type(port.element), true))),
    };
    let floats = matches!(port.element, Element::Float | Element::Double);
    let mut columns = Vec::with_capacity(arrays.len());
    for array in arrays {
        let column = cast_with_options(array, &to, &options).map_err(|error| {
            Error::new(
                ErrorKind::OutOfRange,
                format!("input \"{}\" of the ONNX model cannot take a value", port.name),
            )
            .with_detail(error.to_string())
        })?;
        if column.null_count() > 0 && !(floats && single) {
            for (row, asked) in asked.iter_mut().enumerate() {
                *asked &= column.is_valid(row);
            }
        }
        if !single && !floats {
            let lists = column.as_list::<i32>();
            for (row, asked) in asked.iter_mut().enumerate() {
                *asked &= lists.is_null(row) || lists.value(row).null_count() == 0;
            }
        }
        columns.push(column);
    }
    Ok(Input { columns })
}

fn gather<T: Clone>(columns: &[Vec<T>], n_rows: usize) -> Vec<T> {
    match columns {
        [one] => one.clone(),
        _ => (0..n_rows)
            .flat_map(|row| columns.iter().map(move |column| column[row].clone()))
            .collect(),
    }
}

impl Input {
    fn select(&self, rows: &UInt64Array) -> Result<Self> {
        let columns = self.columns.iter().map(|column| take(column, rows, None));
        Ok(Self { columns: columns.collect::<std::result::Result<_, _>>().map_err(unfit)? })
    }

    /// Returns the values of some rows, row by row.
    fn values(&self, port: &Port, start: usize, n_rows: usize) -> Result<Values> {
        let mut flat = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let column = column.slice(start, n_rows);
            flat.push(match column.data_type() {
                DataType::List(_) => {
                    let lists = column.as_list::<i32>();
                    let lengths = lists.offsets().lengths().collect::<Vec<_>>();
                    let width = match port.shape {
                        Shape::Matrix(Some(width)) => width,
                        _ => lengths.first().copied().unwrap_or(0),
                    };
                    if let Some(off) = lengths.iter().find(|length| **length != width) {
                        return Err(Error::new(
                            ErrorKind::InvalidParameter,
                            format!(
                                "input \"{}\" of the ONNX model takes arrays of {width} values",
                                port.name
                            ),
                        )
                        .with_detail(format!("A row has {off}.")));
                    }
                    let (first, last) = (lists.value_offsets()[0], lists.value_offsets()[n_rows]);
                    lists.values().slice(first as usize, (last - first) as usize)
                }
                _ => column,
            });
        }
        macro_rules! numbers {
            ($type:ty, $missing:expr) => {
                flat.iter()
                    .map(|column| {
                        let column = column.as_primitive::<$type>();
                        match column.null_count() {
                            0 => column.values().to_vec(),
                            _ => column.iter().map(|value| value.unwrap_or($missing)).collect(),
                        }
                    })
                    .collect::<Vec<_>>()
            };
        }
        // An array of a row lies together already: one column, whatever its width.
        let n = flat.first().map_or(0, |column| column.len());
        Ok(match port.element {
            Element::Float => Values::Floats(gather(&numbers!(Float32Type, f32::NAN), n)),
            Element::Double => Values::Doubles(gather(&numbers!(Float64Type, f64::NAN), n)),
            Element::Int => Values::Ints(gather(&numbers!(Int32Type, 0), n)),
            Element::Long => Values::Longs(gather(&numbers!(Int64Type, 0), n)),
            Element::Bool => {
                let columns = flat.iter().map(|column| {
                    column.as_boolean().iter().map(|value| value.unwrap_or(false)).collect()
                });
                Values::Bools(gather(&columns.collect::<Vec<_>>(), n))
            }
            Element::Text => {
                let columns = flat.iter().map(|column| {
                    let texts = column.as_string::<i32>().iter();
                    texts.map(|text| text.unwrap_or_default().to_owned()).collect()
                });
                Values::Texts(gather(&columns.collect::<Vec<_>>(), n))
            }
        })
    }
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::internal("columns of an imported model do not fit together").with_cause(error)
}

/// Makes an array of what a model says; NaN is NULL.
fn array(values: Values) -> Result<ArrayRef> {
    Ok(match values {
        Values::Floats(values) => Arc::new(Float32Array::from_iter(
            values.into_iter().map(|v| (!v.is_nan()).then_some(v)),
        )),
        Values::Doubles(values) => Arc::new(Float64Array::from_iter(
            values.into_iter().map(|v| (!v.is_nan()).then_some(v)),
        )),
        Values::Ints(values) => Arc::new(Int32Array::from(values)),
        Values::Longs(values) => Arc::new(Int64Array::from(values)),
        Values::Bools(values) => Arc::new(BooleanArray::from(values)),
        Values::Texts(values) => Arc::new(StringArray::from(values)),
        Values::Maps(_) => return Err(Error::internal("a map is no column of its own")),
    })
}

fn output(port: &Port, values: Values, width: usize, n_rows: usize) -> Result<ArrayRef> {
    if let Values::Maps(rows) = values {
        let offsets = OffsetBuffer::<i32>::from_lengths(rows.iter().map(Vec::len));
        let names = rows.iter().flatten().map(|(name, _)| name.as_str());
        let names: ArrayRef = Arc::new(StringArray::from(names.collect::<Vec<_>>()));
        let names = arrow::compute::cast(&names, &data_type(port.element)).map_err(unfit)?;
        let numbers = rows.iter().flatten().map(|(_, v)| *v).collect::<Vec<_>>();
        let numbers = Float32Array::from(numbers);
        let fields = map_fields(port.element);
        let items = StructArray::try_new(fields.clone(), vec![names, Arc::new(numbers)], None)
            .map_err(unfit)?;
        let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
        return Ok(Arc::new(
            ListArray::try_new(item, offsets, Arc::new(items), None).map_err(unfit)?,
        ));
    }
    let values = array(values)?;
    if port.is_single() {
        return Ok(values);
    }
    let item = Arc::new(Field::new_list_field(data_type(port.element), true));
    let offsets = OffsetBuffer::<i32>::from_lengths(std::iter::repeat_n(width, n_rows));
    Ok(Arc::new(ListArray::try_new(item, offsets, values, None).map_err(unfit)?))
}

/// Says what an imported model makes of rows. NULL is NaN to inputs of floating-point numbers; a row with NULL in another
/// input is not asked about, all its outputs are NULL.
pub(crate) fn predict(
    version: &Version,
    imported: &Imported,
    arrays: &[ArrayRef],
    n_rows: usize,
) -> Result<Vec<ArrayRef>> {
    let runtime = version
        .runtime
        .as_ref()
        .ok_or_else(|| Error::internal("an imported model has no runtime"))?;
    let ports = &imported.signature.inputs;
    let mut asked = vec![true; n_rows];
    let mut inputs = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let own = match imported.spread {
            true => arrays,
            false => arrays.get(index..=index).unwrap_or_default(),
        };
        let single = imported.spread || port.is_single();
        inputs.push(read(port, own, single, &mut asked)?);
    }
    let all = asked.iter().all(|asked| *asked);
    if !all {
        let rows = (0..n_rows as u64).filter(|row| asked[*row as usize]);
        let rows = UInt64Array::from_iter_values(rows);
        for input in &mut inputs {
            *input = input.select(&rows)?;
        }
    }
    let n_asked = asked.iter().filter(|asked| **asked).count();
    let at_once = if imported.signature.one_row { 1 } else { n_asked.max(1) };
    let outputs = &imported.signature.outputs;
    let mut parts = vec![Vec::<ArrayRef>::new(); outputs.len()];
    for start in (0..n_asked).step_by(at_once) {
        let n = at_once.min(n_asked - start);
        let values = inputs.iter().zip(ports).map(|(input, port)| input.values(port, start, n));
        let values = values.collect::<Result<Vec<_>>>()?;
        let given = runtime.run(&imported.signature, values, n)?;
        for ((part, port), (values, width)) in parts.iter_mut().zip(outputs).zip(given) {
            part.push(output(port, values, width, n)?);
        }
    }
    // Rows that were not asked about are taken from nowhere.
    let mut next = 0;
    let places = (!all).then(|| {
        UInt64Array::from_iter(asked.iter().map(|asked| {
            asked.then(|| {
                next += 1;
                next - 1
            })
        }))
    });
    let mut columns = Vec::with_capacity(outputs.len());
    for (part, port) in parts.iter().zip(outputs) {
        let part = part.iter().map(|array| array.as_ref()).collect::<Vec<&dyn Array>>();
        let whole = match part.is_empty() {
            true => arrow::array::new_null_array(&output_type(port), usize::from(n_rows > 0)),
            false => concat(&part).map_err(unfit)?,
        };
        columns.push(match &places {
            Some(places) => take(&whole, places, None).map_err(unfit)?,
            None => whole,
        });
    }
    Ok(columns)
}
