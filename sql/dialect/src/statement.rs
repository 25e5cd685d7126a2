//! Every statement Maru has besides the queries that DataFusion plans. [`STATEMENTS`] is the list: `\h` of the shell,
//! the reference and the "did you mean" of syntax errors are made from it.

use datafusion::sql::parser::Statement as DfStatement;
use sqlparser::ast;

use crate::conversation::{Copy, DeclareCursor, ExecutePrepared, Fetch, Prepare, Transaction};

/// A parsed statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Anything that is planned and gives rows: `SELECT`, `VALUES`, `EXPLAIN`.
    Query {
        statement: Box<DfStatement>,
        tag: &'static str,
    },
    CreateCatalog(CreateCatalog),
    AlterCatalog(AlterCatalog),
    CreateSecret(CreateSecret),
    CreateSchema(CreateSchema),
    CreateExternalTable(Box<CreateExternalTable>),
    CreateView(Box<CreateView>),
    Drop(DropObject),
    CommentOn(CommentOn),
    Set(SetVariable),
    /// `RESET name` or `RESET ALL` (`None`).
    Reset(Option<String>),
    /// `DESCRIBE name`, `SHOW COLUMNS FROM name`
    Describe(Name),
    Preview(Preview),
    /// `SHOW name` for one setting.
    ShowVariable(String),
    CancelQuery(CancelQuery),
    Transaction(Transaction),
    Prepare(Prepare),
    ExecutePrepared(ExecutePrepared),
    /// `DEALLOCATE name` or `DEALLOCATE ALL` (`None`).
    Deallocate(Option<String>),
    DeclareCursor(DeclareCursor),
    Fetch(Fetch),
    /// `CLOSE name` or `CLOSE ALL` (`None`).
    CloseCursor(Option<String>),
    Copy(Box<Copy>),
    /// `DISCARD`: connection pools send it. `resets`: everything of the session.
    Discard {
        tag: &'static str,
        resets: bool,
    },
}

/// A name of one to three parts as it was written, folded to lower case unless quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub Vec<String>);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = self.0.iter().map(|part| maru_core::quote_ident(part)).collect::<Vec<_>>();
        f.write_str(&parts.join("."))
    }
}

/// `WITH (name = value, …)` in the order given. Printing shows names only: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OptionList(pub Vec<(String, String)>);

impl std::fmt::Debug for OptionList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// `CREATE [OR REPLACE] CATALOG [IF NOT EXISTS] name USING connector [WITH (…)]`
#[derive(Debug, Clone)]
pub struct CreateCatalog {
    pub name: String,
    pub connector: String,
    pub options: OptionList,
    pub or_replace: bool,
    pub if_not_exists: bool,
}

/// `ALTER CATALOG name SET (…) | RESET (…) | RENAME TO new`
#[derive(Debug, Clone)]
pub struct AlterCatalog {
    pub name: String,
    pub change: CatalogChange,
}

#[derive(Debug, Clone)]
pub enum CatalogChange {
    Set(OptionList),
    Reset(Vec<String>),
    Rename(String),
}

/// `CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name WITH (…)`
#[derive(Debug, Clone)]
pub struct CreateSecret {
    pub name: String,
    pub options: OptionList,
    pub or_replace: bool,
    pub if_not_exists: bool,
}

/// `CREATE SCHEMA [IF NOT EXISTS] name`
#[derive(Debug, Clone)]
pub struct CreateSchema {
    pub name: Name,
    pub if_not_exists: bool,
}

/// `CREATE [OR REPLACE] EXTERNAL TABLE [IF NOT EXISTS] name [(columns)] STORED AS format
/// [PARTITIONED BY (column [type], …)] [WITH (…)] LOCATION 'url' [WITH (…)]`
#[derive(Debug, Clone)]
pub struct CreateExternalTable {
    pub name: Name,
    /// Declared columns; empty means inferred.
    pub columns: Vec<ast::ColumnDef>,
    pub format: String,
    /// Partition columns; those without a type are inferred.
    pub partitioned_by: Vec<(String, Option<ast::DataType>)>,
    pub location: String,
    pub options: OptionList,
    pub or_replace: bool,
    pub if_not_exists: bool,
}

