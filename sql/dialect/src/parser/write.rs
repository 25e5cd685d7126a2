//! `INSERT`, `CREATE TABLE`, `TRUNCATE`, `ALTER TABLE`: from the syntax tree of all dialects to what Maru does of it.
//! What is not understood is refused by its name, never passed over.

use datafusion::common::format::ExplainStatementOptions;
use datafusion::sql::parser::{ExplainStatement, Statement as DfStatement};
use maru_core::{Error, ErrorKind, Result};
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{self, Expr, Value};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::returning::lower_returning;
use super::{Words, change, constraint, fold, object_name, sets, unsupported};
use crate::statement::*;
use crate::write::*;

type Explain = Option<Box<ExplainStatementOptions>>;

/// Stands for the alias of a table before `PARTITION`, which would be read as one.
const NO_ALIAS: &str = "$no alias";

/// Writes `DO NOTHING` of a MERGE otherwise, and keeps `PARTITION (` of an INSERT from being read as the table's alias.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut tokens = change::rewrite(tokens);
    let is = |token: &TokenWithSpan, word: &str| match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        _ => false,
    };
    let Some(insert) = tokens.iter().position(|token| is(token, "insert")) else { return tokens };
    let mut seen = tokens.iter().enumerate().skip(insert);
    let mut seen = seen.by_ref().filter(|(_, token)| !matches!(token.token, Token::Whitespace(_)));
    while let Some((at, token)) = seen.next() {
        // The name of the table ends at the latest where something else than names, dots and words begins.
        if !matches!(token.token, Token::Word(_) | Token::Period) {
            return tokens;
        }
        if !is(token, "partition") {
            continue;
        }
        if seen.next().is_none_or(|(_, next)| next.token != Token::LParen) {
            return tokens;
        }
        let span = token.span;
        let added = [Token::make_keyword("AS"), Token::make_word(NO_ALIAS, Some('"'))];
        tokens.splice(at..at, added.map(|token| TokenWithSpan { token, span }));
        return tokens;
    }
    tokens
}

/// Reads a statement that writes; gives others back.
pub(super) fn lower_write(
    statement: ast::Statement,
    explain: Explain,
) -> Result<Result<Statement, Box<ast::Statement>>> {
    let action = match statement {
        ast::Statement::Insert(insert) => WriteAction::Insert(lower_insert(insert, None)?),
        ast::Statement::Query(mut query)
            if matches!(*query.body, ast::SetExpr::Insert(ast::Statement::Insert(_))) =>
        {
            let with = query.with.take();
            let body = std::mem::replace(
                query.body.as_mut(),
                ast::SetExpr::Values(ast::Values {
                    explicit_row: false,
                    rows: Vec::new(),
                    value_keyword: false,
                }),
            );
            match body {
                ast::SetExpr::Insert(ast::Statement::Insert(insert)) => {
                    WriteAction::Insert(lower_insert(insert, with)?)
                }
                _ => return Err(Error::internal("an INSERT became something else")),
            }
        }
        ast::Statement::Query(mut query) => {
            let into = match query.body.as_mut() {
                ast::SetExpr::Select(select) => select.into.take(),
                _ => None,
            };
            // `SELECT … INTO table` is `CREATE TABLE … AS` in other words.
            match into {
                Some(into) if into.unlogged => return Err(unsupported("SELECT INTO UNLOGGED")),
                Some(into) => {
                    let create = CreateTableBuilder::new(into.name).temporary(into.temporary);
                    WriteAction::CreateTableAs(lower_create(create.query(Some(query)).build())?)
                }
                None => return Ok(Err(Box::new(ast::Statement::Query(query)))),
            }
        }
        ast::Statement::Delete(delete) => {
            WriteAction::Delete(Box::new(change::lower_delete(delete)?))
        }
        ast::Statement::Update(update) => change::lower_update(update)?,
        ast::Statement::Merge(merge) => WriteAction::Merge(Box::new(change::lower_merge(merge)?)),
        ast::Statement::CreateTable(create) => {
            let create = lower_create(create)?;
            if create.query.is_none() {
                if explain.is_some() {
                    return Err(unsupported("EXPLAIN of CREATE TABLE without a query"));
                }
                return Ok(Ok(Statement::CreateTable(Box::new(create))));
            }
            WriteAction::CreateTableAs(create)
        }
        other => return Ok(Err(Box::new(other))),
    };
    Ok(Ok(Statement::Write(Box::new(Write { explain, action }))))
}

