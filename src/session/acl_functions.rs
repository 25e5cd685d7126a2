//! Access control lists as PostgreSQL writes them: what psql's `\dp` and tools read of `pg_class.relacl`, `pg_attribute.attacl` and
//! `pg_policy`.
//!
//! The catalog's tables have no such columns, since they are the same for all who see them and OIDs are given as they are read. So a
//! statement that reads the columns (`rewrite/clients.rs`) asks these functions, by the OID of the table. The text of a view is told
//! likewise.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListBuilder, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use maru_core::Error;

use super::Session;
use super::owner_session::{OwnerSession, add};
use crate::access::kinds::KINDS;
use crate::access::{Command, Object, Rights, SUPERUSER};

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    Table,
    Columns,
    Policies,
    /// Whether policies are in force.
    RowSecurity,
    /// Whether they are for its owner too.
    Forced,
    /// The query of a view, as text.
    View,
    /// Who owns it, by the kind of object.
    Owner(Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Catalog,
    Schema,
    Table,
}

const FUNCTIONS: &[(&str, About)] = &[
    ("maru_table_acl", About::Table),
    ("maru_column_acls", About::Columns),
    ("maru_policies", About::Policies),
    ("maru_row_security", About::RowSecurity),
    ("maru_forced_row_security", About::Forced),
    ("pg_get_viewdef", About::View),
    ("maru_catalog_owner", About::Owner(Kind::Catalog)),
    ("maru_schema_owner", About::Owner(Kind::Schema)),
    ("maru_table_owner", About::Owner(Kind::Table)),
];

/// Registers the functions of a session with its state.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    for (name, about) in FUNCTIONS {
        let signature = match about {
            // Whether it should be pretty, or how wide, is the same here.
            About::View => Signature::one_of(
                vec![TypeSignature::Any(1), TypeSignature::Any(2)],
                Volatility::Stable,
            ),
            _ => Signature::any(1, Volatility::Stable),
        };
        let session = OwnerSession::new(session);
        let function = AclFunction { name, about: *about, signature, session };
        add(state, function);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AclFunction {
    name: &'static str,
    about: About,
    signature: Signature,
    session: OwnerSession,
}

impl ScalarUDFImpl for AclFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self.about {
            About::View | About::Owner(_) => DataType::Utf8,
            About::RowSecurity | About::Forced => DataType::Boolean,
            _ => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self.session.get()?;
        let oids = match args.args.first() {
            Some(oids) => cast(&oids.to_array(args.number_rows)?, &DataType::Int64)?,
            None => return Err(Error::internal("a list of rights of nothing").into()),
        };
        let oids = oids.as_primitive::<Int64Type>();
        let rights = session.rights();
        let known = session.known_oids();
        if self.about == About::View {
            let text = |row: usize| {
                let oid = oids.is_valid(row).then(|| oids.value(row))?;
                known.view(oid, &rights)
            };
            let texts = (0..oids.len()).map(text).collect::<StringArray>();
            return Ok(ColumnarValue::Array(Arc::new(texts)));
        }
        if let About::Owner(kind) = self.about {
            let owner = |row: usize| {
                let oid = oids.is_valid(row).then(|| oids.value(row))?;
                let object = match kind {
                    Kind::Catalog => known.catalog(oid),
                    Kind::Schema => known.schema(oid),
                    Kind::Table => known.table(oid),
                };
                // What is the engine's own is the superuser's.
                Some(object.map_or(SUPERUSER, |object| rights.rules().owner(object)))
            };
            let owners = (0..oids.len()).map(owner).collect::<StringArray>();
            return Ok(ColumnarValue::Array(Arc::new(owners)));
        }
        if let About::RowSecurity | About::Forced = self.about {
            let is_forced = self.about == About::Forced;
            let holds = |row: usize| {
                let oid = oids.is_valid(row).then(|| oids.value(row))?;
                let object = known.table(oid).filter(|object| rights.sees(object));
                let security = object.and_then(|object| rights.rules().row_security.get(object));
                Some(security.is_some_and(|security| security.forced || !is_forced))
            };
            let answers = (0..oids.len()).map(holds).collect::<BooleanArray>();
            return Ok(ColumnarValue::Array(Arc::new(answers)));
        }
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..oids.len() {
            let object = oids.is_valid(row).then(|| known.table(oids.value(row))).flatten();
            let list = object.map(|object| match self.about {
                About::Table => table_acl(&rights, object),
                About::Columns => column_acls(&rights, object),
                About::Policies => policies(&rights, object),
                _ => Vec::new(),
            });
            match list.filter(|list| !list.is_empty()) {
                Some(list) => {
                    list.iter().for_each(|line| lists.values().append_value(line));
                    lists.append(true);
                }
                None => lists.append(false),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish()) as ArrayRef))
    }
}

