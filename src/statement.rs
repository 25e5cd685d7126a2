//! What Maru's own statements do. One file for each kind of object.

mod catalog;
mod comment;
mod drop;
mod group;
mod index;
mod model;
mod pipeline;
mod policy;
mod privilege;
mod relation;
mod role;
mod secret;
mod session;
mod show_create;
mod table;
mod template;
mod transaction;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use maru_core::{Error, ErrorKind, QualifiedName, Result};
use maru_sql::MaruDialect;
use maru_sql::tokenizer::{Token, Tokenizer};
use maru_sql::{ModelStatement, Name, PipelineStatement, Statement};
use regex::Regex;

use crate::access::Object;
use crate::access::audit::What;
use crate::catalog::BUILTIN;
use crate::output::Output;
use crate::session::Session;

/// Runs a command. Queries never come here.
pub(crate) async fn execute(
    session: &Arc<Session>,
    statement: &Statement,
    sql: &str,
) -> Result<Output> {
    match statement {
        Statement::CreateTable(create) => crate::session::create_table(session, create).await,
        Statement::Truncate(truncate) => table::truncate(session, truncate).await,
        Statement::Vacuum(vacuum) => table::vacuum(session, vacuum).await,
        Statement::AlterTable(alter) => table::alter(session, alter).await,
        Statement::CreateIndex(create) => index::create(session, create).await,
        Statement::DropIndex(drop) => index::drop(drop),
        Statement::CreateCatalog(create) => catalog::create(session, create).await,
        Statement::AlterCatalog(alter) => catalog::alter(session, alter).await,
        Statement::CreateCatalogTemplate(create) => template::create(session, create).await,
        Statement::CreateResourceGroup(create) => group::create(session, create).await,
        Statement::AlterResourceGroup(alter) => group::alter(session, alter).await,
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
            session.choose_default(name.as_deref())?;
            Ok(Output::command("RESET"))
        }
        Statement::CreateRole(create) => role::create(session, create).await,
        Statement::AlterRole(alter) => role::alter(session, alter).await,
        Statement::DropRole(drop) => role::drop(session, drop).await,
        Statement::GrantRole(grant) => role::grant(session, grant).await,
        Statement::GrantPrivileges(grant) => privilege::grant(session, grant).await,
        Statement::AlterDefaultPrivileges(alter) => privilege::default(session, alter).await,
        Statement::AlterOwner(alter) => privilege::owner(session, alter).await,
        Statement::CreatePolicy(create) => policy::create(session, create).await,
        Statement::AlterPolicy(alter) => policy::change_policy(session, alter).await,
        Statement::DropPolicy(drop) => policy::drop(session, drop).await,
        Statement::AlterTableSecurity(alter) => policy::alter(session, alter).await,
        Statement::Owned(owned) => role::owned(session, owned).await,
        Statement::SetRole(role) => role::set_role(session, role.as_ref()),
        Statement::Model(statement) => model::execute(session, statement).await,
        Statement::Pipeline(statement) => pipeline::execute(session, statement, sql).await,
        Statement::CancelQuery(cancel) => session::cancel_query(session, cancel),
        Statement::Transaction(transaction) => transaction::execute(session, transaction).await,
        Statement::Deallocate(name) => session::deallocate(session, name.as_deref()),
        Statement::CloseCursor(name) => session::close_cursor(session, name.as_deref()),
        Statement::Channel(channel) => session::channel(session, channel),
        Statement::Discard { tag, resets } => {
            if *resets || tag.ends_with("TEMP") {
                session.drop_temporary().await?;
            }
            if *resets {
                session.reset(None)?;
                session.forget_all_named();
                session.close_cursor(None);
                session.engine().inner.locks.release_all(session.id());
                session.unlisten_all();
            }
            Ok(Output::command(*tag))
        }
        Statement::Query { .. }
        | Statement::Write(_)
        | Statement::Describe(_)
        | Statement::DescribeHistory(_)
        | Statement::DescribeModel(_)
        | Statement::ShowCreateView(_)
        | Statement::Preview(_)
        | Statement::ShowVariable(_)
        | Statement::Prepare(_)
        | Statement::ExecutePrepared(_)
        | Statement::ExplainExecute(_)
        | Statement::DeclareCursor(_)
        | Statement::Fetch(_)
        | Statement::Copy(_) => Err(Error::internal("a query was run as a command")),
    }
}

pub(crate) use drop::is_final;
pub(crate) use model::learns_from;
pub(crate) use pipeline::{explain as explain_pipeline, show_create as show_create_pipeline};
pub(crate) use show_create::show_create_view;