/// Reads `EXPLAIN` of a statement that writes; gives others back.
pub(super) fn lower_explain(
    explain: ExplainStatement,
) -> Result<Result<Statement, ExplainStatement>> {
    let ExplainStatement { options, statement } = explain;
    match *statement {
        DfStatement::Statement(inner) => {
            match lower_write(*inner, Some(Box::new(options.clone())))? {
                Ok(write) => Ok(Ok(write)),
                Err(inner) => {
                    let statement = Box::new(DfStatement::Statement(inner));
                    Ok(Err(ExplainStatement { options, statement }))
                }
            }
        }
        other => Ok(Err(ExplainStatement { options, statement: Box::new(other) })),
    }
}

fn lower_insert(insert: ast::Insert, with: Option<ast::With>) -> Result<Insert> {
    let ast::TableObject::TableName(table) = &insert.table else {
        return Err(unsupported("INSERT INTO a function or a query"));
    };
    let table = object_name(table)?;
    let strange = insert.or.is_some()
        || insert.ignore
        || insert.replace_into
        || insert.priority.is_some()
        || insert.insert_alias.is_some()
        || insert.output.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || insert.multi_table_insert_type.is_some()
        || !insert.assignments.is_empty()
        || !insert.after_columns.is_empty()
        || insert.table_alias.as_ref().is_some_and(|alias| !alias.explicit);
    if strange {
        return Err(unsupported("this form of INSERT"));
    }
    if insert.returning.is_some() && insert.overwrite {
        return Err(unsupported("INSERT OVERWRITE … RETURNING"));
    }
    let alias = insert.table_alias.as_ref().map(|alias| fold(&alias.alias));
    let alias = alias.or_else(|| table.0.last().cloned()).unwrap_or_default();
    let returning = lower_returning(insert.returning, &table, &alias, false)?;
    let mut source = match insert.source {
        Some(source) => source,
        // Columns that a row has no values for get their defaults.
        None if insert.columns.is_empty() => sets::one_default()?,
        None => return Err(unsupported("INSERT without rows")),
    };
    match (with, &source.with) {
        (None, _) => {}
        (Some(with), None) => source.with = Some(with),
        (Some(_), Some(_)) => return Err(unsupported("WITH before and inside of INSERT")),
    }
    let columns = insert.columns.iter().map(column_name).collect::<Result<Vec<_>>>()?;
    let partition = match insert.partitioned {
        None => Vec::new(),
        Some(_) if !insert.overwrite => {
            return Err(Error::unsupported("INSERT INTO takes no PARTITION").with_hint(
                "Name the partition columns among the columns, or use INSERT OVERWRITE.",
            ));
        }
        Some(parts) => parts.into_iter().map(partition_part).collect::<Result<Vec<_>>>()?,
    };
    let on_conflict = match insert.on {
        None => None,
        Some(ast::OnInsert::OnConflict(on)) => Some(lower_conflict(on, alias)?),
        Some(_) => return Err(unsupported("ON DUPLICATE KEY UPDATE")),
    };
    if on_conflict.is_some() && insert.overwrite {
        return Err(Error::new(ErrorKind::Syntax, "INSERT OVERWRITE takes no ON CONFLICT"));
    }
    let overwrite = insert.overwrite;
    Ok(Insert { table, columns, source, overwrite, partition, on_conflict, returning })
}

pub(super) fn column_name(name: &ast::ObjectName) -> Result<String> {
    match object_name(name)?.0.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Error::new(ErrorKind::Syntax, format!("\"{name}\" is not the name of a column"))),
    }
}

fn partition_part(part: Expr) -> Result<(String, Option<Expr>)> {
    let name = |expr: &Expr| match expr {
        Expr::Identifier(ident) => Ok(fold(ident)),
        other => Err(Error::new(
            ErrorKind::Syntax,
            format!("PARTITION takes column or column = value, not {other}"),
        )),
    };
    match part {
        Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } => {
            Ok((name(&left)?, Some(*right)))
        }
        other => Ok((name(&other)?, None)),
    }
}

