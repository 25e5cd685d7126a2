//! `INSERT INTO`, `INSERT OVERWRITE`.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::lit;
use maru_connect::{OMITTED_KEY, Overwritten, WriteMode};
use maru_core::{Error, ErrorKind, Options, Result, did_you_mean};
use maru_sql::ast::{self, Value};
use maru_sql::{Insert, OnConflict};

use super::computed::Rows;
use super::copied::Written;
use super::node::{Writing, node, telling};
use super::target::{Target, find};
use super::update::{masked, noted};
use super::{Outcome, assign, kept, literals};
use crate::access::{Command, Privilege};
use crate::session::Session;

impl Session {
    /// `copied` says that the rows are those of files alone (`COPY … FROM`), whose texts are read by the types of the table.
    pub(super) async fn plan_insert(
        self: &Arc<Self>,
        insert: Insert,
        copied: bool,
    ) -> Result<Outcome> {
        let target = find(self, &insert.table, "insert into").await?;
        let schema = target.columns();
        let parts = insert.partition.iter().map(|(name, _)| name);
        let given = insert.columns.iter().chain(parts);
        target.require_shown(&self.rights(), Privilege::Insert, given)?;
        let fixed = fixed_values(&target, &schema, &insert.partition)?;
        let is_fixed = |name: &str| fixed.iter().any(|(fixed, _)| fixed == name);
        let mut source = insert.source;
        let named = !insert.columns.is_empty();
        let mut names = match named {
            true => insert.columns,
            false => {
                let all = schema.fields().iter().map(|field| field.name().clone());
                all.filter(|name| !is_fixed(name)).collect()
            }
        };
        let keeps = target.keeps_what_is_given();
        // Of a row without a value comes one column, which stands for none.
        let stand_in = schema.fields().first().filter(|_| {
            target.attached.connector == "postgres"
                && literals::is_nothing(&source, names.len(), named)
        });
        match stand_in {
            Some(field) => {
                fields_of(&target, &schema, &names)?;
                let object = target.object();
                if self.rights().write_policies(&object, Command::Insert).is_some() {
                    return Err(Error::unsupported(format!(
                        "policies of {object} look at new rows, and its system alone knows the defaults of its columns"
                    ))
                    .with_hint("Write the values."));
                }
                names = vec![field.name().clone()];
                literals::leave_one_null(&mut source);
            }
            None if !keeps => literals::leave_out_defaults(&mut source, &mut names)?,
            None => {}
        }
        let columns = fields_of(&target, &schema, &names)?;
        if keeps {
            kept::write_defaults(&mut source, &target, &columns)?;
        }
        if let Some(twice) = names.iter().find(|name| is_fixed(name)) {
            return Err(specified_twice(twice));
        }
        literals::settle(&mut source, &columns);
        let plan = self.plan_source(source).await?;
        let n_given = plan.schema().fields().len();
        let texts = if copied { Written::of(&plan) } else { None };
        if let Some(texts) = texts {
            texts.check_width(n_given, &columns)?;
        }
        let columns = match n_given.cmp(&columns.len()) {
            std::cmp::Ordering::Greater => {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    "INSERT has more expressions than target columns",
                ));
            }
            std::cmp::Ordering::Less if named => {
                return Err(Error::new(
                    ErrorKind::Syntax,
                    "INSERT has more target columns than expressions",
                ));
            }
            // As in PostgreSQL, the others get their defaults.
            _ => columns.into_iter().take(n_given).collect::<Vec<_>>(),
        };
        let mut written = columns.clone();
        if stand_in.is_some() {
            written.iter_mut().for_each(|field| *field = noted(field, OMITTED_KEY));
        }
        let mut more = Vec::new();
        for (name, value) in &fixed {
            let field = schema.field_with_name(name)?;
            written.push(Arc::new(field.clone()));
            more.push(lit(value.clone()).alias(name));
        }
        let names = written.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let rights = self.rights();
        let asked: &[String] = if stand_in.is_some() { &[] } else { &names };
        target.require_privilege(&rights, Privilege::Insert, asked)?;
        let mode = match (insert.overwrite, insert.on_conflict) {
            (true, _) => {
                target.require(&rights, Privilege::Delete, &[])?;
                WriteMode::Overwrite(match insert.partition.is_empty() {
                    true => Overwritten::Table,
                    false => {
                        let dynamic = insert.partition.iter().any(|(_, value)| value.is_none());
                        Overwritten::Partitions { fixed, dynamic }
                    }
                })
            }
            // Without keys nothing conflicts.
            (false, Some(conflict)) if conflict.keys.is_empty() && target.keeps_what_is_given() => {
                WriteMode::Append
            }
            (false, Some(conflict)) => {
                let set = conflict.computed.iter().map(|(name, _)| name);
                let set = set.chain(&conflict.replaced).cloned().collect::<Vec<_>>();
                target.require(&rights, Privilege::Update, &set)?;
                let (mode, read) = upsert(conflict, &names, &target)?;
                if !read.is_empty() {
                    target.require(&rights, Privilege::Select, &read)?;
                    let object = target.object();
                    // What is computed of a row that is there is computed of what is stored.
                    if rights.policies(&object).is_some() {
                        return Err(masked(&object));
                    }
                }
                mode
            }
            (false, None) => WriteMode::Append,
        };
        let zone = self.setting("timezone").unwrap_or_default();
        let plan = match texts {
            Some(texts) => texts.read(plan, &columns, &zone)?,
            None => plan,
        };
        let plan = assign::assign(plan, &columns, more, &zone)?;
        let (plan, written) = self.completed(&target, plan, written).await?;
        let mut checked = self.check_inserted(&target, plan).await?;
        checked.plan = self.constrained(&target, checked.plan, false).await?;
        let (plan, returned) = match insert.returning {
            None => (checked.plan, None),
            Some(returning) => {
                let (plan, returned) = self.told(&target, checked.plan, returning, None).await?;
                (plan, Some(returned))
            }
        };
        let writing = Writing {
            session: Arc::downgrade(self),
            checks: target.checks(),
            attached: target.attached,
            schema: target.schema,
            table: target.name,
            mode,
            columns: Arc::new(Schema::new(written)),
            options: Options::default(),
            owner: None,
            checked: checked.columns,
        };
        let plan = match returned {
            None => node(plan, writing)?,
            Some(returned) => telling(plan, writing, returned)?,
        };
        Ok(Outcome::Plan(plan, "INSERT 0"))
    }
}

