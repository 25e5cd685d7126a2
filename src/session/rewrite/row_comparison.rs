//! `(a, b) = (c, d)`, `(a, b) < (c, d)`, `(a, b) IN ((c, d), …)`: the planner compares rows as values, of which NULL is one.
//!
//! In PostgreSQL rows are compared from left to right, part by part, and a NULL that is met makes the answer unknown.

use maru_sql::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator,
};

/// Compares the parts of rows. Rows of different lengths stay, for the planner to refuse.
pub(super) fn expression(expr: &mut Expr) -> maru_core::Result<()> {
    let compared = match expr {
        Expr::BinaryOp { left, op, right } => match (parts(left), parts(right)) {
            (Some(left), Some(right)) if left.len() == right.len() => compared(&left, op, &right),
            _ => None,
        },
        Expr::InList { expr: row, list, negated } => among(row, list, *negated),
        _ => None,
    };
    if let Some(compared) = compared {
        *expr = compared;
    }
    Ok(())
}

/// Returns the parts of a row: `(a, b)` or `ROW(a, b)`.
fn parts(expr: &Expr) -> Option<Vec<Expr>> {
    let parts = match expr {
        Expr::Nested(inner) => return parts(inner),
        Expr::Tuple(parts) => parts.clone(),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let FunctionArguments::List(list) = &function.args else { return None };
            let part = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            list.args.iter().map(part).collect::<Option<Vec<_>>>()?
        }
        _ => return None,
    };
    (!parts.is_empty()).then_some(parts)
}

fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    let pairs = || left.iter().zip(right);
    let each =
        |op: &BinaryOperator, (a, b): (&Expr, &Expr)| binary(nested(a), op.clone(), nested(b));
    match op {
        Eq => pairs().map(|pair| each(&Eq, pair)).reduce(|all, one| binary(all, And, one)),
        NotEq => pairs().map(|pair| each(&NotEq, pair)).reduce(|all, one| binary(all, Or, one)),
        Lt | LtEq | Gt | GtEq => {
            let strict = if matches!(op, Lt | LtEq) { Lt } else { Gt };
            // The last parts decide if all before are equal.
            let mut pairs = pairs().rev();
            let last = each(op, pairs.next()?);
            Some(pairs.fold(last, |rest, pair| {
                let equal = binary(each(&Eq, pair), And, rest);
                binary(each(&strict, pair), Or, equal)
            }))
        }
        _ => None,
    }
}

fn among(row: &Expr, list: &[Expr], negated: bool) -> Option<Expr> {
    let row = parts(row)?;
    let mut equal = Vec::with_capacity(list.len());
    for one in list {
        let one = parts(one).filter(|one| one.len() == row.len())?;
        equal.push(compared(&row, &BinaryOperator::Eq, &one)?);
    }
    let any = balanced(equal)?;
    Some(match negated {
        true => nested(&Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) }),
        false => any,
    })
}

/// Joins conditions by OR, in a tree that is no deeper than it must be: lists are long.
fn balanced(mut conditions: Vec<Expr>) -> Option<Expr> {
    if conditions.len() <= 1 {
        return conditions.pop();
    }
    let rest = conditions.split_off(conditions.len() / 2);
    Some(binary(balanced(conditions)?, BinaryOperator::Or, balanced(rest)?))
}

fn nested(expr: &Expr) -> Expr {
    match expr {
        Expr::Nested(_) => expr.clone(),
        other => Expr::Nested(Box::new(other.clone())),
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }))
}