/// Returns what the audit calls a command; `None` if it is not kept there.
pub(crate) fn audited(statement: &Statement) -> Option<What> {
    match statement {
        Statement::Truncate(_) | Statement::Vacuum(_) => Some(What::Write),
        Statement::CreateTable(_)
        | Statement::AlterTable(_)
        | Statement::CreateIndex(_)
        | Statement::DropIndex(_)
        | Statement::CreateCatalog(_)
        | Statement::AlterCatalog(_)
        | Statement::CreateCatalogTemplate(_)
        | Statement::CreateResourceGroup(_)
        | Statement::AlterResourceGroup(_)
        | Statement::CreateSecret(_)
        | Statement::CreateSchema(_)
        | Statement::CreateExternalTable(_)
        | Statement::CreateView(_)
        | Statement::Drop(_)
        | Statement::Model(_)
        | Statement::Pipeline(_)
        | Statement::CommentOn(_) => Some(What::Ddl),
        Statement::CreateRole(_)
        | Statement::AlterRole(_)
        | Statement::DropRole(_)
        | Statement::GrantRole(_)
        | Statement::GrantPrivileges(_)
        | Statement::AlterDefaultPrivileges(_)
        | Statement::AlterOwner(_)
        | Statement::Owned(_)
        | Statement::CreatePolicy(_)
        | Statement::AlterPolicy(_)
        | Statement::DropPolicy(_)
        | Statement::AlterTableSecurity(_)
        | Statement::SetRole(_) => Some(What::Grant),
        Statement::Query { .. }
        | Statement::Write(_)
        | Statement::Describe(_)
        | Statement::DescribeHistory(_)
        | Statement::DescribeModel(_)
        | Statement::ShowCreateView(_)
        | Statement::Preview(_)
        | Statement::ShowVariable(_)
        | Statement::Set(_)
        | Statement::Reset(_)
        | Statement::CancelQuery(_)
        | Statement::Transaction(_)
        | Statement::Prepare(_)
        | Statement::ExecutePrepared(_)
        | Statement::ExplainExecute(_)
        | Statement::Deallocate(_)
        | Statement::DeclareCursor(_)
        | Statement::Fetch(_)
        | Statement::CloseCursor(_)
        | Statement::Channel(_)
        | Statement::Copy(_)
        | Statement::Discard { .. } => None,
    }
}

/// Returns what a command is called that a transaction refuses which only reads; `None` for one that changes nothing but its
/// session.
pub(crate) fn written_as(statement: &Statement) -> Option<Cow<'static, str>> {
    let name = match statement {
        Statement::CreateTable(_) => "CREATE TABLE",
        Statement::Truncate(_) => "TRUNCATE TABLE",
        Statement::Vacuum(vacuum) if vacuum.dry_run => return None,
        Statement::Vacuum(_) => "VACUUM",
        Statement::AlterTable(_) | Statement::AlterTableSecurity(_) => "ALTER TABLE",
        Statement::CreateIndex(_) => "CREATE INDEX",
        Statement::DropIndex(_) => "DROP INDEX",
        Statement::CreateCatalog(_) => "CREATE CATALOG",
        Statement::AlterCatalog(_) => "ALTER CATALOG",
        Statement::CreateCatalogTemplate(_) => "CREATE CATALOG TEMPLATE",
        Statement::CreateResourceGroup(_) => "CREATE RESOURCE GROUP",
        Statement::AlterResourceGroup(_) => "ALTER RESOURCE GROUP",
        Statement::CreateSecret(_) => "CREATE SECRET",
        Statement::CreateSchema(_) => "CREATE SCHEMA",
        Statement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE",
        Statement::CreateView(_) => "CREATE VIEW",
        Statement::Drop(drop) => {
            return Some(format!("DROP {}", drop.kind.word().to_uppercase()).into());
        }
        Statement::CommentOn(_) => "COMMENT",
        Statement::CreateRole(_) => "CREATE ROLE",
        Statement::AlterRole(_) => "ALTER ROLE",
        Statement::DropRole(_) => "DROP ROLE",
        Statement::GrantRole(grant) if grant.is_grant => "GRANT ROLE",
        Statement::GrantRole(_) => "REVOKE ROLE",
        Statement::GrantPrivileges(grant) if grant.is_grant => "GRANT",
        Statement::GrantPrivileges(_) => "REVOKE",
        Statement::AlterDefaultPrivileges(_) => "ALTER DEFAULT PRIVILEGES",
        Statement::AlterOwner(alter) => {
            return Some(format!("ALTER {}", alter.kind.to_uppercase()).into());
        }
        Statement::Owned(owned) if owned.to.is_some() => "REASSIGN OWNED",
        Statement::Owned(_) => "DROP OWNED",
        Statement::CreatePolicy(_) => "CREATE POLICY",
        Statement::AlterPolicy(_) => "ALTER POLICY",
        Statement::DropPolicy(_) => "DROP POLICY",
        Statement::Model(model) => match model.as_ref() {
            ModelStatement::Create(_) => "CREATE MODEL",
            ModelStatement::Alter(_) => "ALTER MODEL",
            ModelStatement::Drop(_) => "DROP MODEL",
            ModelStatement::Export(_) => "EXPORT MODEL",
            ModelStatement::Retrain(_) => "RETRAIN MODEL",
            ModelStatement::CancelJob(_) => return None,
        },
        Statement::Pipeline(pipeline) => match pipeline.as_ref() {
            PipelineStatement::Create(_) => "CREATE PIPELINE",
            PipelineStatement::Drop { .. } => "DROP PIPELINE",
            PipelineStatement::Alter { .. } => "ALTER PIPELINE",
            PipelineStatement::Run(_) => "RUN PIPELINE",
            PipelineStatement::Backfill(_) => "BACKFILL PIPELINE",
            PipelineStatement::ResumeRun { .. } => "RESUME RUN",
            PipelineStatement::Explain(_)
            | PipelineStatement::ShowCreate(_)
            | PipelineStatement::CancelRun(_) => return None,
        },
        Statement::Query { .. }
        | Statement::Write(_)
        | Statement::Describe(_)
        | Statement::DescribeHistory(_)
        | Statement::DescribeModel(_)
        | Statement::ShowCreateView(_)
        | Statement::Preview(_)
        | Statement::ShowVariable(_)
        | Statement::Set(_)
        | Statement::Reset(_)
        | Statement::SetRole(_)
        | Statement::CancelQuery(_)
        | Statement::Transaction(_)
        | Statement::Prepare(_)
        | Statement::ExecutePrepared(_)
        | Statement::ExplainExecute(_)
        | Statement::Deallocate(_)
        | Statement::DeclareCursor(_)
        | Statement::Fetch(_)
        | Statement::CloseCursor(_)
        | Statement::Channel(_)
        | Statement::Copy(_)
        | Statement::Discard { .. } => return None,
    };
    Some(name.into())
}