/// Returns the mode, and the columns that are read of rows that are there.
fn upsert(
    conflict: OnConflict,
    names: &[String],
    target: &Target,
) -> Result<(WriteMode, Vec<String>)> {
    let OnConflict { keys, replaced, computed, alias } = conflict;
    for name in keys.iter().chain(&replaced) {
        if !names.contains(name) {
            return Err(Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{name}\" of ON CONFLICT is not among those that are inserted"),
            ));
        }
    }
    let schema = target.columns();
    let mut rows = Rows { alias: &alias, table: &schema, given: names, read: Vec::new() };
    let mut set = replaced.clone();
    let mut made = Vec::with_capacity(computed.len());
    for (name, value) in computed {
        set.push(name.clone());
        let value = rows.computed(&value)?;
        made.push((name, value));
    }
    let read = rows.read;
    fields_of(target, &schema, &set)?;
    Ok((WriteMode::Upsert { keys, replaced, computed: made }, read))
}

/// Finds the columns of the table by their names.
pub(super) fn fields_of(
    target: &Target,
    schema: &Schema,
    names: &[String],
) -> Result<Vec<FieldRef>> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(specified_twice(name));
        }
    }
    names
        .iter()
        .map(|name| {
            let found = schema.fields().iter().find(|field| field.name() == name);
            found.cloned().ok_or_else(|| no_column(target, schema, name))
        })
        .collect()
}

/// Finds the columns that are set to values.
pub(super) fn sets(
    target: &Target,
    given: Vec<(String, ast::Expr)>,
) -> Result<Vec<(FieldRef, ast::Expr)>> {
    let names = given.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let fields = fields_of(target, &target.columns(), &names)?;
    let sets = fields.into_iter().zip(given).map(|(field, (_, value))| {
        let value = literals::without_default(target, &field, value)?;
        Ok((field, value))
    });
    sets.collect()
}

fn specified_twice(name: &str) -> Error {
    Error::new(ErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
}

pub(super) fn no_column(target: &Target, schema: &Schema, name: &str) -> Error {
    let error = Error::new(
        ErrorKind::UndefinedColumn,
        format!("column \"{name}\" of relation \"{}\" does not exist", target.name),
    );
    match did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str())) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error.with_hint(format!("DESCRIBE {} lists its columns.", target.object().name())),
    }
}

/// Reads `PARTITION (column = value, …)`; columns without a value say only that partitions are overwritten.
fn fixed_values(
    target: &Target,
    schema: &Schema,
    partition: &[(String, Option<ast::Expr>)],
) -> Result<Vec<(String, ScalarValue)>> {
    let mut fixed = Vec::new();
    for (name, value) in partition {
        let field = schema.fields().iter().find(|field| field.name() == name);
        let field = field.ok_or_else(|| no_column(target, schema, name))?;
        let Some(value) = value else { continue };
        let text = match value {
            ast::Expr::Value(value) => match &value.value {
                Value::Null => None,
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                    Some(text.clone())
                }
                Value::Number(text, _) => Some(text.clone()),
                Value::Boolean(value) => Some(value.to_string()),
                _ => return Err(no_literal(value)),
            },
            ast::Expr::TypedString(typed) => match &typed.value.value {
                Value::SingleQuotedString(text) => Some(text.clone()),
                _ => return Err(no_literal(value)),
            },
            ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => Some(format!("-{expr}")),
            _ => return Err(no_literal(value)),
        };
        let value = match text {
            None => ScalarValue::try_new_null(field.data_type())?,
            Some(text) => ScalarValue::try_from_string(text, field.data_type())
                .map_err(|error| Error::from(error).with_context("column", name.clone()))?,
        };
        if fixed.iter().any(|(known, _)| known == name) {
            return Err(specified_twice(name));
        }
        fixed.push((name.clone(), value));
    }
    Ok(fixed)
}

fn no_literal(value: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Syntax, format!("PARTITION takes literals, not {value}"))
        .with_hint("Leave the value out, and select it as the last column.")
}
