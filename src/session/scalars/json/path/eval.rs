//! Paths of SQL/JSON followed through a value.
//!
//! In lax mode arrays are opened and values taken for arrays where a step needs it, and what is missing is left out; in strict mode
//! all that is an error. Conditions know a third answer beside true and false.

use std::cmp::Ordering;
use std::str::FromStr;

use bigdecimal::{BigDecimal, RoundingMode};
use maru_core::{Error, ErrorKind, Result};

use super::super::Json;
use super::super::read::Kind;
use super::number::{calculate, decimal, number_of};
use super::parse::{Comparison, Method, Node, Path, Step};

/// One walk.
pub(super) struct Evaluation<'a> {
    path: &'a Path,
    root: &'a Json,
    vars: &'a Json,
}

/// What a part stands in.
#[derive(Clone, Copy)]
struct Place<'a> {
    current: &'a Json,
    /// The last element of the array that is subscripted.
    last: Option<i64>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(path: &'a Path, root: &'a Json, vars: &'a Json) -> Self {
        Self { path, root, vars }
    }

    /// # Errors
    /// 2203A, 22033, 22038, 22039, 2203B, 2203C and 22012 for what is not there or of another type, 42704 for a variable that is not
    /// given.
    /// What was found before an error is in `out` all the same.
    pub(super) fn run(&self, out: &mut Vec<Json>) -> Result<()> {
        self.find(&self.path.root, Place { current: self.root, last: None }, out)
    }

    /// Follows each value to the end of the path before the next one.
    fn find(&self, node: &Node, place: Place, out: &mut Vec<Json>) -> Result<()> {
        let Node::Steps(start, steps) = node else {
            out.extend(self.values(node, place)?);
            return Ok(());
        };
        let starts = self.values(start, place)?;
        starts.iter().try_for_each(|value| self.follow(steps, value, place, out))
    }

    fn follow(
        &self,
        steps: &[Step],
        value: &Json,
        place: Place,
        out: &mut Vec<Json>,
    ) -> Result<()> {
        let Some((step, rest)) = steps.split_first() else {
            out.push(value.clone());
            return Ok(());
        };
        let mut next = Vec::new();
        let stepped = self.step(step, value, place, self.lax(), &mut next);
        next.iter().try_for_each(|value| self.follow(rest, value, place, out))?;
        stepped
    }

    fn lax(&self) -> bool {
        !self.path.strict
    }

    fn values(&self, node: &Node, place: Place) -> Result<Vec<Json>> {
        Ok(match node {
            Node::Root => vec![self.root.clone()],
            Node::Current => vec![place.current.clone()],
            Node::Last => {
                let last = place.last.ok_or_else(|| Error::internal("last stands nowhere"))?;
                vec![Json::Number(last.to_string())]
            }
            Node::Variable(name) => vec![self.variable(name)?],
            Node::Literal(value) => vec![value.clone()],
            Node::Steps(..) => {
                let mut found = Vec::new();
                self.find(node, place, &mut found)?;
                found
            }
            Node::Sign { negative, of } => {
                let sign = |value: Json| match value {
                    Json::Number(number) if *negative => number_of(-decimal(&number)?),
                    Json::Number(number) => Ok(Json::Number(number)),
                    _ => Err(Error::new(
                        ErrorKind::JsonNumber,
                        "operand of unary jsonpath operator is not a numeric value",
                    )),
                };
                self.opened(of, place)?.into_iter().map(sign).collect::<Result<_>>()?
            }
            Node::Sum(operation, left, right) => {
                let left = self.operand(left, place, "left")?;
                let right = self.operand(right, place, "right")?;
                vec![calculate(*operation, &left, &right)?]
            }
            predicate => {
                vec![self.truth(predicate, place)?.map_or(Json::Null, Json::Boolean)]
            }
        })
    }

    fn variable(&self, name: &str) -> Result<Json> {
        self.vars.get(name).cloned().ok_or_else(|| {
            let what = format!("could not find jsonpath variable \"{name}\"");
            Error::new(ErrorKind::UndefinedObject, what)
        })
    }

    /// The values, of arrays their elements in lax mode.
    fn opened(&self, node: &Node, place: Place) -> Result<Vec<Json>> {
        let values = self.values(node, place)?;
        if !self.lax() {
            return Ok(values);
        }
        let open = |value| match value {
            Json::Array(items) => items,
            other => vec![other],
        };
        Ok(values.into_iter().flat_map(open).collect())
    }

    fn operand(&self, node: &Node, place: Place, side: &str) -> Result<BigDecimal> {
        match self.opened(node, place)?.as_slice() {
            [Json::Number(number)] => decimal(number),
            _ => Err(Error::new(
                ErrorKind::JsonSingleton,
                format!("{side} operand of a jsonpath operator is not a single numeric value"),
            )),
        }
    }

    /// `opens`: whether an array may be taken for its elements.
    fn step(
        &self,
        step: &Step,
        value: &Json,
        place: Place,
        opens: bool,
        out: &mut Vec<Json>,
    ) -> Result<()> {
        let opens_here = match step {
            Step::Key(_) | Step::AnyKey | Step::Filter(_) => true,
            Step::Method(method) => !matches!(method, Method::Type | Method::Size),
            _ => false,
        };
        if let (Json::Array(items), true) = (value, opens && opens_here) {
            return items.iter().try_for_each(|item| self.step(step, item, place, false, out));
        }
        match step {
            Step::Key(key) => match (value, value.get(key)) {
                (_, Some(found)) => out.push(found.clone()),
                (Json::Object(_), None) if !self.lax() => {
                    let what = format!("JSON object does not contain key \"{key}\"");
                    return Err(Error::new(ErrorKind::JsonMember, what));
                }
                (_, None) if self.lax() => {}
                _ => {
                    let what = "jsonpath member accessor can only be applied to an object";
                    return Err(Error::new(ErrorKind::JsonMember, what));
                }
            },
            Step::AnyKey => match value {
                Json::Object(members) => out.extend(members.iter().map(|(_, v)| v.clone())),
                _ if self.lax() => {}
                _ => {
                    let what = "jsonpath wildcard member accessor can only be applied to an object";
                    return Err(Error::new(ErrorKind::JsonObject, what));
                }
            },
            Step::AnyElement => match value {
                Json::Array(items) => out.extend(items.iter().cloned()),
                other if self.lax() => out.push(other.clone()),
                _ => {
                    let what = "jsonpath wildcard array accessor can only be applied to an array";
                    return Err(Error::new(ErrorKind::JsonArray, what));
                }
            },
            Step::Elements(subscripts) => self.elements(subscripts, value, place, out)?,
            Step::Levels(from, to) => levels(value, 0, (*from, *to), out),
            Step::Filter(condition) => {
                let place = Place { current: value, ..place };
                if self.truth(condition, place)? == Some(true) {
                    out.push(value.clone());
                }
            }
            Step::Method(method) => self.method(*method, value, out)?,
        }
        Ok(())
    }

    fn elements(
        &self,
        subscripts: &[(Node, Option<Node>)],
        value: &Json,
        place: Place,
        out: &mut Vec<Json>,
    ) -> Result<()> {
        let items = match value {
            Json::Array(items) => items.as_slice(),
            other if self.lax() => std::slice::from_ref(other),
            _ => {
                let what = "jsonpath array accessor can only be applied to an array";
                return Err(Error::new(ErrorKind::JsonArray, what));
            }
        };
        let length = items.len() as i64;
        let place = Place { last: Some(length - 1), ..place };
        for (from, to) in subscripts {
            let from = self.index(from, place)?;
            let to = match to {
                Some(to) => self.index(to, place)?,
                None => from,
            };
            if !self.lax() && (from < 0 || from > to || to >= length) {
                let what = "jsonpath array subscript is out of bounds";
                return Err(Error::new(ErrorKind::JsonSubscript, what));
            }
            for at in from.max(0)..=to.min(length - 1) {
                out.push(items[at as usize].clone());
            }
        }
        Ok(())
    }

    fn index(&self, node: &Node, place: Place) -> Result<i64> {
        let wrong = |what: &str| Error::new(ErrorKind::JsonSubscript, what);
        match self.values(node, place)?.as_slice() {
            [Json::Number(number)] => {
                let whole = decimal(number)?.with_scale_round(0, RoundingMode::Down);
                let whole = i32::from_str(&whole.to_plain_string());
                let whole =
                    whole.map_err(|_| wrong("jsonpath array subscript is out of integer range"))?;
                Ok(i64::from(whole))
            }
            _ => Err(wrong("jsonpath array subscript is not a single numeric value")),
        }
    }

    fn method(&self, method: Method, value: &Json, out: &mut Vec<Json>) -> Result<()> {
        let no_number = |name: &str| {
            let what =
                format!("jsonpath item method .{name}() can only be applied to a numeric value");
            Error::new(ErrorKind::JsonNumber, what)
        };
        let of_number = |name: &str| match value {
            Json::Number(number) => decimal(number),
            _ => Err(no_number(name)),
        };
        out.push(match method {
            Method::Type => Json::String(value.kind().name().to_owned()),
            Method::Size => match value {
                Json::Array(items) => Json::Number(items.len().to_string()),
                _ if self.lax() => Json::Number("1".to_owned()),
                _ => {
                    let what = "jsonpath item method .size() can only be applied to an array";
                    return Err(Error::new(ErrorKind::JsonArray, what));
                }
            },
            Method::Double => match value {
                Json::Number(number) if number.parse::<f64>().is_ok_and(f64::is_finite) => {
                    Json::Number(number.clone())
                }
                Json::String(text) => match text.trim().parse::<f64>() {
                    Ok(number) if number.is_finite() => Json::parse(&number.to_string())?,
                    _ => return Err(no_number("double")),
                },
                _ => return Err(no_number("double")),
            },
            Method::Ceiling => {
                number_of(of_number("ceiling")?.with_scale_round(0, RoundingMode::Ceiling))?
            }
            Method::Floor => {
                number_of(of_number("floor")?.with_scale_round(0, RoundingMode::Floor))?
            }
            Method::Abs => number_of(of_number("abs")?.abs())?,
            Method::KeyValue => {
                let Json::Object(_) = value else {
                    let what = "jsonpath item method .keyvalue() can only be applied to an object";
                    return Err(Error::new(ErrorKind::JsonObject, what));
                };
                return Err(Error::unsupported(".keyvalue() is not supported in a path")
                    .with_hint("Use jsonb_each in FROM."));
            }
        });
        Ok(())
    }

    /// `None`: unknown.
    fn truth(&self, node: &Node, place: Place) -> Result<Option<bool>> {
        Ok(match node {
            Node::And(left, right) => match self.truth(left, place)? {
                Some(false) => Some(false),
                left => match self.truth(right, place)? {
                    Some(true) => left,
                    Some(false) => Some(false),
                    None => None,
                },
            },
            Node::Or(left, right) => match self.truth(left, place)? {
                Some(true) => Some(true),
                left => match self.truth(right, place)? {
                    Some(false) => left,
                    Some(true) => Some(true),
                    None => None,
                },
            },
            Node::Not(of) => self.truth(of, place)?.map(|truth| !truth),
            Node::IsUnknown(of) => Some(self.truth(of, place)?.is_none()),
            Node::Exists(of) => {
                let mut found = Vec::new();
                match known(self.find(of, place, &mut found))? {
                    Some(()) => Some(!found.is_empty()),
                    None if self.lax() && !found.is_empty() => Some(true),
                    None => None,
                }
            }
            Node::Compare(comparison, left, right) => {
                let Some(left) = known(self.opened(left, place))? else { return Ok(None) };
                let Some(right) = known(self.opened(right, place))? else { return Ok(None) };
                let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
                self.any(pairs.map(|(a, b)| compare(*comparison, a, b)))?
            }
            Node::StartsWith(of, start) => {
                let Some(of) = known(self.opened(of, place))? else { return Ok(None) };
                let start = self.values(start, place)?;
                self.any(of.iter().map(|value| match (value, start.as_slice()) {
                    (Json::String(text), [Json::String(start)]) => {
                        Ok(Some(text.starts_with(start)))
                    }
                    _ => Ok(None),
                }))?
            }
            Node::Like(of, regex) => {
                let Some(of) = known(self.opened(of, place))? else { return Ok(None) };
                self.any(of.iter().map(|value| match value {
                    Json::String(text) => Ok(Some(regex.is_match(text))),
                    _ => Ok(None),
                }))?
            }
            _ => return Err(Error::internal("a value is no condition")),
        })
    }

    /// Whether one of the answers is true. In strict mode one that is unknown makes all unknown.
    fn any(&self, answers: impl Iterator<Item = Result<Option<bool>>>) -> Result<Option<bool>> {
        let (mut found, mut unknown) = (false, false);
        for answer in answers {
            match answer? {
                Some(true) if self.lax() => return Ok(Some(true)),
                Some(true) => found = true,
                Some(false) => {}
                None if !self.lax() => return Ok(None),
                None => unknown = true,
            }
        }
        Ok(if found {
            Some(true)
        } else if unknown {
            None
        } else {
            Some(false)
        })
    }
}