/// Says whether a statement changes the session that runs it and nothing else; what a transaction undoes says so itself.
pub(crate) fn is_of_session(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::ShowVariable(_)
            | Statement::Set(_)
            | Statement::Reset(_)
            | Statement::SetRole(_)
            | Statement::CancelQuery(_)
            | Statement::Transaction(_)
            | Statement::Deallocate(_)
            | Statement::CloseCursor(_)
            | Statement::Channel(_)
    )
}

/// Returns the statement's text as it may be kept and shown: secrets in it are stars.
///
/// That is the values of options in `CREATE SECRET`, `CREATE CATALOG`, `ALTER CATALOG`, everything but words and numbers in
/// `CREATE ROLE` and `ALTER ROLE`, the texts of whatever else speaks of a password, a misspelt statement say, and the passwords
/// of addresses. A text that cannot be read is cut short.
pub fn redact(sql: &str) -> String {
    without_passwords(&without_secrets(sql)).into_owned()
}

/// Returns a text with stars in the place of the passwords of addresses: `postgres://kim:********@host`.
pub(crate) fn without_passwords(text: &str) -> Cow<'_, str> {
    static PASSWORD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(://[^\s'"/@:]*):[^\s'"]+@"#).ok());
    match &*PASSWORD {
        Some(password) => password.replace_all(text, "$1:********@"),
        None => Cow::Borrowed(text),
    }
}

fn without_secrets(sql: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&MaruDialect, sql).tokenize() else {
        let speaks = |word: &str| sql.to_ascii_lowercase().contains(word);
        let secret =
            ["password", "secret", "catalog", "webhook", "on_failure"].into_iter().any(speaks);
        let end = sql.find(['(', '\'', '$']).filter(|_| secret);
        return end.map_or_else(|| sql.to_owned(), |end| sql[..end].to_owned() + "********");
    };
    let words = tokens.iter().filter_map(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
        _ => None,
    });
    let words = words.collect::<Vec<_>>();
    let mut first =
        words.iter().map(String::as_str).filter(|word| !["or", "replace"].contains(word));
    match (first.next().unwrap_or_default(), first.next().unwrap_or_default()) {
        ("create" | "alter", "secret" | "catalog") => without_values(&tokens),
        // A misspelt one, or one within another statement.
        _ if words.iter().any(|word| word == "secret") => without_values(&tokens),
        // The address of a webhook is as good as a password.
        ("create", "pipeline") => without_webhook(&tokens),
        ("create" | "alter", "role" | "user" | "group") => without(&tokens, |token| {
            !matches!(
                token,
                Token::Word(_)
                    | Token::Whitespace(_)
                    | Token::Number(..)
                    | Token::Comma
                    | Token::Period
                    | Token::Minus
            )
        }),
        _ if words.iter().any(|word| SENSITIVE.contains(&word.as_str())) => {
            without(&tokens, is_text)
        }
        _ => sql.to_owned(),
    }
}

