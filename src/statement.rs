//! What Maru's own statements do. One file for each kind of object.

mod catalog;
mod comment;
mod drop;
mod relation;
mod secret;
mod session;
mod transaction;

use std::sync::Arc;

use maru_core::{Error, ErrorKind, QualifiedName, Result};
use maru_sql::{Name, Statement};

use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::session::Session;

/// Runs a command. Queries never come here.
pub(crate) async fn execute(session: &Arc<Session>, statement: &Statement) -> Result<Output> {
    match statement {
        Statement::CreateCatalog(create) => catalog::create(session, create).await,
        Statement::AlterCatalog(alter) => catalog::alter(session, alter).await,
        Statement::CreateSecret(create) => secret::create(session, create).await,
        Statement::CreateSchema(create) => relation::create_schema(session, create).await,
        Statement::CreateExternalTable(create) => {
            relation::create_external_table(session, create).await
        }
        Statement::CreateView(create) => relation::create_view(session, create).await,
        Statement::Drop(drop) => drop::execute(session, drop).await,
        Statement::CommentOn(comment) => comment::execute(session, comment).await,
        Statement::Set(set) => session::set(session, set),
        Statement::Reset(name) => {
            session.reset(name.as_deref())?;
            Ok(Output::command("RESET"))
        }
        Statement::CancelQuery(cancel) => session::cancel_query(session, cancel),
        Statement::Transaction(transaction) => transaction::execute(session, transaction).await,
        Statement::Deallocate(name) => session::deallocate(session, name.as_deref()),
        Statement::CloseCursor(name) => session::close_cursor(session, name.as_deref()),
        Statement::Discard { tag, resets } => {
            if *resets {
                session.reset(None)?;
                session.forget_all_named();
                session.close_cursor(None);
            }
            Ok(Output::command(*tag))
        }
        Statement::Query { .. }
        | Statement::Describe(_)
        | Statement::Preview(_)
        | Statement::ShowVariable(_)
        | Statement::Prepare(_)
        | Statement::ExecutePrepared(_)
        | Statement::DeclareCursor(_)
        | Statement::Fetch(_)
        | Statement::Copy(_) => Err(Error::internal("a query was run as a command")),
    }
}

/// Returns the statement's text as it may be kept and shown: the values of its options are stars.
///
/// Only statements that can hold secrets are touched: `CREATE SECRET`, `CREATE CATALOG`, `ALTER CATALOG`. A text that
/// cannot be read is cut at its first parenthesis.
pub fn redact(sql: &str) -> String {
    use maru_sql::tokenizer::{Token, Tokenizer};
    let words = sql
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(8)
        .map(str::to_lowercase)
        .collect::<Vec<_>>();
    let starts = |word: &str| words.iter().any(|w| w == word);
    let holds_options =
        (starts("create") || starts("alter")) && (starts("secret") || starts("catalog"));
    if !holds_options {
        return sql.to_owned();
    }
    let Ok(tokens) = Tokenizer::new(&maru_sql::dialect::PostgreSqlDialect {}, sql).tokenize()
    else {
        return sql.split('(').next().unwrap_or_default().to_owned() + "(********";
    };
    let mut depth = 0_usize;
    let mut after_equals = false;
    let mut text = String::new();
    for token in tokens {
        match &token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_value = depth > 0
            && after_equals
            && !matches!(token, Token::Whitespace(_) | Token::Comma | Token::RParen);
        if is_value {
            text.push_str("'********'");
        } else {
            text.push_str(&token.to_string());
        }
        match token {
            Token::Eq => after_equals = true,
            Token::Whitespace(_) => {}
            _ => after_equals = false,
        }
    }
    text
}

/// Resolves a name for a statement that makes or removes something in the built-in catalog.
///
/// # Errors
/// 0A000 if it names another catalog; 42601 for too many parts.
fn builtin_relation(session: &Arc<Session>, name: &Name) -> Result<(String, String)> {
    let (catalog, schema, relation) = match name.0.as_slice() {
        [relation] => (session.catalog(), default_schema(session), relation.clone()),
        [schema, relation] => (session.catalog(), schema.clone(), relation.clone()),
        [catalog, schema, relation] => (catalog.clone(), schema.clone(), relation.clone()),
        _ => return Err(too_many_parts(name)),
    };
    require_builtin(&catalog)?;
    Ok((schema, relation))
}

fn require_builtin(catalog: &str) -> Result<()> {
    if catalog == BUILTIN {
        return Ok(());
    }
    Err(Error::unsupported(format!("cannot make or drop objects in catalog \"{catalog}\" yet"))
        .with_hint(format!("Views and external tables live in catalog \"{BUILTIN}\".")))
}

fn default_schema(session: &Arc<Session>) -> String {
    session.search_path().into_iter().next().unwrap_or_else(|| "public".to_owned())
}

fn too_many_parts(name: &Name) -> Error {
    Error::new(
        ErrorKind::Syntax,
        format!("improper qualified name (wrong number of parts): {name}"),
    )
}

/// Finds the table or view that a name means, in any catalog.
///
/// # Errors
/// As a query that reads it.
pub(crate) async fn locate_relation(session: &Arc<Session>, name: &Name) -> Result<QualifiedName> {
    use crate::catalog::resolve::require_table;
    use datafusion::common::TableReference;
    let (reference, catalog, schemas, relation) = match name.0.as_slice() {
        [relation] => (
            TableReference::bare(relation.as_str()),
            session.catalog(),
            session.search_path(),
            relation,
        ),
        [schema, relation] => (
            TableReference::partial(schema.as_str(), relation.as_str()),
            session.catalog(),
            vec![schema.clone()],
            relation,
        ),
        [catalog, schema, relation] => (
            TableReference::full(catalog.as_str(), schema.as_str(), relation.as_str()),
            catalog.clone(),
            vec![schema.clone()],
            relation,
        ),
        _ => return Err(too_many_parts(name)),
    };
    require_table(session, &reference).await?;
    if let [schema] = schemas.as_slice() {
        // Schema system is listed under the built-in catalog alone.
        let catalog = if schema == crate::system::SYSTEM { BUILTIN.to_owned() } else { catalog };
        return Ok(QualifiedName::new(catalog, schema.as_str(), relation.as_str()));
    }
    let attached = session.catalogs().require(&catalog)?;
    for schema in schemas {
        if attached.table(&schema, relation).await?.is_some() {
            return Ok(QualifiedName::new(catalog, schema, relation.as_str()));
        }
    }
    Err(Error::new(ErrorKind::UndefinedTable, format!("table \"{name}\" does not exist")))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn redacts_values_of_options_and_nothing_else() {
        assert_eq!(
            redact("CREATE SECRET s WITH (user = 'u', password = 'p', n = 5)"),
            "CREATE SECRET s WITH (user = '********', password = '********', n = '********')"
        );
        assert_eq!(
            redact("/* x */ create or replace catalog c using s3 with (a=$$b$$)"),
            "/* x */ create or replace catalog c using s3 with (a='********')"
        );
        let select = "SELECT * FROM t WHERE a = 'x' AND (b = 'y')";
        assert_eq!(redact(select), select);
        assert!(!redact("CREATE SECRET s WITH (password = 'hunter2").contains("hunter2"));
    }
}
