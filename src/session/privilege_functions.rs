//! PostgreSQL's questions about rights: `has_table_privilege` and its family, `pg_has_role`.
//!
//! Objects are named by text or by OID. OIDs are those of `pg_catalog`, which are looked up when a statement with such a
//! function is planned ([`Session::learn_oids`]); one that is not there gives NULL, as in PostgreSQL.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::physical_plan::collect;
use maru_core::{Error, ErrorKind, Result};

use super::Session;
use super::owner_session::{OwnerSession, add};
use super::state::task_context;
use crate::access::{Columns, Object, Privilege, Rights};
use crate::catalog::BUILTIN;
use crate::catalog::definition::Definition;
use crate::system::VIRTUAL_SCHEMAS;

/// What a function is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    Table,
    AnyColumn,
    Column,
    Schema,
    Database,
    Function,
    Role,
}

const FUNCTIONS: &[(&str, About)] = &[
    ("has_table_privilege", About::Table),
    ("has_any_column_privilege", About::AnyColumn),
    ("has_column_privilege", About::Column),
    ("has_schema_privilege", About::Schema),
    ("has_database_privilege", About::Database),
    ("has_function_privilege", About::Function),
    ("pg_has_role", About::Role),
];

/// Objects by their OIDs in `pg_catalog`.
#[derive(Debug, Default)]
pub(super) struct Oids {
    tables: HashMap<i64, Object>,
    schemas: HashMap<i64, Object>,
    catalogs: HashMap<i64, Object>,
    roles: HashMap<i64, String>,
    /// Queries of views of the built-in catalog.
    views: HashMap<(String, String), String>,
    /// Remarks, by OID and number of a column, 0 for the object itself.
    remarks: HashMap<(i64, i64), String>,
}

/// Columns and tables that are answered by functions of a table's OID.
const ACL_WORDS: &[&str] = &["attacl", "pg_policy", VIEWS, NAMES, REMARKS];

/// What asks for tables by their names, and for remarks.
const NAMES: &str = "to_regclass(";
const REMARKS: &str = "_description";

/// What asks for the text of views.
const VIEWS: &str = "pg_get_viewdef";

impl Oids {
    pub(super) fn table(&self, oid: i64) -> Option<&Object> {
        self.tables.get(&oid)
    }

    /// Returns the OID of a table that shows, by a name that may have a schema before it.
    pub(super) fn by_name(&self, session: &Session, name: &str) -> Option<i32> {
        let parts = super::named_objects::parts(name)?;
        let catalog = session.catalog();
        let (schemas, table) = match parts.as_slice() {
            [table] => (session.search_path(), table),
            [schema, table] => (vec![schema.clone()], table),
            [named, schema, table] if *named == catalog => (vec![schema.clone()], table),
            _ => return None,
        };
        let rights = session.rights();
        schemas.iter().find_map(|schema| {
            let object = Object::table(&catalog, schema, table);
            let found = self.tables.iter().find(|(_, known)| **known == object);
            found.filter(|_| rights.sees(&object)).and_then(|(oid, _)| i32::try_from(*oid).ok())
        })
    }

    /// Returns the remark on an object that shows, or on one of its columns.
    pub(super) fn remark(&self, oid: i64, column: i64, rights: &Rights) -> Option<String> {
        let object = self.tables.get(&oid).or_else(|| self.schemas.get(&oid))?;
        rights.sees(object).then(|| self.remarks.get(&(oid, column)).cloned()).flatten()
    }

    /// Returns the query of a view to its owner, as `pg_views` does: it names what others do not see.
    pub(super) fn view(&self, oid: i64, rights: &Rights) -> Option<String> {
        let object = self.table(oid).filter(|object| rights.owns(object))?;
        match object.path.as_slice() {
            [catalog, schema, name] if catalog == BUILTIN => {
                self.views.get(&(schema.clone(), name.clone())).cloned()
            }
            _ => None,
        }
    }
}

impl Session {
    /// Returns the OIDs that were looked up last.
    pub(super) fn known_oids(&self) -> Arc<Oids> {
        self.oids.read().clone()
    }