/// An error in a condition makes it unknown; a variable that is missing stays an error.
fn known<T>(values: Result<T>) -> Result<Option<T>> {
    match values {
        Ok(values) => Ok(Some(values)),
        Err(error) if super::may_be_silent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn levels(value: &Json, level: u32, range: (Option<u32>, Option<u32>), out: &mut Vec<Json>) {
    let children: Vec<&Json> = match value {
        Json::Array(items) => items.iter().collect(),
        Json::Object(members) => members.iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    };
    let is_leaf = value.kind().is_scalar();
    let meant = match range {
        (None, _) => is_leaf,
        (Some(from), None) => level >= from,
        (Some(from), Some(to)) => level >= from && level <= to,
    };
    if meant {
        out.push(value.clone());
    }
    if range.1.is_none_or(|to| level < to) {
        children.into_iter().for_each(|child| levels(child, level + 1, range, out));
    }
}

fn compare(comparison: Comparison, left: &Json, right: &Json) -> Result<Option<bool>> {
    if left.kind() != right.kind() {
        let null = left.kind() == Kind::Null || right.kind() == Kind::Null;
        return Ok(null.then_some(comparison == Comparison::NotEqual));
    }
    let order = match (left, right) {
        (Json::Null, Json::Null) => Ordering::Equal,
        (Json::Boolean(a), Json::Boolean(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => decimal(a)?.cmp(&decimal(b)?),
        (Json::String(a), Json::String(b)) => a.cmp(b),
        _ => return Ok(None),
    };
    Ok(Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }))
}
