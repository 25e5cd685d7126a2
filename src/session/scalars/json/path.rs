//! Paths of SQL/JSON: `jsonb_path_exists`, `jsonb_path_match`, `jsonb_path_query_array`, `jsonb_path_query_first`, `@?`, `@@`.
//!
//! A path is read once for as many rows as it is the same. Source: PostgreSQL 15, section 9.16.2; `jsonpath_exec.c`.

mod eval;
mod number;
mod parse;
mod tokens;

use std::cell::RefCell;
use std::rc::Rc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

use self::eval::Evaluation;
use self::parse::Path;
use super::super::{Kind as Takes, Row, RowFunction, invalid};
use super::{Gives, Json, jsonb, list_of, text_list};

const BY_PATH: RowFunction = RowFunction {
    forms: &[
        &[Takes::Text, Takes::Text],
        &[Takes::Text, Takes::Text, Takes::Text],
        &[Takes::Text, Takes::Text, Takes::Text, Takes::Truth],
    ],
    ..RowFunction::BASE
};
const OPERATOR: RowFunction = RowFunction {
    forms: &[&[Takes::Text, Takes::Text]],
    returns: |_| DataType::Boolean,
    ..RowFunction::BASE
};

pub(in crate::session::scalars) const FUNCTIONS: &[RowFunction] = &[
    RowFunction {
        name: "jsonb_path_exists",
        returns: |_| DataType::Boolean,
        compute: |row| exists(row, row.truth(3, false)),
        syntax: "jsonb_path_exists(jsonb, path [, vars [, silent]])",
        description: "Returns whether a path finds anything.",
        ..BY_PATH
    },
    RowFunction {
        name: "jsonb_path_match",
        returns: |_| DataType::Boolean,
        compute: |row| matches(row, row.truth(3, false)),
        syntax: "jsonb_path_match(jsonb, path [, vars [, silent]])",
        description: "Returns the truth that a path finds.",
        ..BY_PATH
    },
    RowFunction {
        name: "jsonb_path_query_array",
        json: Gives::Jsonb,
        compute: |row| Ok(jsonb(&Json::Array(found(row, row.truth(3, false))?))),
        syntax: "jsonb_path_query_array(jsonb, path [, vars [, silent]])",
        description: "Returns all that a path finds as an array.",
        ..BY_PATH
    },
    RowFunction {
        name: "jsonb_path_query_first",
        json: Gives::Jsonb,
        compute: |row| {
            let first = found(row, row.truth(3, false))?.into_iter().next();
            Ok(first.map_or(ScalarValue::Null, |first| jsonb(&first)))
        },
        syntax: "jsonb_path_query_first(jsonb, path [, vars [, silent]])",
        description: "Returns the first that a path finds, NULL if it finds nothing.",
        ..BY_PATH
    },
    RowFunction {
        name: "jsonb_path_list",
        returns: |_| text_list(),
        compute: |row| {
            let all = found(row, row.truth(3, false))?;
            Ok(list_of(all.iter().map(|value| Some(value.text()))))
        },
        syntax: "jsonb_path_query(jsonb, path [, vars [, silent]])",
        description: "Returns what a path finds, of which jsonb_path_query makes rows.",
        ..BY_PATH
    },
    RowFunction {
        name: "jsonb_path_finds",
        compute: |row| exists(row, true),
        syntax: "jsonb @? path",
        description: "Returns whether a path finds anything, which @? calls.",
        ..OPERATOR
    },
    RowFunction {
        name: "jsonb_path_holds",
        compute: |row| matches(row, true),
        syntax: "jsonb @@ path",
        description: "Returns the truth that a path finds, which @@ calls.",
        ..OPERATOR
    },
];

thread_local! {
    /// The path read last, which most often is that of the next row too.
    static LAST: RefCell<Option<(String, Rc<Path>)>> = const { RefCell::new(None) };
}

fn path_of(written: &str) -> Result<Rc<Path>> {
    LAST.with_borrow_mut(|last| {
        if let Some((known, path)) = last
            && known == written
        {
            return Ok(Rc::clone(path));
        }
        let path = Rc::new(parse::parse(written)?);
        *last = Some((written.to_owned(), Rc::clone(&path)));
        Ok(path)
    })
}

/// Returns what the path of a row finds, and the error that ended the search.
fn search(row: &Row) -> Result<(Vec<Json>, Option<Error>, bool)> {
    let path = path_of(row.text(1))?;
    let vars = match row.values.len() > 2 {
        true => row.json(2)?,
        false => Json::Object(Vec::new()),
    };
    if !matches!(vars, Json::Object(_)) {
        return Err(invalid("\"vars\" argument is not an object").with_detail(
            "Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.",
        ));
    }
    let root = row.json(0)?;
    let mut found = Vec::new();
    let ended = Evaluation::new(&path, &root, &vars).run(&mut found).err();
    Ok((found, ended, !path.strict))
}

/// All that is found; up to an error that is not to be told.
fn found(row: &Row, silent: bool) -> Result<Vec<Json>> {
    match search(row)? {
        (_, Some(error), _) if !(silent && may_be_silent(&error)) => Err(error),
        (found, ..) => Ok(found),
    }
}

/// Missing keys and elements, wrong types and numbers; not a variable that is missing, nor what is not supported.
fn may_be_silent(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::UndefinedObject | ErrorKind::Unsupported | ErrorKind::LimitExceeded
    )
}

/// In lax mode the first that is found is enough.
fn exists(row: &Row, silent: bool) -> Result<ScalarValue> {
    match search(row)? {
        (found, ended, lax) if ended.is_none() || (lax && !found.is_empty()) => {
            Ok(ScalarValue::Boolean(Some(!found.is_empty())))
        }
        (_, Some(error), _) if !(silent && may_be_silent(&error)) => Err(error),
        _ => Ok(ScalarValue::Null),
    }
}

fn matches(row: &Row, silent: bool) -> Result<ScalarValue> {
    match found(row, silent)?.as_slice() {
        [Json::Boolean(truth)] => Ok(ScalarValue::Boolean(Some(*truth))),
        [Json::Null] => Ok(ScalarValue::Null),
        _ if silent => Ok(ScalarValue::Null),
        _ => Err(Error::new(ErrorKind::JsonSingleton, "single boolean result is expected")),
    }
}