fn lower_conflict(on: ast::OnConflict, alias: String) -> Result<OnConflict> {
    let keys = match on.conflict_target {
        Some(ast::ConflictTarget::Columns(columns)) => columns.iter().map(fold).collect(),
        Some(ast::ConflictTarget::OnConstraint(_)) => {
            return Err(unsupported("ON CONFLICT ON CONSTRAINT"));
        }
        None if matches!(on.action, ast::OnConflictAction::DoNothing) => Vec::new(),
        None => {
            return Err(Error::new(
                ErrorKind::Syntax,
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .with_hint("For example, ON CONFLICT (column_name)."));
        }
    };
    let mut conflict = OnConflict { keys, replaced: Vec::new(), computed: Vec::new(), alias };
    let ast::OnConflictAction::DoUpdate(update) = on.action else { return Ok(conflict) };
    if update.selection.is_some() {
        return Err(unsupported("ON CONFLICT DO UPDATE with WHERE"));
    }
    for (column, value) in sets::assignments(update.assignments)? {
        if is_excluded(&value, &column) {
            conflict.replaced.push(column);
        } else {
            conflict.computed.push((column, value));
        }
    }
    Ok(conflict)
}

/// Returns whether a value is `EXCLUDED.column`.
fn is_excluded(value: &Expr, column: &str) -> bool {
    match value {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, name] => fold(table) == "excluded" && fold(name) == column,
            _ => false,
        },
        _ => false,
    }
}

fn lower_create(create: ast::CreateTable) -> Result<CreateTable> {
    let refused = [
        (create.external, "this form of CREATE EXTERNAL TABLE"),
        (create.like.is_some(), "CREATE TABLE … LIKE"),
        (create.clone.is_some(), "CREATE TABLE … CLONE"),
        (create.partition_of.is_some(), "PARTITION OF"),
        (create.inherits.is_some(), "INHERITS"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.cluster_by.is_some() || create.clustered_by.is_some(), "CLUSTER BY"),
        (create.order_by.is_some(), "ORDER BY in CREATE TABLE"),
        (
            !matches!(create.on_commit, None | Some(ast::OnCommit::PreserveRows)),
            "ON COMMIT DROP or DELETE ROWS",
        ),
        (create.on_commit.is_some() && !create.temporary, "ON COMMIT"),
        (create.unlogged_or_strange(), "this form of CREATE TABLE"),
    ];
    if let Some((_, what)) = refused.iter().find(|(is, _)| *is) {
        let error = unsupported(what);
        return Err(match *what {
            "PARTITION BY" => error.with_hint("Write PARTITIONED BY (column, …)."),
            "ON COMMIT DROP or DELETE ROWS" => {
                error.with_hint("Temporary tables stay until they are dropped or the session ends.")
            }
            _ => error,
        });
    }
    let mut columns = create.columns;
    let (mut checks, defaults) = constraint::of_columns(&mut columns)?;
    let mut primary_key = Vec::new();
    for column in &columns {
        let is_key =
            |def: &&ast::ColumnOptionDef| matches!(def.option, ast::ColumnOption::PrimaryKey(_));
        if column.options.iter().any(|def| is_key(&def)) {
            primary_key.push(fold(&column.name));
        }
    }
    for one in create.constraints {
        match one {
            ast::TableConstraint::PrimaryKey(key) if primary_key.is_empty() => {
                for column in &key.columns {
                    match &column.column.expr {
                        Expr::Identifier(ident) => primary_key.push(fold(ident)),
                        other => return Err(unsupported(&format!("PRIMARY KEY ({other})"))),
                    }
                }
            }
            ast::TableConstraint::Check(check) => checks.push(constraint::read(None, check)?),
            other => return Err(unsupported(&format!("constraint {other}"))),
        }
    }
    let mut options = OptionList::default();
    let mut partitioned_by = Vec::new();
    let given = match create.table_options {
        ast::CreateTableOptions::None => Vec::new(),
        ast::CreateTableOptions::With(options)
        | ast::CreateTableOptions::Options(options)
        | ast::CreateTableOptions::TableProperties(options) => options,
        ast::CreateTableOptions::Plain(_) => return Err(unsupported("options without WITH")),
    };
    for option in given {
        let ast::SqlOption::KeyValue { key, value } = option else {
            return Err(unsupported(&format!("option {option}")));
        };
        let key = fold(&key);
        match key.as_str() {
            "partitioned_by" => partitioned_by = names_of(&value)?,
            "primary_key" => primary_key = names_of(&value)?,
            _ => options.0.push((key, option_text(&value)?)),
        }
    }
    if let Some(location) = create.location {
        options.0.push(("location".to_owned(), location));
    }
    match create.hive_distribution {
        ast::HiveDistributionStyle::NONE => {}
        ast::HiveDistributionStyle::PARTITIONED { columns: by } => {
            for column in by {
                partitioned_by.push(fold(&column.name));
                if column.data_type != ast::DataType::Unspecified {
                    columns.push(column);
                }
            }
        }
        ast::HiveDistributionStyle::SKEWED { .. } => return Err(unsupported("SKEWED BY")),
    }
    if create.query.is_some() && columns.iter().any(|c| c.data_type != ast::DataType::Unspecified) {
        return Err(Error::unsupported("CREATE TABLE … AS declares no columns")
            .with_hint("CAST in the query, and name its columns with AS."));
    }
    if create.query.is_some() && !columns.is_empty() {
        return Err(unsupported("CREATE TABLE (names) AS").with_hint("Name columns with AS."));
    }
    if create.query.is_some() && !checks.is_empty() {
        return Err(unsupported("CREATE TABLE (constraints) AS")
            .with_hint("Add them by ALTER TABLE … ADD CONSTRAINT."));
    }
    if create.query.is_none() && columns.is_empty() {
        return Err(Error::new(ErrorKind::Syntax, "CREATE TABLE needs columns or AS query"));
    }
    Ok(CreateTable {
        name: object_name(&create.name)?,
        columns,
        primary_key,
        checks,
        defaults,
        partitioned_by,
        options,
        query: create.query,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        temporary: create.temporary,
    })
}