/// `CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(columns)] AS query`
#[derive(Debug, Clone)]
pub struct CreateView {
    pub name: Name,
    pub columns: Vec<String>,
    pub query: Box<ast::Query>,
    pub or_replace: bool,
    pub if_not_exists: bool,
}

/// `PREVIEW 'path' | name [LIMIT n]`
#[derive(Debug, Clone)]
pub struct Preview {
    /// A path is a name of one part.
    pub name: Name,
    pub limit: Option<u64>,
}

/// What `DROP` and `COMMENT ON` take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Catalog,
    Secret,
    Schema,
    Table,
    View,
}

impl ObjectKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Secret => "secret",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::View => "view",
        }
    }
}

/// `DROP CATALOG | SECRET | SCHEMA | TABLE | VIEW [IF EXISTS] name, … [CASCADE | RESTRICT]`
#[derive(Debug, Clone)]
pub struct DropObject {
    pub kind: ObjectKind,
    pub names: Vec<Name>,
    pub if_exists: bool,
    pub cascade: bool,
}

/// `COMMENT ON CATALOG | SECRET | SCHEMA | TABLE | VIEW | COLUMN name IS 'text' | NULL`
#[derive(Debug, Clone)]
pub struct CommentOn {
    pub target: CommentTarget,
    pub comment: Option<String>,
}

#[derive(Debug, Clone)]
pub enum CommentTarget {
    Object(ObjectKind, Name),
    Column(Name, String),
}

