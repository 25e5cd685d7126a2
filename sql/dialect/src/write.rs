//! Statements that write rows, and those that make and change the tables that hold them.

use datafusion::common::format::ExplainStatementOptions;
use sqlparser::ast;

use crate::statement::{Name, OptionList};

/// A statement that writes the rows of a query, or its `EXPLAIN`.
#[derive(Debug, Clone)]
pub struct Write {
    /// Of `EXPLAIN [ANALYZE] …`: how it is told.
    pub explain: Option<Box<ExplainStatementOptions>>,
    pub action: WriteAction,
}

#[derive(Debug, Clone)]
pub enum WriteAction {
    Insert(Insert),
    CreateTableAs(CreateTable),
    Delete(Box<Delete>),
    Update(Box<Update>),
    Merge(Box<Merge>),
    CopyTo(Box<CopyTo>),
    /// `COPY name [(columns)] FROM 'place' [WITH (…)]`
    CopyFrom(Insert),
    /// `OPTIMIZE [TABLE] name`
    Optimize(Name),
}

/// `INSERT INTO table [AS alias] [(columns)] query [ON CONFLICT …] [RETURNING …]`,
/// `INSERT OVERWRITE [TABLE] table [(columns)] [PARTITION (column [= value], …)] query`
#[derive(Debug, Clone)]
pub struct Insert {
    pub table: Name,
    /// Empty: all of the table's, in its order.
    pub columns: Vec<String>,
    pub source: Box<ast::Query>,
    pub overwrite: bool,
    /// Partition columns with the value that is given, if one is.
    pub partition: Vec<(String, Option<ast::Expr>)>,
    pub on_conflict: Option<OnConflict>,
    pub returning: Option<Returning>,
}

/// `RETURNING item, …`
#[derive(Debug, Clone)]
pub struct Returning {
    /// Expressions, and `*` for all columns of the table.
    pub items: Vec<ast::SelectItem>,
    /// What the items call the table.
    pub alias: String,
}

/// `ON CONFLICT [(keys)] DO NOTHING | DO UPDATE SET column = EXCLUDED.column, column = expression, …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnConflict {
    /// None: any key of the table.
    pub keys: Vec<String>,
    /// Columns that take the new row's values; with none that is computed either the old row stays.
    pub replaced: Vec<String>,
    /// Columns that are set to something else.
    pub computed: Vec<(String, ast::Expr)>,
    /// What expressions call the row that is there.
    pub alias: String,
}

/// `CREATE [OR REPLACE] [TEMPORARY] TABLE [IF NOT EXISTS] name [(columns)] [PARTITIONED BY (…)] [WITH (…)] [AS query]`
#[derive(Debug, Clone)]
pub struct CreateTable {
    pub name: Name,
    pub columns: Vec<ast::ColumnDef>,
    pub primary_key: Vec<String>,
    pub checks: Vec<Check>,
    /// Columns with what they hold where a row is given no value for them.
    pub defaults: Vec<(String, ast::Expr)>,
    pub partitioned_by: Vec<String>,
    pub options: OptionList,
    pub query: Option<Box<ast::Query>>,
    pub or_replace: bool,
    pub if_not_exists: bool,
    /// It goes with the session.
    pub temporary: bool,
}

/// `[CONSTRAINT name] CHECK (condition)`
#[derive(Debug, Clone)]
pub struct Check {
    pub name: Option<String>,
    pub condition: ast::Expr,
}

/// `TRUNCATE [TABLE] name, …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncate {
    pub tables: Vec<Name>,
}

/// `COPY { (query) | name [(columns)] } TO 'place' [WITH (…)]`
#[derive(Debug, Clone)]
pub struct CopyTo {
    pub query: Box<ast::Query>,
    pub path: String,
    pub options: OptionList,
    pub partition_by: Vec<String>,
}

/// `VACUUM [TABLE] name [RETAIN n HOURS] [DRY RUN]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuum {
    pub table: Name,
    pub retain_hours: Option<u64>,
    pub dry_run: bool,
}