/// What of other dialects is never meant here.
trait Strange {
    fn unlogged_or_strange(&self) -> bool;
}

impl Strange for ast::CreateTable {
    fn unlogged_or_strange(&self) -> bool {
        self.transient
            || self.volatile
            || self.iceberg
            || self.dynamic
            || self.snapshot
            || self.without_rowid
            || self.version.is_some()
            || self.on_cluster.is_some()
            || self.primary_key.is_some()
            || self.file_format.is_some()
            || self.comment.is_some()
    }
}

fn names_of(value: &Expr) -> Result<Vec<String>> {
    let invalid = || {
        Error::new(ErrorKind::Syntax, format!("{value} is no list of columns"))
            .with_hint("Write ARRAY['column', …].")
    };
    match value {
        Expr::Array(array) => array.elem.iter().map(option_text).collect::<Result<Vec<_>>>(),
        Expr::Value(_) => Ok(option_text(value)?
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()),
        _ => Err(invalid()),
    }
}

fn option_text(value: &Expr) -> Result<String> {
    let invalid = || {
        Error::new(ErrorKind::Syntax, format!("{value} is no value of an option"))
            .with_hint("Write 'text', a number, true or false.")
    };
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Ok(text.clone()),
            Value::DollarQuotedString(text) => Ok(text.value.clone()),
            Value::Number(text, _) => Ok(text.clone()),
            Value::Boolean(value) => Ok(value.to_string()),
            _ => Err(invalid()),
        },
        Expr::Identifier(ident) => Ok(fold(ident)),
        _ => Err(invalid()),
    }
}

pub(super) fn lower_truncate(truncate: ast::Truncate) -> Result<Statement> {
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() || truncate.if_exists {
        return Err(unsupported("this form of TRUNCATE"));
    }
    if matches!(truncate.cascade, Some(ast::CascadeOption::Cascade)) {
        return Err(unsupported("TRUNCATE … CASCADE"));
    }
    if matches!(truncate.identity, Some(ast::TruncateIdentityOption::Restart)) {
        return Err(unsupported("TRUNCATE … RESTART IDENTITY"));
    }
    let tables = truncate.table_names.iter().map(|target| object_name(&target.name));
    Ok(Statement::Truncate(Truncate { tables: tables.collect::<Result<Vec<_>>>()? }))
}

