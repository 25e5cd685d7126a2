//! Which tables a statement reads and writes, and what a second try of it does.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::sql::parser::Statement as DfStatement;
use maru_connect::SourceTable;
use maru_core::{Error, ErrorKind, Result};
use maru_sql::ast;
use maru_sql::{MergeAction, ModelStatement, Name, ObjectKind, Statement, WriteAction};

use super::definition::Again;
use crate::catalog::definition::Definition;
use crate::catalog::resolve::require_table;
use crate::catalog::version;
use crate::session::{Session, place_of_new};
use crate::statement::learns_from;

/// Views on views deeper than this are not looked through.
const VIEW_DEPTH_MAX: usize = 32;

/// A table by its full name, and as it was written.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub full: String,
    pub written: TableReference,
    pub there: bool,
}

/// What a statement does to tables.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub reads: Vec<Named>,
    /// Those that have to be there.
    pub changes: Vec<Named>,
    /// Those that it makes, or makes anew.
    pub makes: Vec<Named>,
    /// Those that it empties, drops or deletes from.
    pub removes: Vec<Named>,
    /// What is read through views, with all that `reads` names.
    pub sources: BTreeSet<String>,
    pub again: Option<Again>,
    /// Whether nobody sees what it does before the transaction block that it is in is over.
    pub held_back: bool,
}

impl Named {
    /// Catalog, schema and name.
    pub(super) fn parts(&self) -> [&str; 3] {
        let mut parts = self.full.split('\u{1f}');
        std::array::from_fn(|_| parts.next().unwrap_or_default())
    }
}

impl Effects {
    pub(super) fn writes(&self) -> BTreeSet<String> {
        self.changes.iter().chain(&self.makes).map(|table| table.full.clone()).collect()
    }

    pub(super) fn removed(&self) -> BTreeSet<String> {
        self.removes.iter().map(|table| table.full.clone()).collect()
    }
}

/// Finds out what a statement does.
///
/// # Errors
/// 0A000 for statements that are none of a pipeline's.
pub(super) async fn effects(session: &Arc<Session>, statement: &Statement) -> Result<Effects> {
    if makes_temporary(statement) {
        return Err(Error::unsupported("a step cannot make a temporary relation").with_hint(
            "It would go with the step's session. Make a table, and DROP it in the last step.",
        ));
    }
    let mut effects = Effects::default();
    let mut queries = Vec::new();
    // Whether the target keeps the work, and whether another try gives the same rows unless it reads them.
    let (mut keeps, mut same) = (false, false);
    match statement {
        Statement::Query { statement, .. } => {
            queries.push((**statement).clone());
            effects.again = Some(Again::Reads);
            effects.held_back = true;
        }
        Statement::Write(write) if write.explain.is_some() => return Err(refused("EXPLAIN")),
        Statement::Write(write) => match &write.action {
            WriteAction::Insert(insert) | WriteAction::CopyFrom(insert) => {
                keeps = true;
                effects.held_back = true;
                same = insert.overwrite;
                effects.changes.push(named(session, &insert.table).await?);
                queries.push(of_query(&insert.source));
            }
            // Files beside those that are there, unless they are to be replaced.
            WriteAction::CopyTo(copy) => {
                same = copy.options.0.iter().any(|(name, value)| {
                    name.eq_ignore_ascii_case("overwrite") && value.eq_ignore_ascii_case("true")
                });
                queries.push(of_query(&copy.query));
            }
            // The same rows in other files.
            WriteAction::Optimize(table) => {
                same = true;
                effects.changes.push(named(session, table).await?);
            }
            WriteAction::CreateTableAs(create) => {
                keeps = create.or_replace;
                effects.held_back = create.or_replace;
                same = create.or_replace || create.if_not_exists;
                effects.makes.push(to_make(session, &create.name).await?);
                queries.extend(create.query.as_ref().map(|query| of_query(query)));
            }
            WriteAction::Delete(delete) => {
                keeps = true;
                effects.held_back = true;
                same = true;
                effects.removes.push(named(session, &delete.table).await?);
                queries.push(read(&asking(delete.selection.iter()))?);
            }
            WriteAction::Update(update) => {
                keeps = true;
                effects.held_back = true;
                effects.changes.push(named(session, &update.table).await?);
                let values = update.sets.iter().map(|(_, value)| value).chain(&update.selection);
                queries.push(read(&asking(values))?);
            }
            WriteAction::Merge(merge) => {
                keeps = true;
                effects.held_back = true;
                effects.changes.push(named(session, &merge.table).await?);
                let mut values = vec![&merge.on];
                for clause in &merge.clauses {
                    values.extend(&clause.condition);
                    match &clause.action {
                        MergeAction::Update(sets) => values.extend(sets.iter().map(|(_, v)| v)),
                        MergeAction::Insert { values: given, .. } => values.extend(given),
                        MergeAction::Nothing | MergeAction::Delete => {}
                    }
                }
                queries.push(read(&format!("SELECT * FROM {}", merge.source))?);
                queries.push(read(&asking(values.into_iter()))?);
            }
        },
        Statement::CreateTable(create) => {
            same = create.if_not_exists || create.or_replace;
            effects.makes.push(to_make(session, &create.name).await?);
        }
        Statement::CreateView(create) => {
            same = create.or_replace || create.if_not_exists;
            effects.makes.push(to_make(session, &create.name).await?);
            queries.push(of_query(&create.query));
        }
        Statement::Truncate(truncate) => {
            same = true;
            effects.held_back = true;
            for table in &truncate.tables {
                effects.removes.push(named(session, table).await?);
            }
        }
        // Old files go; no row does.
        Statement::Vacuum(vacuum) => {
            same = true;
            effects.changes.push(named(session, &vacuum.table).await?);
        }
        Statement::Drop(drop) if matches!(drop.kind, ObjectKind::Table | ObjectKind::View) => {
            same = drop.if_exists;
            for table in &drop.names {
                let mut table = named(session, table).await?;
                // It may be gone.
                table.there |= drop.if_exists;
                effects.removes.push(table);
            }
        }
        Statement::AlterTable(alter) => effects.changes.push(named(session, &alter.table).await?),
        Statement::CreateSchema(create) => same = create.if_not_exists,
        Statement::Model(model) => match model.as_ref() {
            // A version more of a model holds no rows.
            ModelStatement::Create(create) => {
                same = create.or_replace || create.if_not_exists;
                queries.extend(create.query.as_ref().map(|query| of_query(query)));
            }
            ModelStatement::Retrain(retrain) => {
                same = true;
                let query = learns_from(session, &retrain.name)?;
                queries.extend(query.as_ref().map(of_query));
            }
            _ => return Err(refused("this statement")),
        },
        _ => return Err(refused("this statement")),
    }
    for query in queries {
        read_by(session, &query, &mut effects).await?;
    }
    let own = effects.writes();
    let own = own.union(&effects.removed()).cloned().collect::<BTreeSet<_>>();
    // What reads its own rows gives others the second time.
    let same = same && own.is_disjoint(&effects.sources);
    if effects.again.is_none() {
        let kept = keeps && all_keep(session, &effects).await?;
        effects.again = Some(match (kept, same) {
            (true, _) => Again::Kept,
            (false, true) => Again::Same,
            (false, false) => Again::Unknown,
        });
    }
    Ok(effects)
}