/// `CREATE INDEX [CONCURRENTLY] [[IF NOT EXISTS] name] ON table [USING method] (column, …)`. Nothing is known of its name afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIndex {
    pub table: Name,
    pub columns: Vec<String>,
}

/// `DROP INDEX [CONCURRENTLY] [IF EXISTS] name, … [CASCADE | RESTRICT]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIndex {
    pub names: Vec<Name>,
    pub if_exists: bool,
}

/// `ALTER TABLE [IF EXISTS] name change, …`
#[derive(Debug, Clone)]
pub struct AlterTable {
    pub table: Name,
    pub if_exists: bool,
    pub changes: Vec<TableAlteration>,
}

impl AlterTable {
    /// Returns whether it gives the table another name, and nothing else.
    pub fn is_rename(&self) -> bool {
        matches!(self.changes.as_slice(), [TableAlteration::RenameTable(_)])
    }

    /// Returns whether a part of it is kept as it is written.
    pub(crate) fn keeps_text(&self) -> bool {
        let kept = |change: &TableAlteration| {
            matches!(change, TableAlteration::AddCheck(_) | TableAlteration::SetDefault { .. })
        };
        self.changes.iter().any(kept)
    }
}

#[derive(Debug, Clone)]
pub enum TableAlteration {
    AddColumn {
        column: Box<ast::ColumnDef>,
        if_not_exists: bool,
    },
    DropColumns {
        names: Vec<String>,
        if_exists: bool,
    },
    RenameColumn {
        from: String,
        to: String,
    },
    SetType {
        column: String,
        data_type: ast::DataType,
    },
    /// `ALTER COLUMN name { SET | DROP } NOT NULL`
    SetNullable {
        column: String,
        nullable: bool,
    },
    /// `ALTER COLUMN name { SET DEFAULT value | DROP DEFAULT }`
    SetDefault {
        column: String,
        value: Option<Box<ast::Expr>>,
    },
    /// `ADD [CONSTRAINT name] CHECK (condition)`
    AddCheck(Box<Check>),
    DropConstraint {
        name: String,
        if_exists: bool,
    },
    RenameTable(Name),
}

/// `DELETE FROM table [AS alias] [USING table, …] [WHERE condition] [RETURNING …]`: other tables are in the condition.
#[derive(Debug, Clone)]
pub struct Delete {
    pub table: Name,
    /// What the condition calls it.
    pub alias: String,
    pub selection: Option<ast::Expr>,
    pub returning: Option<Returning>,
}

/// `UPDATE table [AS alias] SET column = value, … [WHERE condition] [RETURNING …]`
#[derive(Debug, Clone)]
pub struct Update {
    pub table: Name,
    pub alias: String,
    /// A value may be the bare word `DEFAULT`.
    pub sets: Vec<(String, ast::Expr)>,
    pub selection: Option<ast::Expr>,
    pub returning: Option<Returning>,
}

/// `MERGE INTO table [AS alias] USING source [AS alias] ON condition WHEN … THEN …`
#[derive(Debug, Clone)]
pub struct Merge {
    pub table: Name,
    pub alias: String,
    /// As it is written, a query in parentheses with its alias.
    pub source: String,
    pub source_alias: String,
    pub on: ast::Expr,
    pub clauses: Vec<MergeClause>,
    /// What it is told as: `MERGE`, or `UPDATE` for one with `FROM`.
    pub tag: &'static str,
    /// Of an `UPDATE` with `FROM`.
    pub returning: Option<Returning>,
}

#[derive(Debug, Clone)]
pub struct MergeClause {
    pub when: MergeWhen,
    pub condition: Option<ast::Expr>,
    pub action: MergeAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeWhen {
    Matched,
    NotMatchedByTarget,
    NotMatchedBySource,
}

#[derive(Debug, Clone)]
pub enum MergeAction {
    Nothing,
    Delete,
    Update(Vec<(String, ast::Expr)>),
    Insert { columns: Vec<String>, values: Vec<ast::Expr> },
}
