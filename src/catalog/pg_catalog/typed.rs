//! Columns of the catalog's tables that never change, in the types that PostgreSQL has for them: the library keeps arrays and lists of
//! object ids as text. Access control lists are NULL: what they would tell is of another database's roles.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListBuilder, PrimitiveBuilder, RecordBatch, StringArray,
    StringBuilder, new_null_array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};
use maru_core::Result;
use parking_lot::Mutex;

use super::STATIC_TABLES;

/// What the wire tells an object id and a list of them by.
const OID_ALIAS: &str = "pg.oid_alias";

/// What a column is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `text[]`, which is kept as `['a', 'b']`.
    Texts,
    /// `oid[]`, which is kept as `[1, 2]`.
    Oids,
    /// `oidvector`, which is kept as `1 2`.
    Vector,
    /// `aclitem[]`.
    Acl,
    /// The number of an aggregate, of which the name is kept.
    Aggregate,
}

const COLUMNS: &[(&str, &[(&str, Kind)])] = &[
    ("pg_aggregate", &[("aggfnoid", Kind::Aggregate)]),
    ("pg_db_role_setting", &[("setconfig", Kind::Texts)]),
    ("pg_default_acl", &[("defaclacl", Kind::Acl)]),
    ("pg_extension", &[("extconfig", Kind::Oids), ("extcondition", Kind::Texts)]),
    ("pg_foreign_data_wrapper", &[("fdwacl", Kind::Acl)]),
    ("pg_foreign_server", &[("srvacl", Kind::Acl)]),
    ("pg_init_privs", &[("initprivs", Kind::Acl)]),
    ("pg_language", &[("lanacl", Kind::Acl)]),
    ("pg_largeobject_metadata", &[("lomacl", Kind::Acl)]),
    (
        "pg_proc",
        &[
            ("proargtypes", Kind::Vector),
            ("proallargtypes", Kind::Oids),
            ("proargmodes", Kind::Texts),
            ("proargnames", Kind::Texts),
            ("protrftypes", Kind::Oids),
            ("proconfig", Kind::Texts),
            ("proacl", Kind::Acl),
        ],
    ),
    ("pg_tablespace", &[("spcacl", Kind::Acl)]),
    ("pg_type", &[("typacl", Kind::Acl)]),
];

static MADE: LazyLock<Mutex<HashMap<&'static str, RecordBatch>>> = LazyLock::new(Mutex::default);

/// Numbers of functions by their names; those that several have are left out.
static FUNCTIONS: LazyLock<HashMap<String, i32>> = LazyLock::new(|| {
    let mut known = HashMap::<String, Option<i32>>::new();
    for Procedure { name, oid, .. } in procedures() {
        known.entry(name).and_modify(|oid| *oid = None).or_insert(Some(oid));
    }
    known.into_iter().filter_map(|(name, oid)| Some((name, oid?))).collect()
});

/// Returns the number of a function of PostgreSQL, zero for `-`, which is none; `None` if its name does not tell.
pub(crate) fn function_oid(name: &str) -> Option<i32> {
    if name == "-" {
        return Some(0);
    }
    FUNCTIONS.get(name).copied()
}

/// Returns a table with its columns' types put right; `None` for one that has the right ones.
pub(super) fn table(name: &str, table: &ArrowTable) -> Result<Option<Arc<dyn TableProvider>>> {
    let Some((name, columns)) = COLUMNS.iter().find(|(known, _)| *known == name) else {
        return Ok(None);
    };
    let mut made = MADE.lock();
    let batch = match made.get(name) {
        Some(batch) => batch.clone(),
        None => {
            let batch = put_right(&concat_batches(&table.schema(), table.data())?, columns)?;
            made.insert(name, batch.clone());
            batch
        }
    };
    Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
}

fn put_right(batch: &RecordBatch, columns: &[(&str, Kind)]) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        match columns.iter().find(|(name, _)| name == field.name()) {
            Some((_, kind)) => {
                fields.push(Arc::new(kind.field(field.name())));
                arrays.push(kind.array(array, batch)?);
            }
            None => {
                fields.push(Arc::clone(field));
                arrays.push(Arc::clone(array));
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// A list of texts, as the catalog's columns of access control lists are.
pub(super) fn texts(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), true)
}

/// An object id.
pub(super) fn oid(name: &str) -> Field {
    told(Field::new(name, DataType::Int32, true), "oid")
}

fn told(field: Field, kind: &str) -> Field {
    field.with_metadata([(OID_ALIAS.to_owned(), kind.to_owned())].into())
}

fn oid_item() -> FieldRef {
    Arc::new(oid("item"))
}

impl Kind {
    fn field(self, name: &str) -> Field {
        match self {
            Self::Texts | Self::Acl => texts(name),
            Self::Oids => Field::new(name, DataType::List(oid_item()), true),
            Self::Vector => told(Field::new(name, DataType::List(oid_item()), true), "oidvector"),
            Self::Aggregate => oid(name),
        }
    }

    fn array(self, array: &ArrayRef, batch: &RecordBatch) -> Result<ArrayRef> {
        let array = cast(array, &DataType::Utf8)?;
        let values = array.as_string::<i32>();
        Ok(match self {
            Self::Acl => new_null_array(texts("").data_type(), array.len()),
            Self::Texts => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for value in values {
                    let items = value.map(|value| items(value).map(|item| Some(unquoted(item))));
                    match items {
                        Some(items) => lists.append_value(items),
                        None => lists.append_null(),
                    }
                }
                Arc::new(lists.finish())
            }
            Self::Oids | Self::Vector => {
                let numbers = PrimitiveBuilder::<Int32Type>::new();
                let mut lists = ListBuilder::new(numbers).with_field(oid_item());
                for value in values {
                    match value {
                        Some(value) => {
                            lists.append_value(items(value).map(|n| n.parse::<i32>().ok()))
                        }
                        None => lists.append_null(),
                    }
                }
                Arc::new(lists.finish())
            }
            Self::Aggregate => Arc::new(aggregates(values, &numbers_of(batch, "aggtranstype"))),
        })
    }
}

