//! What writes to all three databases share: the option that forbids them, what is said of a row, and the names of what is Maru's.

use maru_core::{Error, ErrorKind, OptionKind, OptionSpec, Options, Result};

use crate::values::Misfit;

pub(crate) const READ_ONLY: OptionSpec = OptionSpec::new(
    "read_only",
    OptionKind::Boolean,
    "Whether all writes to the catalog are refused, whatever the user may do in the database.",
)
.default("false");

/// The table, in the schema of the target, that says which work was committed: one row for each name, with the greatest number.
pub(crate) const COMMITS: &str = "maru_commits";

/// What the names of tables begin with that a write fills before its commit.
pub(crate) const STAGE: &str = "maru_write_";

/// Returns whether a table is one of Maru's own, which listings leave out.
pub(crate) fn is_ours(name: &str) -> bool {
    name == COMMITS || name.starts_with(STAGE)
}

/// Reads [`READ_ONLY`].
pub(crate) fn read_only(options: &Options) -> bool {
    options.boolean("read_only") == Some(true)
}

/// Returns the error of a write to a catalog that is only read.
pub(crate) fn refused(table: &str) -> Error {
    Error::new(ErrorKind::ReadOnly, format!("cannot write to {table}: its catalog is read-only"))
        .with_hint("Set the catalog's option read_only = false.")
}

/// Returns whether rows that are inserted beside changes are given values for a column: where not, the database fills it in.
pub(crate) fn is_given(columns: &arrow::datatypes::Schema, name: &str) -> bool {
    let column = columns.field_with_name(name);
    column.is_ok_and(|field| !field.metadata().contains_key(maru_connect::OMITTED_KEY))
}

/// Returns whether rows that are updated get the default of a column.
pub(crate) fn is_defaulted(columns: &arrow::datatypes::Schema, name: &str) -> bool {
    let column = columns.field_with_name(name);
    column.is_ok_and(|field| field.metadata().contains_key(maru_connect::DEFAULTED_KEY))
}

/// The error for constraints and defaults, which a database has in its own words.
pub(crate) fn rules_of_the_database() -> Error {
    Error::unsupported("constraints and defaults of a database's table are not changed from here")
        .with_hint("ALTER TABLE in the database.")
}

/// Refuses the parts of a new table, and of what is replaced, that no database here has.
pub(crate) fn check_mode(mode: &maru_connect::WriteMode, product: &str) -> Result<()> {
    use maru_connect::{Overwritten, WriteMode};
    match mode {
        WriteMode::Create(new) if !new.partitioned_by.is_empty() => {
            Err(Error::unsupported(format!("tables of {product} are not partitioned by Maru"))
                .with_hint("Leave PARTITIONED BY out, or make the table in the database."))
        }
        WriteMode::Overwrite(Overwritten::Partitions { .. }) => {
            Err(Error::unsupported(format!("tables of {product} have no partitions to overwrite"))
                .with_hint("DELETE the rows and INSERT the new ones, or MERGE them."))
        }
        WriteMode::Upsert { computed, .. } if !computed.is_empty() && product != "PostgreSQL" => {
            Err(Error::unsupported(format!("{product} does not compute as Maru does: ON CONFLICT DO UPDATE SET takes values as they are"))
                .with_hint("A column takes the new row's value: column = EXCLUDED.column. Or use MERGE INTO."))
        }
        _ => Ok(()),
    }
}

/// Says which row it was, counted from 1 among those that were written.
pub(crate) fn at_row(error: Error, row: u64) -> Error {
    error.or_context("row", row.to_string())
}

/// Names table, column and row of a value that the target cannot hold.
pub(crate) fn misfit(misfit: Misfit, table: &str, column: &str, row: u64) -> Error {
    at_row(misfit.of(table, column), row)
}

/// Returns the refusal of a type that the database has no place for.
pub(crate) fn no_type(
    product: &str,
    column: &str,
    data_type: &arrow::datatypes::DataType,
) -> Error {
    Error::new(
        ErrorKind::InvalidParameter,
        format!("{product} has no type for column \"{column}\" of type {data_type}"),
    )
    .with_hint("CAST the column to a type that both have, such as text.")
}

/// A row that is not what it was when it was read.
pub(crate) fn changed_in_between(table: &str) -> Error {
    Error::new(
        ErrorKind::Serialization,
        format!("rows of {table} were changed by another in between"),
    )
    .with_detail("Nothing was written.")
    .with_hint("Run the statement again.")
}

/// A row that is to be two things.
pub(crate) fn changed_twice(table: &str) -> Error {
    Error::new(ErrorKind::Cardinality, format!("a row of {table} is to be changed twice"))
        .with_hint("Let no two rows of the source match the same row, such as by DISTINCT ON.")
}

/// A value for a column that takes none.
pub(crate) fn computed_by_the_table(table: &str) -> Error {
    Error::new(
        ErrorKind::GeneratedColumn,
        format!("a column that {table} computes itself cannot be set"),
    )
    .with_hint("Leave the column out.")
}

/// Refuses changes whose values were checked and that the table puts others in the place of.
///
/// # Errors
/// 0A000
pub(crate) fn refuse_recomputed<'a>(
    checked: &[String],
    computed: impl IntoIterator<Item = &'a str>,
    table: &str,
) -> Result<()> {
    let Some(column) = computed.into_iter().find(|name| checked.iter().any(|one| one == name))
    else {
        return Ok(());
    };
    let message =
        format!("policies of {table} look at column \"{column}\", which the table computes itself");
    Err(Error::unsupported(message)
        .with_hint("Change its rows as its owner, or as a role with BYPASSRLS."))
}

/// What a new column was declared as beyond its type here.
pub(crate) enum Declared {
    Nothing,
    /// `varchar(n)`.
    Varchar(u32),
    /// `char(n)`.
    Char(u32),
    Uuid,
    Json,
    Jsonb,
}

/// Reads how a text column was declared.
pub(crate) fn declared(field: &arrow::datatypes::Field) -> Declared {
    use arrow::datatypes::DataType;
    if !matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Declared::Nothing;
    }
    let length = field.metadata().get(maru_connect::LENGTH_KEY);
    if let Some((kind, length)) = length.and_then(|length| length.split_once(':')) {
        return match (kind, length.parse::<u32>()) {
            ("varchar", Ok(length)) => Declared::Varchar(length),
            ("char", Ok(length)) => Declared::Char(length),
            _ => Declared::Nothing,
        };
    }
    match field.metadata().get("ARROW:extension:name").map(String::as_str) {
        Some("arrow.uuid") => Declared::Uuid,
        Some("arrow.json") => match field.metadata().get("pg.type").map(String::as_str) {
            Some("jsonb") => Declared::Jsonb,
            _ => Declared::Json,
        },
        _ => Declared::Nothing,
    }
}
