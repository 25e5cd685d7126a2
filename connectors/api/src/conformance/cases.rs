//! The predicates a table is asked: made from its own values, and from values close to them.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use maru_core::Result;

use crate::{CompareOp, Predicate};

/// Values of one column that predicates are made of.
const VALUES_MAX: usize = 4;

const OPS: [CompareOp; 6] = [
    CompareOp::Eq,
    CompareOp::NotEq,
    CompareOp::Lt,
    CompareOp::LtEq,
    CompareOp::Gt,
    CompareOp::GtEq,
];

/// Returns predicates about every column of `whole` that has comparable values.
pub(super) fn predicates(whole: &RecordBatch) -> Result<Vec<Predicate>> {
    let mut all = Vec::new();
    // One condition of each column, to be combined with those of others.
    let mut one_each: Vec<Predicate> = Vec::new();
    for (column, field) in whole.schema().fields().iter().enumerate() {
        for negated in [false, true] {
            all.push(Predicate::IsNull { column, negated });
        }
        if field.data_type().is_nested() {
            continue;
        }
        let values = values(whole, column)?;
        let Some(first) = values.first() else { continue };
        for value in &values {
            for op in OPS {
                let compare = Predicate::Compare { column, op, value: value.clone() };
                all.push(Predicate::Not(Box::new(compare.clone())));
                all.push(compare);
            }
        }
        for negated in [false, true] {
            for values in [&values[..1], &values[..]] {
                let values = values.to_vec();
                all.push(Predicate::Not(Box::new(Predicate::In {
                    column,
                    values: values.clone(),
                    negated,
                })));
                all.push(Predicate::In { column, values, negated });
            }
            for pattern in patterns(first) {
                all.push(Predicate::Like { column, pattern, negated });
            }
        }
        one_each.push(Predicate::Compare { column, op: CompareOp::LtEq, value: first.clone() });
    }
    for pair in one_each.windows(2) {
        let unknown = Predicate::IsNull { column: pair[1].columns()[0], negated: false };
        let or = Predicate::Or(pair.to_vec());
        all.push(Predicate::Not(Box::new(or.clone())));
        all.push(Predicate::Not(Box::new(Predicate::And(pair.to_vec()))));
        all.push(Predicate::And(vec![Predicate::Or(vec![unknown, pair[0].clone()]), or]));
    }
    Ok(all)
}

/// Returns some values of the column that are not NULL; of texts also some that a lax collation takes for equal.
fn values(whole: &RecordBatch, column: usize) -> Result<Vec<ScalarValue>> {
    let array = whole.column(column);
    let mut values: Vec<ScalarValue> = Vec::new();
    for row in 0..array.len() {
        let value = ScalarValue::try_from_array(array, row)?;
        if !value.is_null() && !values.contains(&value) {
            values.push(value);
        }
        if values.len() == VALUES_MAX {
            break;
        }
    }
    if let Some(text) = values.iter().filter_map(text_of).find(|text| !text.is_empty()) {
        let text = text.to_owned();
        let near =
            [text.to_uppercase(), text.to_lowercase(), format!("{text} "), "it's \\ 힣".into()];
        for near in near {
            values.push(ScalarValue::Utf8(Some(near)).cast_to(array.data_type())?);
        }
    }
    Ok(values)
}

fn text_of(value: &ScalarValue) -> Option<&str> {
    match value.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => value.try_as_str().flatten(),
        _ => None,
    }
}

/// Returns `LIKE` patterns around a text; none for other values.
fn patterns(value: &ScalarValue) -> Vec<String> {
    let Some(text) = text_of(value) else { return Vec::new() };
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let start = text.chars().next().filter(|c| c.is_alphanumeric()).unwrap_or('_');
    vec![
        format!("{start}%"),
        format!("{}%", start.to_uppercase()),
        format!("%{escaped}"),
        format!("_{}", "%"),
        "%\\_%".to_owned(),
        String::new(),
        "%".to_owned(),
        escaped,
    ]
}
