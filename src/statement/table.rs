//! `CREATE TABLE`, `TRUNCATE`, `ALTER TABLE`, and `DROP TABLE` in attached catalogs: changes of a whole table at its source.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use maru_connect::{SourceTable, TableChange};
use maru_core::{Error, ErrorKind, Result};
use maru_sql::{AlterTable, Check, Name, TableAlteration, Truncate, Vacuum};

use crate::access::Privilege;
use crate::output::Output;
use crate::session::{
    Session, Target, declared_column, declared_type, find_target, name_for, read_check,
    read_default, require_of_all,
};

pub(super) async fn truncate(session: &Arc<Session>, truncate: &Truncate) -> Result<Output> {
    let rights = session.rights();
    let mut targets = Vec::new();
    for table in &truncate.tables {
        let target = find_target(session, table, "truncate").await?;
        target.require(&rights, Privilege::Truncate, &[])?;
        targets.push(target);
    }
    for target in targets {
        change(session, &target, TableChange::Truncate).await?;
    }
    Ok(Output::command("TRUNCATE TABLE"))
}

/// Hours for which files are kept that a table does not need: for readers that have begun, for `VERSION AS OF`, and for writers that
/// have not ended.
const RETAIN_HOURS: u64 = 168;

pub(super) async fn vacuum(session: &Arc<Session>, vacuum: &Vacuum) -> Result<Output> {
    let target = find_target(session, &vacuum.table, "vacuum").await?;
    session.rights().require_owner(&target.object())?;
    let hours = vacuum.retain_hours.unwrap_or(RETAIN_HOURS);
    let checked = session.setting("vacuum_retention_check").is_none_or(|value| value == "on");
    if hours < RETAIN_HOURS && checked && !vacuum.dry_run {
        return Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("files are kept for {RETAIN_HOURS} hours at least"),
        )
        .with_detail(
            "Younger ones may be those of a statement that runs, here or in another engine.",
        )
        .with_hint("If none does: SET maru.vacuum_retention_check = off."));
    }
    let retain = std::time::Duration::from_secs(hours.saturating_mul(3600));
    let (attached, dry_run) = (Arc::clone(&target.attached), vacuum.dry_run);
    let source = Arc::clone(attached.opened().await?);
    let done = source.vacuum(&target.schema, &target.name, retain, dry_run).await?;
    let n_bytes = done.iter().map(|leftover| leftover.n_bytes).sum::<u64>();
    let (n_files, what) = (done.len(), if dry_run { "would be removed" } else { "removed" });
    Ok(Output::command("VACUUM").with_notice(format!("{n_files} files of {n_bytes} bytes {what}")))
}

pub(super) async fn alter(session: &Arc<Session>, alter: &AlterTable) -> Result<Output> {
    let output = Output::command("ALTER TABLE");
    if let [TableAlteration::RenameTable(to)] = alter.changes.as_slice()
        && !super::drop::is_elsewhere(session, &alter.table)
    {
        return match super::relation::rename(session, &alter.table, to).await {
            Err(error) if alter.if_exists && error.kind() == ErrorKind::UndefinedTable => {
                let notice = format!("table \"{}\" does not exist, skipping", alter.table);
                Ok(output.with_notice(notice))
            }
            done => done.map(|()| output),
        };
    }
    let target = match find_target(session, &alter.table, "alter").await {
        Err(error) if alter.if_exists && error.kind() == ErrorKind::UndefinedTable => {
            let notice = format!("table \"{}\" does not exist, skipping", alter.table);
            return Ok(output.with_notice(notice));
        }
        found => found?,
    };
    session.rights().require_owner(&target.object())?;
    let mut output = output;
    for alteration in &alter.changes {
        // Each sees what the one before has made of the table.
        let target = find_target(session, &alter.table, "alter").await?;
        match Box::pin(one_change(session, &target, &alter.table, alteration)).await? {
            Ok(what) => change(session, &target, what).await?,
            Err(notice) => output = output.with_notice(notice),
        }
    }
    Ok(output)
}