/// Words of statements whose texts are not shown.
const SENSITIVE: &[&str] = &["password", "token", "webhook", "on_failure", "secret_access_key"];

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
    )
}

/// Returns the text with stars in the place of the tokens that are `secret`.
fn without(tokens: &[Token], secret: impl Fn(&Token) -> bool) -> String {
    let shown = |token: &Token| match secret(token) {
        true => "'********'".to_owned(),
        false => token.to_string(),
    };
    tokens.iter().map(shown).collect()
}

/// Returns the text with stars in the place of the texts in `webhook(…)`.
fn without_webhook(tokens: &[Token]) -> String {
    let mut in_webhook = false;
    let texts = tokens.iter().map(|token| {
        match token {
            // An address that stands there without the word is refused, and is one all the same.
            Token::Word(word) => {
                let is = |name: &str| word.value.eq_ignore_ascii_case(name);
                in_webhook = is("webhook") || is("on_failure");
            }
            Token::RParen => in_webhook = false,
            Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
                if in_webhook =>
            {
                return "'********'".to_owned();
            }
            _ => {}
        }
        token.to_string()
    });
    texts.collect()
}

/// Returns the text with stars in the place of the values of options and of all texts.
fn without_values(tokens: &[Token]) -> String {
    let mut depth = 0_usize;
    let mut after_equals = false;
    let mut text = String::new();
    for token in tokens {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        // Texts are values wherever they stand: behind another text, an operator, or a word that is misplaced.
        let is_value = is_text(token)
            || depth > 0
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
    let attached = session.require_catalog(&catalog)?;
    let rights = session.rights();
    for schema in schemas {
        let object = Object::table(&catalog, &schema, relation);
        if rights.sees(&object) && attached.table(&schema, relation).await?.is_some() {
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
        let pipeline = "CREATE PIPELINE p WITH (on_failure = webhook ('https://h/hunter2')) AS BEGIN STEP a AS SELECT 'x'; END";
        assert!(!redact(pipeline).contains("hunter2") && redact(pipeline).contains("'x'"));
        let bare = "CREATE PIPELINE p WITH (on_failure = 'https://h/hunter2', timeout = '2h') AS BEGIN STEP a AS SELECT 'x'; END";
        assert!(!redact(bare).contains("hunter2") && redact(bare).contains("'2h'"));
        assert!(
            !redact("ALTER PIPELINE p SET (on_failure = 'https://h/hunter2')").contains("hunter2")
        );
        for select in [
            "SELECT * FROM t WHERE a = 'x' AND (b = 'y')",
            "SELECT * FROM 's3://b/2026:01/k@m.parquet'",
        ] {
            assert_eq!(redact(select), select);
        }
        assert_eq!(
            redact("SELECT * FROM 'postgres://kim:p@ss/w@db:5432/crm' WHERE a = 'b@c'"),
            "SELECT * FROM 'postgres://kim:********@db:5432/crm' WHERE a = 'b@c'"
        );
        assert!(!redact("CREATE SECRET s WITH (password = 'hunter2").contains("hunter2"));
        for role in [
            "CREATE USER kim PASSWORD 'secret-hunter2'",
            "CREAT USER kim PASSWORD 'hunter2'",
            "SELECT * FROM users WHERE password = 'hunter2'",
            "CREATE USER kim PASSWORD 'hunter2' VALID UNTIL '2030-01-01'",
            "alter role kim with password $$hunter2$$",
            "ALTER USER kim PASSWORD E'hunter2'",
            "CREATE ROLE kim PASSWORD 'hunter2",
            "CREATE ROLE kim PASSWORD $x$hunter2",
            "CREATE SECRET s WITH (password = 'x'\n 'hunter2')",
            "CREAT SECRET s (token 'hunter2')",
            "ALTER CATALOG c SET password 'hunter2'",
            "EXPLAIN CREATE SECRET s WITH (a = 'a' || 'hunter2')",
            "CREATE CATALOG c OPTIONS (a => 'hunter2')",
        ] {
            assert!(!redact(role).contains("hunter2"), "{role}");
        }
    }
}