/// Who has been granted what by whom, on an object or one column of it, as `grantee=letters/grantor`.
fn granted(rights: &Rights, object: &Object, column: Option<&str>) -> Vec<String> {
    let mut by_whom: BTreeMap<(Option<&str>, &str), String> = BTreeMap::new();
    for (grant, option) in &rights.rules().grants {
        if grant.object == *object && grant.column.as_deref() == column {
            let key = (grant.grantee.as_deref(), grant.grantor.as_str());
            let letters = by_whom.entry(key).or_default();
            letters.push(grant.privilege.letter());
            letters.extend(option.then_some('*'));
        }
    }
    let line = |((grantee, grantor), letters): (&(Option<&str>, &str), &String)| {
        format!("{}={letters}/{}", name(grantee.unwrap_or_default()), name(grantor))
    };
    by_whom.iter().map(line).collect()
}

/// Names that are no plain words are in quotes.
fn name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Nothing where nothing has been granted: then the owner has everything, and nobody else has anything.
fn table_acl(rights: &Rights, object: &Object) -> Vec<String> {
    if !rights.sees(object) {
        return Vec::new();
    }
    let others = granted(rights, object, None);
    if others.is_empty() {
        return Vec::new();
    }
    let owner = name(rights.rules().owner(object));
    let all = KINDS.iter().find(|kind| kind.word == object.kind);
    let letters = all.into_iter().flat_map(|kind| kind.privileges.iter());
    let letters = letters.map(|privilege| privilege.letter()).collect::<String>();
    let mut lines = vec![format!("{owner}={letters}/{owner}")];
    lines.extend(others);
    lines
}

/// `column:`, and below it its list, for each column with one.
fn column_acls(rights: &Rights, object: &Object) -> Vec<String> {
    if !rights.sees(object) {
        return Vec::new();
    }
    let grants = rights.rules().grants.keys().filter(|grant| grant.object == *object);
    let mut columns = grants.filter_map(|grant| grant.column.as_deref()).collect::<Vec<_>>();
    columns.sort_unstable();
    columns.dedup();
    let lines = columns.into_iter().map(|column| {
        let list = granted(rights, object, Some(column));
        format!("{column}:\n  {}", list.join("\n  "))
    });
    lines.collect()
}

/// Policies of a table that one owns, each with its statement, conditions and roles, as psql writes them.
fn policies(rights: &Rights, object: &Object) -> Vec<String> {
    if !rights.owns(object) {
        return Vec::new();
    }
    let of_table = rights.rules().policies.iter().filter(|((table, _), _)| table == object);
    let lines = of_table.map(|((_, name), policy)| {
        let kind = if policy.permissive { "" } else { " (RESTRICTIVE)" };
        let roles = policy.roles.iter().flatten().cloned().collect::<Vec<_>>();
        let to = match roles.is_empty() || policy.roles.iter().any(Option::is_none) {
            true => String::new(),
            false => format!("\n  to: {}", roles.join(", ")),
        };
        let command = match policy.command {
            Command::All => String::new(),
            command => format!(" ({})", command.letter()),
        };
        let using = policy.using.iter().map(|using| format!("\n  (u): {using}"));
        let check = policy.check.iter().map(|check| format!("\n  (c): {check}"));
        let conditions = using.chain(check).collect::<String>();
        format!("{name}{kind}{command}:{conditions}{to}")
    });
    lines.collect()
}