impl Words<'_> {
    /// Reads what follows the word `VACUUM`.
    pub(super) fn vacuum(&mut self) -> Result<Statement> {
        self.take(&["table"]);
        let table = self.name()?;
        let retain_hours = match self.take(&["retain"]) {
            false => None,
            true => {
                let Token::Number(text, _) = self.0.parser.peek_token().token else {
                    return Err(self.unexpected("a number of hours"));
                };
                let hours = text.parse().map_err(|_| self.unexpected("a number of hours"))?;
                self.0.parser.next_token();
                if !self.take(&["hour"]) {
                    self.expect(&["hours"])?;
                }
                Some(hours)
            }
        };
        let dry_run = self.take(&["dry", "run"]);
        Ok(Statement::Vacuum(Vacuum { table, retain_hours, dry_run }))
    }

    /// Reads what follows the name in `ALTER TABLE [IF EXISTS] name`.
    pub(super) fn alterations(&mut self, table: Name, if_exists: bool) -> Result<Statement> {
        let mut changes = Vec::new();
        loop {
            let start = self.0.parser.peek_token().span.start;
            let operation = self
                .0
                .parser
                .parse_alter_table_operation()
                .map_err(datafusion::error::DataFusionError::from)?;
            changes.push(alteration(operation).map_err(|error| {
                error.with_line_column(start.line as usize, start.column as usize)
            })?);
            if !self.0.parser.consume_token(&sqlparser::tokenizer::Token::Comma) {
                break;
            }
        }
        Ok(Statement::AlterTable(Box::new(AlterTable { table, if_exists, changes })))
    }
}

fn alteration(operation: ast::AlterTableOperation) -> Result<TableAlteration> {
    use ast::AlterTableOperation as Op;
    Ok(match operation {
        Op::AddColumn { if_not_exists, column_def, column_position: None, .. } => {
            TableAlteration::AddColumn { column: Box::new(column_def), if_not_exists }
        }
        Op::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            if matches!(drop_behavior, Some(ast::DropBehavior::Cascade)) {
                return Err(unsupported("DROP COLUMN … CASCADE"));
            }
            let names = column_names.iter().map(fold).collect();
            TableAlteration::DropColumns { names, if_exists }
        }
        Op::RenameColumn { old_column_name, new_column_name } => TableAlteration::RenameColumn {
            from: fold(&old_column_name),
            to: fold(&new_column_name),
        },
        Op::AlterColumn {
            column_name,
            op: ast::AlterColumnOperation::SetDataType { data_type, using: None, .. },
        } => TableAlteration::SetType { column: fold(&column_name), data_type },
        Op::AlterColumn { column_name, op: ast::AlterColumnOperation::SetNotNull } => {
            TableAlteration::SetNullable { column: fold(&column_name), nullable: false }
        }
        Op::AlterColumn { column_name, op: ast::AlterColumnOperation::DropNotNull } => {
            TableAlteration::SetNullable { column: fold(&column_name), nullable: true }
        }
        Op::AlterColumn { column_name, op: ast::AlterColumnOperation::SetDefault { value } } => {
            let value = Some(Box::new(value));
            TableAlteration::SetDefault { column: fold(&column_name), value }
        }
        Op::AlterColumn { column_name, op: ast::AlterColumnOperation::DropDefault } => {
            TableAlteration::SetDefault { column: fold(&column_name), value: None }
        }
        Op::AddConstraint { constraint, not_valid } => constraint::added(constraint, not_valid)?,
        Op::DropConstraint { name, if_exists, drop_behavior } => {
            if matches!(drop_behavior, Some(ast::DropBehavior::Cascade)) {
                return Err(unsupported("DROP CONSTRAINT … CASCADE"));
            }
            TableAlteration::DropConstraint { name: fold(&name), if_exists }
        }
        Op::RenameTable { table_name: ast::RenameTableNameKind::To(name) } => {
            TableAlteration::RenameTable(object_name(&name)?)
        }
        other => return Err(unsupported(&format!("ALTER TABLE … {other}"))),
    })
}