    /// Looks up OIDs if a statement asks for rights.
    pub(super) async fn learn_oids(self: &Arc<Self>, sql: &str) -> Result<()> {
        let sql = sql.to_ascii_lowercase();
        let mut words = FUNCTIONS.iter().map(|(name, _)| name).chain(ACL_WORDS);
        if !words.any(|word| sql.contains(word)) {
            return Ok(());
        }
        let catalog = self.catalog();
        let mut oids = Oids::default();
        let tables = "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";
        for (oid, names) in self.oids_of(tables).await? {
            if let [schema, table] = names.as_slice() {
                oids.tables.insert(oid, Object::table(&catalog, schema, table));
            }
        }
        for (oid, names) in self.oids_of("SELECT oid, nspname FROM pg_catalog.pg_namespace").await?
        {
            oids.schemas.extend(names.first().map(|name| (oid, Object::schema(&catalog, name))));
        }
        for (oid, names) in self.oids_of("SELECT oid, datname FROM pg_catalog.pg_database").await? {
            oids.catalogs.extend(names.first().map(|name| (oid, Object::catalog(name))));
        }
        for (oid, names) in self.oids_of("SELECT oid, rolname FROM pg_catalog.pg_roles").await? {
            oids.roles.extend(names.into_iter().next().map(|name| (oid, name)));
        }
        if sql.contains(VIEWS) {
            for relation in self.engine.inner.store.relations().await? {
                if let Ok(Definition::View(view)) = Definition::decode(&relation.definition) {
                    oids.views.insert((relation.schema, relation.name), view.sql);
                }
            }
        }
        if sql.contains(REMARKS) {
            self.learn_remarks(&mut oids).await?;
        }
        *self.oids.write() = Arc::new(oids);
        Ok(())
    }

    async fn learn_remarks(self: &Arc<Self>, oids: &mut Oids) -> Result<()> {
        let store = &self.engine.inner.store;
        let catalog = self.catalog();
        let mut known = HashMap::new();
        for [of, schema, object, column, text] in store.comments().await? {
            if of == catalog {
                known.insert((schema, object, column), text);
            }
        }
        if catalog == BUILTIN {
            for relation in store.relations().await? {
                if let Some(text) = relation.comment {
                    known.insert((relation.schema, relation.name, String::new()), text);
                }
            }
            for (schema, text) in store.schemas().await? {
                if let Some(text) = text {
                    known.insert((schema, String::new(), String::new()), text);
                }
            }
        }
        if known.is_empty() {
            return Ok(());
        }
        let key = |object: &Object, column: &str| {
            let part = |at: usize| object.path.get(at).cloned().unwrap_or_default();
            (part(1), part(2), column.to_owned())
        };
        for (oid, object) in oids.tables.iter().chain(&oids.schemas) {
            if let Some(text) = known.get(&key(object, "")) {
                oids.remarks.insert((*oid, 0), text.clone());
            }
        }
        let columns = "SELECT attrelid, attname, CAST(attnum AS text) FROM pg_catalog.pg_attribute";
        for (oid, names) in self.oids_of(columns).await? {
            if let (Some(object), [name, number]) = (oids.tables.get(&oid), names.as_slice())
                && let (Some(text), Ok(number)) = (known.get(&key(object, name)), number.parse())
            {
                oids.remarks.insert((oid, number), text.clone());
            }
        }
        Ok(())
    }

    async fn oids_of(self: &Arc<Self>, sql: &str) -> Result<Vec<(i64, Vec<String>)>> {
        let plan = Box::pin(self.plan_view(sql, None)).await?;
        let state = self.statement_state();
        let physical = state.create_physical_plan(&plan).await?;
        let mut found = Vec::new();
        for batch in collect(physical, task_context(&state)).await? {
            let Some((oids, names)) = batch.columns().split_first() else { continue };
            let oids = cast(oids, &DataType::Int64)?;
            let names = names.iter().map(|column| cast(column, &DataType::Utf8));
            let names = names.collect::<std::result::Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let texts =
                    names.iter().map(|column| column.as_string::<i32>().value(row).to_owned());
                found.push((oids.as_primitive::<Int64Type>().value(row), texts.collect()));
            }
        }
        Ok(found)
    }
}