/// `SET [SESSION | LOCAL] name {= | TO} value`
#[derive(Debug, Clone)]
pub struct SetVariable {
    pub name: String,
    /// As text; `None` for `DEFAULT`.
    pub value: Option<String>,
    pub scope: SetScope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetScope {
    Session,
    Local,
}

/// `CANCEL QUERY id`
#[derive(Debug, Clone)]
pub struct CancelQuery {
    pub query_id: u64,
}

/// One entry of the reference.
#[derive(Debug)]
pub struct StatementSpec {
    /// The words it starts with.
    pub name: &'static str,
    pub syntax: &'static str,
    /// One sentence.
    pub doc: &'static str,
    pub example: &'static str,
}

macro_rules! statements {
    ($($name:literal, $syntax:literal, $doc:literal, $example:literal;)*) => {
        /// The reference of statements, in alphabetical order.
        pub const STATEMENTS: &[StatementSpec] = &[
            $(StatementSpec { name: $name, syntax: $syntax, doc: $doc, example: $example },)*
        ];
    };
}

statements! {
    "ALTER CATALOG", "ALTER CATALOG name { SET (option = value, …) | RESET (option, …) | RENAME TO new_name }",
        "Changes the options or the name of a catalog; the source is checked again.",
        "ALTER CATALOG crm SET (max_connections = 4)";
    "BEGIN", "{ BEGIN | START TRANSACTION | COMMIT | ROLLBACK | SAVEPOINT name | ROLLBACK TO name | RELEASE name }",
        "Opens and ends a transaction block; a failed statement aborts it, as in PostgreSQL.",
        "BEGIN";
    "CANCEL QUERY", "CANCEL QUERY query_id",
        "Stops a running statement of any session; system.queries has the ids.",
        "CANCEL QUERY 42";
    "CLOSE", "CLOSE { cursor | ALL }",
        "Ends a cursor, and what it reads in the sources.",
        "CLOSE ALL";
    "COMMENT ON", "COMMENT ON { CATALOG | SCHEMA | TABLE | VIEW | SECRET | COLUMN } name IS { 'text' | NULL }",
        "Keeps a remark with an object.",
        "COMMENT ON CATALOG crm IS 'customers, read only'";
    "COPY", "COPY { table [(column, …)] | (query) } TO STDOUT [WITH (FORMAT { text | csv | binary }, HEADER, DELIMITER 'c', NULL 'text', QUOTE 'c', ESCAPE 'c', FORCE_QUOTE { (column, …) | * })]",
        "Sends rows over the PostgreSQL wire as text, CSV or binary.",
        "COPY (SELECT * FROM crm.public.customers) TO STDOUT (FORMAT csv, HEADER)";
    "CREATE CATALOG", "CREATE [OR REPLACE] CATALOG [IF NOT EXISTS] name USING connector [WITH (option = value, …)]",
        "Attaches a source. The source is contacted first; SHOW CONNECTORS lists connectors and options.",
        "CREATE CATALOG crm USING postgres WITH (url = 'postgres://host/db', secret = 'crm_login')";
    "CREATE EXTERNAL TABLE", "CREATE [OR REPLACE] EXTERNAL TABLE [IF NOT EXISTS] name [(column type, …)] STORED AS { PARQUET | CSV | JSON | AVRO | DELTA } [PARTITIONED BY (column [type], …)] [WITH (option = value, …)] LOCATION 'url'",
        "Names files of an attached store as a table of the catalog maru; columns are inferred unless declared.",
        "CREATE EXTERNAL TABLE demo.weblogs STORED AS PARQUET LOCATION 's3://weblogs/2026/'";
    "CREATE SCHEMA", "CREATE SCHEMA [IF NOT EXISTS] name",
        "Makes a schema in the catalog maru.",
        "CREATE SCHEMA demo";
    "CREATE SECRET", "CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name WITH (option = value, …)",
        "Keeps credentials encrypted; they are never shown again. Catalogs name it with secret = 'name'.",
        "CREATE SECRET crm_login WITH (user = 'maru', password = '…')";
    "CREATE VIEW", "CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(column, …)] AS query",
        "Keeps a query under a name in the catalog maru.",
        "CREATE VIEW demo.errors AS SELECT * FROM demo.weblogs WHERE status >= 500";
    "DEALLOCATE", "DEALLOCATE { name | ALL }",
        "Forgets a prepared statement.",
        "DEALLOCATE ALL";
    "DECLARE", "DECLARE name [BINARY] [NO SCROLL] CURSOR [WITH HOLD] FOR query",
        "Opens a cursor, which reads a query as it is fetched; it ends with its transaction unless it is held.",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM crm.public.customers";
    "DESCRIBE", "DESCRIBE { name | 'path' }",
        "Lists the columns of a table or view, or of files.",
        "DESCRIBE crm.public.customers";
    "DROP", "DROP { CATALOG | SCHEMA | SECRET | TABLE | VIEW } [IF EXISTS] name [, …] [CASCADE | RESTRICT]",
        "Removes an object; dropping a catalog closes its connections, data at the source stays.",
        "DROP CATALOG IF EXISTS crm";
    "EXECUTE", "EXECUTE name [(value, …)]",
        "Runs a prepared statement.",
        "EXECUTE by_id(7)";
    "EXPLAIN", "EXPLAIN [ANALYZE] [VERBOSE] query | EXPLAIN (ANALYZE, FORMAT { TEXT | JSON }, …) query",
        "Shows the plan and what each source is sent; ANALYZE runs it and shows rows, bytes and time.",
        "EXPLAIN SELECT name FROM crm.public.customers WHERE id = 7";
    "FETCH", "{ FETCH | MOVE } [{ NEXT | n | ALL | FORWARD n | FORWARD ALL | ABSOLUTE n | RELATIVE n }] [FROM] cursor",
        "Gives the next rows of a cursor, or skips them.",
        "FETCH 100 FROM c";
    "PREPARE", "PREPARE name [(type, …)] AS query",
        "Plans a query with parameters $1, $2, … under a name.",
        "PREPARE by_id (bigint) AS SELECT * FROM crm.public.customers WHERE id = $1";
    "PREVIEW", "PREVIEW { 'path' | name } [LIMIT n]",
        "Shows the first rows of files, and tells their format, number, bytes and columns.",
        "PREVIEW 's3://weblogs/2026/*.parquet'";
    "RESET", "RESET { setting | ALL }",
        "Puts a setting of the session back to its default.",
        "RESET pushdown";
    "SET", "SET setting { = | TO } { value | DEFAULT }",
        "Changes a setting of the session; system.settings lists them.",
        "SET statement_timeout = '30s'";
    "SHOW", "SHOW { CATALOGS | COLUMNS FROM table | CONNECTORS | CONNECTOR OPTIONS | FUNCTIONS | QUERIES | SCHEMAS [FROM catalog] | SECRETS | SESSIONS | SETTINGS | STATEMENTS | TABLES [FROM [catalog.]schema] | setting } [LIKE 'pattern']",
        "Lists objects or shows one setting; each list is a table of schema system too.",
        "SHOW TABLES FROM crm.public";
}