fn makes_temporary(statement: &Statement) -> bool {
    match statement {
        Statement::CreateTable(create) => create.temporary,
        Statement::CreateView(create) => create.temporary,
        Statement::Write(write) => {
            matches!(&write.action, WriteAction::CreateTableAs(create) if create.temporary)
        }
        _ => false,
    }
}

fn refused(what: &str) -> Error {
    Error::unsupported(format!("{what} cannot be a step of a pipeline")).with_hint(
        "Steps are INSERT, CREATE TABLE … AS, UPDATE, DELETE, MERGE, TRUNCATE, CREATE and DROP of tables and views, ALTER TABLE, \
         OPTIMIZE, VACUUM, COPY … TO, CREATE MODEL, RETRAIN MODEL, queries, and EXPECT.",
    )
}

async fn all_keep(session: &Arc<Session>, effects: &Effects) -> Result<bool> {
    for table in effects.changes.iter().chain(&effects.makes).chain(&effects.removes) {
        let catalog = table.full.split('\u{1f}').next().unwrap_or_default();
        if !session.require_catalog(catalog)?.keeps_work().await? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn of_query(query: &ast::Query) -> DfStatement {
    DfStatement::Statement(Box::new(ast::Statement::Query(Box::new(query.clone()))))
}

/// Returns a query that reads what expressions read.
fn asking<'a>(values: impl Iterator<Item = &'a ast::Expr>) -> String {
    let values = values.map(|value| format!("({value}) IS NULL"));
    let values = std::iter::once("NULL".to_owned()).chain(values).collect::<Vec<_>>();
    format!("SELECT {}", values.join(", "))
}

/// Reads a query that the program itself wrote.
fn read(sql: &str) -> Result<DfStatement> {
    match maru_sql::parse(sql)? {
        Statement::Query { statement, .. } => Ok(*statement),
        _ => Err(Error::internal("a query is none")),
    }
}

/// Adds what a query reads.
pub(super) async fn read_by(
    session: &Arc<Session>,
    query: &DfStatement,
    effects: &mut Effects,
) -> Result<()> {
    let state = session.statement_state();
    for reference in state.resolve_table_references(query)? {
        let is_function = reference.schema().is_none()
            && (session.is_table_function(reference.table())
                || state.table_functions().contains_key(reference.table()));
        if is_function {
            continue;
        }
        let table = full(session, &reference).await?;
        look_through(session, &table, &mut effects.sources).await?;
        effects.reads.push(table);
    }
    Ok(())
}

/// Returns the full names of the tables that a plan of a query scans by the names of its text, or of the texts of its views. What is
/// no table of a catalog, and what cannot be looked up any more, keeps its name.
pub(crate) async fn full_names(
    session: &Arc<Session>,
    query: &DfStatement,
    scanned: &[TableReference],
) -> Vec<String> {
    let mut effects = Effects::default();
    let known = match read_by(session, query, &mut effects).await {
        Ok(()) => effects.sources,
        Err(_) => BTreeSet::new(),
    };
    let mut found = BTreeSet::new();
    for scan in scanned {
        let table = version::plain_name(scan.table());
        let mut is_found = false;
        for full in &known {
            let parts = full.split('\u{1f}').collect::<Vec<_>>();
            let [catalog, schema, name] = parts.as_slice() else { continue };
            let same = *name == table
                && scan.schema().is_none_or(|written| written == *schema)
                && scan.catalog().is_none_or(|written| written == *catalog);
            let Some(attached) = session.require_catalog(catalog).ok().filter(|_| same) else {
                continue;
            };
            // Of the schemas of a search path not all have a table of the name.
            if matches!(attached.table(schema, name).await, Ok(Some(_))) {
                is_found = true;
                found.insert(sql_name(full));
            }
        }
        if !is_found {
            found.insert(scan.to_string());
        }
    }
    found.into_iter().collect()
}

/// Adds a table, and what is read by it if it is a view of the built-in catalog.
async fn look_through(
    session: &Arc<Session>,
    table: &Named,
    sources: &mut BTreeSet<String>,
) -> Result<()> {
    let mut open = vec![(table.full.clone(), 0)];
    while let Some((full_name, depth)) = open.pop() {
        if !sources.insert(full_name.clone()) || depth >= VIEW_DEPTH_MAX {
            continue;
        }
        let parts = full_name.split('\u{1f}').collect::<Vec<_>>();
        let [catalog, schema, name] = parts.as_slice() else { continue };
        let Ok(attached) = session.require_catalog(catalog) else { continue };
        let Some(SourceTable::View { sql, .. }) = attached.table(schema, name).await? else {
            continue;
        };
        let Ok(Definition::View(view)) = Definition::decode(&sql) else { continue };
        let query = read(&view.sql)?;
        let state = session.statement_state();
        for reference in state.resolve_table_references(&query)? {
            let schema = reference.schema().unwrap_or("");
            let schemas = match schema {
                "" => view.search_path.split(',').map(|s| s.trim().to_owned()).collect(),
                schema => vec![schema.to_owned()],
            };
            let catalog = reference.catalog().unwrap_or(&view.catalog).to_owned();
            let table = version::plain_name(reference.table());
            for schema in schemas {
                open.push((key(&catalog, &schema, table), depth + 1));
            }
        }
    }
    Ok(())
}

fn key(catalog: &str, schema: &str, table: &str) -> String {
    format!("{catalog}\u{1f}{schema}\u{1f}{table}")
}

/// Returns a full name as SQL writes it.
pub(super) fn sql_name(full: &str) -> String {
    full.split('\u{1f}').map(maru_core::quote_ident).collect::<Vec<_>>().join(".")
}

fn reference(name: &Name) -> Result<TableReference> {
    Ok(match name.0.as_slice() {
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        [catalog, schema, table] => {
            TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())
        }
        _ => {
            return Err(Error::new(
                ErrorKind::Syntax,
                format!("improper qualified name (wrong number of parts): {name}"),
            ));
        }
    })
}