/// Registers the functions of a session with its state, in the place of those that always say yes.
pub(super) fn register(state: &mut SessionState, session: &Weak<Session>) {
    for (name, about) in FUNCTIONS {
        let least = if *about == About::Column { 3 } else { 2 };
        let signature = Signature::one_of(
            vec![TypeSignature::Any(least), TypeSignature::Any(least + 1)],
            Volatility::Stable,
        );
        let session = OwnerSession::new(session);
        let function = RightsFunction { name, about: *about, signature, session };
        add(state, function);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RightsFunction {
    name: &'static str,
    about: About,
    signature: Signature,
    session: OwnerSession,
}

impl ScalarUDFImpl for RightsFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = self.session.get()?;
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if all_scalar { 1 } else { args.number_rows };
        let words = args.args.iter().map(|arg| Words::of(&arg.to_array(n_rows)?));
        let words = words.collect::<DfResult<Vec<_>>>()?;
        let named = if self.about == About::Column { 3 } else { 2 };
        // Without a user it is the current one's rights that are asked for.
        let (user, words) = words.split_at(words.len().saturating_sub(named));
        let asked = Asked { session: &session, oids: session.oids.read().clone() };
        let answers = (0..n_rows).map(|row| {
            let rights = match user.first().map(|user| user.at(row)) {
                None => Some(session.rights()),
                Some(None) => None,
                Some(Some(user)) => asked.rights_of(&user)?,
            };
            let words = words.iter().map(|words| words.at(row)).collect::<Option<Vec<_>>>();
            match (rights, words) {
                (Some(rights), Some(words)) => asked.answer(self.about, &rights, &words),
                _ => Ok(None),
            }
        });
        let answers = answers.collect::<Result<BooleanArray>>()?;
        Ok(match all_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?),
            false => ColumnarValue::Array(Arc::new(answers)),
        })
    }
}

/// One argument: names, or OIDs.
enum Words {
    Names(StringArray),
    Oids(arrow::array::Int64Array),
}

#[derive(Debug)]
enum Word {
    Name(String),
    Oid(i64),
}

impl Words {
    fn of(array: &dyn Array) -> DfResult<Self> {
        if array.data_type().is_integer() {
            return Ok(Self::Oids(
                cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            ));
        }
        Ok(Self::Names(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()))
    }

    fn at(&self, row: usize) -> Option<Word> {
        match self {
            Self::Names(names) => {
                names.is_valid(row).then(|| Word::Name(names.value(row).to_owned()))
            }
            Self::Oids(oids) => oids.is_valid(row).then(|| Word::Oid(oids.value(row))),
        }
    }
}

struct Asked<'a> {
    session: &'a Session,
    oids: Arc<Oids>,
}

impl Asked<'_> {
    /// Returns the rights of a user; `None` for an OID that no role has.
    fn rights_of(&self, user: &Word) -> Result<Option<Rights>> {
        let Some(user) = self.role(user)? else { return Ok(None) };
        let rules = Arc::clone(self.session.rights().rules());
        Ok(Some(Rights::new(rules, &user)))
    }

    fn role(&self, word: &Word) -> Result<Option<String>> {
        match word {
            Word::Oid(oid) => Ok(self.oids.roles.get(oid).cloned()),
            Word::Name(name) => {
                if name != "public" {
                    self.session.rights().rules().role(name)?;
                }
                Ok(Some(name.clone()))
            }
        }
    }

    fn answer(&self, about: About, rights: &Rights, words: &[Word]) -> Result<Option<bool>> {
        let (Some(object), Some(Word::Name(privileges))) = (words.first(), words.last()) else {
            return Err(Error::new(ErrorKind::InvalidParameter, "a privilege is named by text"));
        };
        if about == About::Role {
            let Some(role) = self.role(object)? else { return Ok(None) };
            return any(privileges, |privilege, _| has_role(rights, &role, privilege)).map(Some);
        }
        let Some(object) = self.object(about, object)? else { return Ok(None) };
        // Of what does not show nothing is told.
        let asker = self.session.rights();
        if !is_of_engine(&object) && !asker.sees(&object) {
            return Err(undefined(about, &object));
        }
        let column = match (about, words.get(1)) {
            (About::Column, Some(Word::Name(column))) => Some(column.clone()),
            (About::Column, _) => {
                return Err(Error::unsupported("a column is named by text, not by its number"));
            }
            _ => None,
        };
        any(privileges, |word, grantable| {
            // What PostgreSQL has and the engine has not is nobody's.
            if ["temp", "temporary", "rule", "maintain"].contains(&word) {
                return Ok(false);
            }
            let privilege = Privilege::parse(word).ok_or_else(|| unrecognized(word))?;
            if is_of_engine(&object) {
                return Ok(matches!(privilege, Privilege::Select | Privilege::Usage) && !grantable);
            }
            if grantable {
                return Ok(rights.may_grant(privilege, &object));
            }
            Ok(match about {
                About::AnyColumn => rights.columns(privilege, &object).is_some(),
                About::Column => match (rights.columns(privilege, &object), &column) {
                    (Some(Columns::All), _) => true,
                    (Some(Columns::Some(columns)), Some(column)) => columns.contains(column),
                    _ => false,
                },
                About::Database if privilege == Privilege::Usage => rights.sees(&object),
                _ => rights.may(privilege, &object),
            })
        })
        .map(Some)
    }

    fn object(&self, about: About, word: &Word) -> Result<Option<Object>> {
        let catalog = self.session.catalog();
        let name = match (about, word) {
            (About::Schema, Word::Oid(oid)) => return Ok(self.oids.schemas.get(oid).cloned()),
            (About::Database, Word::Oid(oid)) => return Ok(self.oids.catalogs.get(oid).cloned()),
            (About::Function | About::Role, Word::Oid(_)) => return Ok(None),
            (_, Word::Oid(oid)) => return Ok(self.oids.tables.get(oid).cloned()),
            (_, Word::Name(name)) => name,
        };
        match about {
            About::Schema => return Ok(Some(Object::schema(&catalog, name))),
            About::Database => return Ok(Some(Object::catalog(name))),
            About::Function => {
                let name = name.split('(').next().unwrap_or_default();
                return Ok(Some(Object::function(name.trim())));
            }
            About::Table | About::AnyColumn | About::Column | About::Role => {}
        }
        let parts = parts(name)?;
        let known = |object: &Object| self.oids.tables.values().any(|known| known == object);
        match parts.as_slice() {
            [catalog, schema, table] => Ok(Some(Object::table(catalog, schema, table))),
            [schema, table] => {
                let object = Object::table(&catalog, schema, table);
                if known(&object) || is_of_engine(&object) {
                    return Ok(Some(object));
                }
                Err(undefined(about, &object))
            }
            [table] => {
                let places = self.session.bare_places();
                let mut found = places.iter().map(|(c, schema)| Object::table(c, schema, table));
                let missing = || undefined(about, &Object::table(&catalog, "", table));
                found.find(known).map(Some).ok_or_else(missing)
            }
            _ => Err(Error::new(ErrorKind::InvalidParameter, format!("invalid name \"{name}\""))),
        }
    }
}