/// Returns what is in a list, between commas or spaces.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let inner = value.trim_matches(['[', ']']);
    inner.split([',', ' ']).filter(|item| !item.is_empty())
}

fn unquoted(item: &str) -> &str {
    item.trim_matches('\'')
}

/// Returns the numbers of aggregates by their names, of which several may be one: `min` and the like keep what they are given, so that the
/// type of what each keeps tells them apart; others stand in the same order in both tables.
fn aggregates(names: &StringArray, kept: &[i32]) -> Int32Array {
    let plain = |name: &str| name.strip_prefix("pg_catalog.").unwrap_or(name).to_owned();
    let mut known = HashMap::<String, Vec<Procedure>>::new();
    for procedure in procedures().into_iter().filter(|one| one.is_aggregate) {
        known.entry(procedure.name.clone()).or_default().push(procedure);
    }
    let mut kept_by = HashMap::<String, Vec<i32>>::new();
    for (name, kept) in names.iter().zip(kept) {
        kept_by.entry(plain(name.unwrap_or_default())).or_default().push(*kept);
    }
    let number = |(name, kept): (Option<&str>, &i32)| {
        let name = plain(name?);
        let (of_name, types) = (known.get_mut(&name)?, kept_by.get(&name)?);
        let given = |kept: &i32| of_name.iter().filter(|one| one.takes == *kept).count() == 1;
        let at = match types.iter().collect::<HashSet<_>>().len() == types.len()
            && types.iter().all(given)
        {
            true => of_name.iter().position(|one| one.takes == *kept)?,
            false => of_name.iter().position(|one| !one.is_taken)?,
        };
        let one = of_name.get_mut(at)?;
        one.is_taken = true;
        Some(one.oid)
    };
    names.iter().zip(kept).map(number).collect()
}

/// A function of PostgreSQL.
struct Procedure {
    name: String,
    oid: i32,
    is_aggregate: bool,
    /// The type of its first argument.
    takes: i32,
    /// Whether an aggregate has been found to be this one.
    is_taken: bool,
}

fn procedures() -> Vec<Procedure> {
    let tables = STATIC_TABLES.as_ref().ok();
    let batches = tables.map(|tables: &Arc<PgCatalogStaticTables>| tables.pg_proc.data());
    batches.into_iter().flatten().flat_map(procedures_of).collect()
}

fn procedures_of(batch: &RecordBatch) -> Vec<Procedure> {
    let texts = |name: &str| {
        batch.column_by_name(name).and_then(|column| cast(column, &DataType::Utf8).ok())
    };
    let (Some(names), Some(kinds), Some(types)) =
        (texts("proname"), texts("prokind"), texts("proargtypes"))
    else {
        return Vec::new();
    };
    let (names, kinds) = (names.as_string::<i32>(), kinds.as_string::<i32>());
    let types = types.as_string::<i32>();
    let made = numbers_of(batch, "oid").into_iter().enumerate().map(|(row, oid)| Procedure {
        name: names.value(row).to_owned(),
        oid,
        is_aggregate: kinds.value(row) == "a",
        takes: items(types.value(row)).next().and_then(|first| first.parse().ok()).unwrap_or(0),
        is_taken: false,
    });
    made.collect()
}

fn numbers_of(batch: &RecordBatch, column: &str) -> Vec<i32> {
    let numbers =
        batch.column_by_name(column).and_then(|column| cast(column, &DataType::Int32).ok());
    numbers.map_or_else(Vec::new, |numbers| numbers.as_primitive::<Int32Type>().values().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_names_that_are_one_function_s() {
        assert_eq!(function_oid("-"), Some(0));
        assert_eq!(function_oid("array_in"), Some(750));
        // Of which there are several.
        assert_eq!(function_oid("avg"), None);
        assert_eq!(function_oid("no_such"), None);
    }

    #[test]
    fn every_aggregate_has_a_number_of_its_own() {
        let tables = STATIC_TABLES.as_ref().unwrap();
        let made = table("pg_aggregate", &tables.pg_aggregate).unwrap();
        assert!(made.is_some());
        let made = MADE.lock().get("pg_aggregate").cloned().unwrap();
        let numbers = made.column(0).as_primitive::<Int32Type>();
        assert_eq!(numbers.null_count(), 0);
        let mut seen = numbers.values().to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), made.num_rows());
        // The greatest of pg_lsn and of anyenum.
        let of = |function: &str| {
            let functions = made.column_by_name("aggtransfn").unwrap().as_string::<i32>();
            let at = functions.iter().position(|one| one == Some(function)).unwrap();
            numbers.value(at)
        };
        assert_eq!((of("pg_lsn_larger"), of("enum_larger")), (4189, 3526));
    }

    #[test]
    fn lists_are_taken_apart() {
        assert_eq!(items("[1034, 26]").collect::<Vec<_>>(), ["1034", "26"]);
        assert_eq!(items("23 25").collect::<Vec<_>>(), ["23", "25"]);
        assert_eq!(items("").count(), 0);
        assert_eq!(items("['i', 'o']").map(unquoted).collect::<Vec<_>>(), ["i", "o"]);
    }
}