async fn named(session: &Arc<Session>, name: &Name) -> Result<Named> {
    full(session, &reference(name)?).await
}

async fn to_make(session: &Arc<Session>, name: &Name) -> Result<Named> {
    let (attached, schema, table) = place_of_new(session, name).await?;
    let full = key(&attached.name, &schema, &table);
    Ok(Named { full, written: reference(name)?, there: true })
}

/// Finds a table along the search path. One that is not there gets the name that it would be made by.
async fn full(session: &Arc<Session>, reference: &TableReference) -> Result<Named> {
    let catalog = reference.catalog().map_or_else(|| session.catalog(), str::to_owned);
    let table = version::plain_name(reference.table()).to_owned();
    let schemas = match reference.schema() {
        Some(schema) => vec![schema.to_owned()],
        None => session.search_path(),
    };
    let written = reference.clone();
    let found = match require_table(session, reference).await {
        // Who may write to it need not be able to read it.
        Err(error) if error.kind() == ErrorKind::NotAllowed => Ok(()),
        found => found,
    };
    match found {
        Ok(()) => {
            let attached = session.require_catalog(&catalog)?;
            for schema in &schemas {
                if schemas.len() == 1 || attached.table(schema, &table).await?.is_some() {
                    return Ok(Named { full: key(&catalog, schema, &table), written, there: true });
                }
            }
            let schema = schemas.first().map_or("public", String::as_str);
            Ok(Named { full: key(&catalog, schema, &table), written, there: true })
        }
        Err(error)
            if matches!(error.kind(), ErrorKind::UndefinedTable | ErrorKind::UndefinedSchema) =>
        {
            let schema = schemas.first().map_or("public", String::as_str);
            Ok(Named { full: key(&catalog, schema, &table), written, there: false })
        }
        Err(error) => Err(error),
    }
}