/// Asks for each privilege of a list, with whether it is the option to grant it on; one that is there is enough.
fn any(list: &str, mut has: impl FnMut(&str, bool) -> Result<bool>) -> Result<bool> {
    let mut found = false;
    for word in list.split(',') {
        let word = word.trim().to_ascii_lowercase();
        let grantable = word.strip_suffix("with grant option").map(str::trim);
        let grantable = grantable.or_else(|| word.strip_suffix("with admin option").map(str::trim));
        found |= has(grantable.unwrap_or(&word), grantable.is_some())?;
    }
    Ok(found)
}

fn has_role(rights: &Rights, role: &str, privilege: &str) -> Result<bool> {
    match privilege {
        "member" | "set" => {
            Ok(rights.is_superuser() || rights.rules().memberships(rights.role()).contains(role))
        }
        "usage" => Ok(rights.has_role(role)),
        other => Err(unrecognized(other)),
    }
}

/// Returns whether it is one of the engine's own schemas, or in one.
fn is_of_engine(object: &Object) -> bool {
    object.kind != "catalog"
        && object.path.get(1).is_some_and(|schema| VIRTUAL_SCHEMAS.contains(&schema.as_str()))
}

fn unrecognized(word: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, format!("unrecognized privilege type: \"{word}\""))
}

fn undefined(about: About, object: &Object) -> Error {
    let name = object.path.last().map(String::as_str).unwrap_or_default();
    let (kind, word) = match about {
        About::Schema => (ErrorKind::UndefinedSchema, "schema"),
        About::Database => (ErrorKind::UndefinedCatalog, "catalog"),
        About::Function => (ErrorKind::UndefinedFunction, "function"),
        _ => (ErrorKind::UndefinedTable, "relation"),
    };
    Error::new(kind, format!("{word} \"{name}\" does not exist"))
}

/// Reads a name as PostgreSQL's `regclass` does: small letters unless quoted.
fn parts(name: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.last_mut().ok_or_else(|| Error::internal("a name has a part"))?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                last.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c if quoted => last.push(c),
            c => last.extend(c.to_lowercase()),
        }
    }
    if quoted || parts.iter().any(String::is_empty) {
        return Err(Error::new(ErrorKind::InvalidParameter, format!("invalid name \"{name}\"")));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_regclass_does() {
        assert_eq!(parts("A.\"B\"").unwrap(), ["a", "B"]);
        assert_eq!(parts("\"a.b\".\"c\"\"d\"").unwrap(), ["a.b", "c\"d"]);
        for bad in ["", "a.", ".a", "\"a"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_of_a_list_is_enough() {
        let has = |word: &str, grantable: bool| Ok(word == "select" && !grantable);
        assert!(any("INSERT, SELECT", has).unwrap());
        assert!(!any("SELECT WITH GRANT OPTION", has).unwrap());
    }
}