/// Reads one change against the columns there are; a notice if there is nothing to do. `written` is the table's name in the statement.
async fn one_change(
    session: &Arc<Session>,
    target: &Target,
    written: &Name,
    alteration: &TableAlteration,
) -> Result<Result<TableChange, String>> {
    let columns = target.columns();
    let is_there = |name: &str| columns.fields().iter().any(|field| field.name() == name);
    let taken = |name: &str| {
        Error::new(
            ErrorKind::DuplicateColumn,
            format!("column \"{name}\" of relation \"{}\" already exists", target.name),
        )
    };
    let missing = |name: &str| {
        Error::new(
            ErrorKind::UndefinedColumn,
            format!("column \"{name}\" of relation \"{}\" does not exist", target.name),
        )
    };
    Ok(Ok(match alteration {
        TableAlteration::AddColumn { column, if_not_exists } => {
            let field = declared_column(session, column).await?;
            if is_there(field.name()) {
                if *if_not_exists {
                    let name = field.name();
                    return Ok(Err(format!("column \"{name}\" already exists, skipping")));
                }
                return Err(taken(field.name()));
            }
            TableChange::AddColumns(Arc::new(Schema::new(vec![field])))
        }
        TableAlteration::DropColumns { names, if_exists } => {
            if let Some(name) = names.iter().find(|name| !is_there(name)) {
                if *if_exists && names.len() == 1 {
                    return Ok(Err(format!("column \"{name}\" does not exist, skipping")));
                }
                return Err(missing(name));
            }
            TableChange::DropColumns(names.clone())
        }
        TableAlteration::RenameColumn { from, to } => {
            if !is_there(from) {
                return Err(missing(from));
            }
            if is_there(to) {
                return Err(taken(to));
            }
            TableChange::RenameColumn { from: from.clone(), to: to.clone() }
        }
        TableAlteration::SetType { column, data_type } => {
            let old = columns.fields().iter().find(|field| field.name() == column);
            let old = old.ok_or_else(|| missing(column))?;
            let new = declared_type(session, data_type).await?;
            if new == *old.data_type() {
                return Ok(Err(format!("column \"{column}\" has this type already")));
            }
            let field = Field::new(column, new, old.is_nullable());
            TableChange::WidenColumn(Arc::new(Schema::new(vec![field])))
        }
        TableAlteration::SetNullable { column, nullable } => {
            if !is_there(column) {
                return Err(missing(column));
            }
            TableChange::SetNullable { column: column.clone(), nullable: *nullable }
        }
        TableAlteration::SetDefault { column, value } => {
            let field = columns.fields().iter().find(|field| field.name() == column);
            let field = field.ok_or_else(|| missing(column))?;
            require_rules(target)?;
            let value = match value {
                Some(value) => read_default(session, field, value).await?,
                None => None,
            };
            TableChange::SetDefault { column: column.clone(), value }
        }
        TableAlteration::AddCheck(check) => add_check(session, target, written, check).await?,
        TableAlteration::DropConstraint { name, if_exists } => {
            require_rules(target)?;
            if !target.checks().iter().any(|(known, _)| known == name) {
                let relation = &target.name;
                let what =
                    format!("constraint \"{name}\" of relation \"{relation}\" does not exist");
                return match *if_exists {
                    true => Ok(Err(format!("{what}, skipping"))),
                    false => Err(Error::new(ErrorKind::UndefinedObject, what)),
                };
            }
            TableChange::DropCheck(name.clone())
        }
        TableAlteration::RenameTable(name) => match name.0.as_slice() {
            [name] => TableChange::RenameTable(name.clone()),
            _ => {
                return Err(within_schema());
            }
        },
    }))
}

/// Reads a constraint, and looks whether the rows that are there keep to it.
async fn add_check(
    session: &Arc<Session>,
    target: &Target,
    written: &Name,
    check: &Check,
) -> Result<TableChange> {
    require_rules(target)?;
    let (object, columns) = (target.object(), target.columns());
    if session.rights().policies(&object).is_some() {
        return Err(Error::unsupported(format!(
            "policies of {object} choose its rows, and a constraint is about all of them"
        ))
        .with_hint("Add it as a role with BYPASSRLS."));
    }
    let condition = read_check(session, &object, &target.name, &columns, &check.condition).await?;
    let taken = target.checks().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let name = name_for(check, &target.name, &columns, &taken);
    if taken.contains(&name) {
        return Err(Error::new(
            ErrorKind::DuplicateObject,
            format!("constraint \"{name}\" for relation \"{}\" already exists", target.name),
        ));
    }
    // Of this version or a later one the rows are read; a later one is not changed then.
    let version = match &target.table {
        SourceTable::Files(table) => table.files.version_in(0).await,
        _ => None,
    };
    require_of_all(session, written, &name, &condition).await?;
    Ok(TableChange::AddCheck { name, condition, version })
}

/// # Errors
/// 0A000 for a table whose source has constraints and defaults of its own.
fn require_rules(target: &Target) -> Result<()> {
    if target.keeps_what_is_given() {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "constraints and defaults of {} are those of its system",
        target.object()
    ))
    .with_hint("ALTER TABLE there."))
}

/// The error for a new name of several parts.
pub(super) fn within_schema() -> Error {
    let message = "a table is renamed within its schema: RENAME TO takes one name";
    Error::new(ErrorKind::Syntax, message)
}

/// Drops a table of an attached catalog.
pub(super) async fn drop_table(session: &Arc<Session>, name: &Name) -> Result<()> {
    let target = find_target(session, name, "drop").await?;
    let object = target.object();
    session.rights().require_owner(&object)?;
    change(session, &target, TableChange::Drop).await?;
    super::drop::forget(session, &object).await
}

/// Has the source change a table, and forgets what was known of it.
async fn change(session: &Arc<Session>, target: &Target, change: TableChange) -> Result<()> {
    let (attached, schema, name) =
        (Arc::clone(&target.attached), target.schema.clone(), target.name.clone());
    let _ = session;
    // It goes on to its end, whoever still waits for it.
    let work = tokio::spawn(async move {
        let outcome = attached.change_table(&schema, &name, change).await;
        attached.forget(&schema, &name);
        outcome
    });
    work.await.map_err(|error| Error::internal("a change broke off").with_cause(error))?
}
