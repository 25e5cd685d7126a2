//! Every statement Maru has besides the queries that DataFusion plans. [`STATEMENTS`] is the list: `\h` of the shell,
//! the reference and the "did you mean" of syntax errors are made from it.

mod access;
mod model;
mod pipeline;

use datafusion::sql::parser::Statement as DfStatement;
use sqlparser::ast;

use crate::conversation::{
    Channel, Copy, DeclareCursor, ExecutePrepared, ExplainExecute, Fetch, Prepare, Transaction,
};
use crate::write::{AlterTable, CreateIndex, CreateTable, DropIndex, Truncate, Vacuum, Write};
pub use access::*;
pub use model::*;
pub use pipeline::*;

/// A parsed statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Anything that is planned and gives rows: `SELECT`, `VALUES`, `EXPLAIN`.
    Query {
        statement: Box<DfStatement>,
        tag: &'static str,
    },
    /// Rows of a query that are written, or the plan of that.
    Write(Box<Write>),
    /// `CREATE TABLE` without a query.
    CreateTable(Box<CreateTable>),
    Truncate(Truncate),
    Vacuum(Vacuum),
    AlterTable(Box<AlterTable>),
    CreateIndex(CreateIndex),
    DropIndex(DropIndex),
    CreateCatalog(CreateCatalog),
    AlterCatalog(AlterCatalog),
    CreateCatalogTemplate(Box<CreateCatalogTemplate>),
    CreateResourceGroup(CreateResourceGroup),
    AlterResourceGroup(AlterResourceGroup),
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
    DescribeHistory(Name),
    DescribeModel(Name),
    ShowCreateView(Name),
    Preview(Preview),
    /// `SHOW name` for one setting.
    ShowVariable(String),
    CancelQuery(CancelQuery),
    Transaction(Transaction),
    CreateRole(Box<CreateRole>),
    AlterRole(Box<AlterRole>),
    DropRole(DropRole),
    GrantRole(GrantRole),
    GrantPrivileges(Box<GrantPrivileges>),
    AlterDefaultPrivileges(Box<AlterDefaultPrivileges>),
    AlterOwner(AlterOwner),
    CreatePolicy(CreatePolicy),
    AlterPolicy(AlterPolicy),
    DropPolicy(DropPolicy),
    AlterTableSecurity(AlterTableSecurity),
    Owned(Owned),
    /// `SET ROLE role`, `SET ROLE NONE` (`None`)
    SetRole(Option<RoleName>),
    Prepare(Prepare),
    ExecutePrepared(ExecutePrepared),
    ExplainExecute(Box<ExplainExecute>),
    /// `DEALLOCATE name` or `DEALLOCATE ALL` (`None`).
    Deallocate(Option<String>),
    DeclareCursor(DeclareCursor),
    Fetch(Fetch),
    /// `CLOSE name` or `CLOSE ALL` (`None`).
    CloseCursor(Option<String>),
    /// `LISTEN`, `UNLISTEN`, `NOTIFY`.
    Channel(Channel),
    Copy(Box<Copy>),
    /// Of the pack of machine learning.
    Model(Box<ModelStatement>),
    /// On pipelines and their runs.
    Pipeline(Box<PipelineStatement>),
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

/// `CREATE [OR REPLACE] CATALOG TEMPLATE [IF NOT EXISTS] name FOR ROLE role USING connector [WITH (…)] [ALLOW (…)]`
#[derive(Debug, Clone)]
pub struct CreateCatalogTemplate {
    pub name: String,
    pub role: String,
    pub connector: String,
    /// With `{attribute}` in their values.
    pub options: OptionList,
    /// By attribute, the patterns of values that it may have.
    pub allow: OptionList,
    pub or_replace: bool,
    pub if_not_exists: bool,
}

/// `CREATE [OR REPLACE] RESOURCE GROUP [IF NOT EXISTS] name [WITH (…)]`
#[derive(Debug, Clone)]
pub struct CreateResourceGroup {
    pub name: String,
    pub options: OptionList,
    pub or_replace: bool,
    pub if_not_exists: bool,
}

/// `ALTER RESOURCE GROUP name SET (…) | RESET (…) | RENAME TO new`
#[derive(Debug, Clone)]
pub struct AlterResourceGroup {
    pub name: String,
    pub change: CatalogChange,
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
    /// It goes with the session.
    pub temporary: bool,
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
    CatalogTemplate,
    ResourceGroup,
    Secret,
    Schema,
    Table,
    View,
}

impl ObjectKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::CatalogTemplate => "catalog template",
            Self::ResourceGroup => "resource group",
            Self::Secret => "secret",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::View => "view",
        }
    }
}

/// `DROP CATALOG [TEMPLATE] | SECRET | SCHEMA | TABLE | VIEW [IF EXISTS] name, … [CASCADE | RESTRICT]`
#[derive(Debug, Clone)]
pub struct DropObject {
    pub kind: ObjectKind,
    pub names: Vec<Name>,
    pub if_exists: bool,
    pub cascade: bool,
}

/// `COMMENT ON CATALOG | SECRET | SCHEMA | TABLE | VIEW | MODEL | COLUMN name IS 'text' | NULL`
#[derive(Debug, Clone)]
pub struct CommentOn {
    pub target: CommentTarget,
    pub comment: Option<String>,
}

#[derive(Debug, Clone)]
pub enum CommentTarget {
    Object(ObjectKind, Name),
    Column(Name, String),
    Model(Name),
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
    "ALTER DEFAULT PRIVILEGES", "ALTER DEFAULT PRIVILEGES [FOR ROLE role, …] [IN SCHEMA schema, …] { GRANT privilege, … ON kinds TO role, … | REVOKE privilege, … ON kinds FROM role, … }",
        "Says which privileges objects have from the start that a role will make.",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA demo GRANT SELECT ON TABLES TO analyst";
    "ALTER RESOURCE GROUP", "ALTER RESOURCE GROUP name { SET (option = value, …) | RESET (option, …) | RENAME TO new_name }",
        "Changes what the statements of a group may take, at once.",
        "ALTER RESOURCE GROUP bi SET (concurrency = 8)";
    "ALTER ROLE", "ALTER { ROLE | USER } name { [WITH] option … | RENAME TO new_name | SET setting { = | TO } value | RESET { setting | ALL } | SET ATTRIBUTE attribute { = | TO } 'value' | RESET ATTRIBUTE attribute }",
        "Changes a role; the options are those of CREATE ROLE. Attributes fill in catalog templates.",
        "ALTER ROLE kim PASSWORD '…' VALID UNTIL '2027-01-01'";
    "ALTER MODEL", "ALTER MODEL [IF EXISTS] name { SET DEFAULT VERSION n | ROLLBACK | SET ALIAS alias = n | DROP ALIAS alias | SET OPTIONS (description = 'text') | SET COMMENT { 'text' | NULL } | RENAME TO new_name }",
        "Says which version of a model is used where none is named, names versions, or renames the model.",
        "ALTER MODEL mes.defect SET DEFAULT VERSION 4";
    "ALTER PIPELINE", "ALTER PIPELINE name { PAUSE | RESUME | SET (option = value, …) | RESET (option, …) | SET SCHEDULE 'cron' [TIME ZONE 'zone'] | DROP SCHEDULE }",
        "Holds back the runs that a pipeline's schedule would start, or lets them start again; changes its options or its schedule.",
        "ALTER PIPELINE mart.daily SET (retries = 5, timeout = '1h')";
    "ALTER POLICY", "ALTER POLICY name ON table { RENAME TO new_name | [TO role, …] [USING (condition)] [WITH CHECK (condition)] }",
        "Changes the name, the roles or the conditions of a policy.",
        "ALTER POLICY own_region ON crm.public.customers USING (region = 'Busan')";
    "ALTER TABLE", "ALTER TABLE name { ENABLE | DISABLE | FORCE | NO FORCE } ROW LEVEL SECURITY; ALTER TABLE name { SET MASK FOR COLUMN column USING (expression) | DROP MASK FOR COLUMN column }; ALTER TABLE [IF EXISTS] name { ADD [COLUMN] column type | DROP [COLUMN] column | RENAME [COLUMN] column TO new_name | ALTER [COLUMN] column { TYPE type | SET NOT NULL | DROP NOT NULL | SET DEFAULT value | DROP DEFAULT } | ADD [CONSTRAINT name] CHECK (condition) | DROP CONSTRAINT [IF EXISTS] name | RENAME TO new_name }, …",
        "Says what others than the owner see of rows and columns; changes the columns of a table where its source can.",
        "ALTER TABLE crm.public.customers SET MASK FOR COLUMN phone USING ('***' || right(phone, 4))";
    "ALTER … OWNER TO", "ALTER { CATALOG | SCHEMA | TABLE | VIEW | SECRET | MODEL | PIPELINE } name OWNER TO role",
        "Gives an object to another role.",
        "ALTER SCHEMA demo OWNER TO analyst";
    "BACKFILL PIPELINE", "BACKFILL PIPELINE name FROM 'time' TO 'time' [WITH (again = true)]",
        "Runs a pipeline for each interval of its schedule that begins in a range and has not succeeded yet.",
        "BACKFILL PIPELINE mart.daily FROM '2026-11-01' TO '2026-11-20'";
    "BEGIN", "{ { BEGIN | START TRANSACTION } [READ ONLY | READ WRITE] | COMMIT | ROLLBACK | SAVEPOINT name | ROLLBACK TO name | RELEASE name }",
        "Opens and ends a transaction block; a failed statement aborts it, as in PostgreSQL. One that is read only refuses to write.",
        "BEGIN";
    "CANCEL QUERY", "CANCEL QUERY query_id",
        "Stops a running statement of any session; system.queries has the ids.",
        "CANCEL QUERY 42";
    "CANCEL RUN", "CANCEL RUN run_id",
        "Stops a run of a pipeline with its statements; SHOW RUNS has the ids.",
        "CANCEL RUN 17";
    "CANCEL TRAINING JOB", "CANCEL TRAINING JOB job_id",
        "Stops the training of a model; system.training_jobs has the ids.",
        "CANCEL TRAINING JOB 3";
    "CLOSE", "CLOSE { cursor | ALL }",
        "Ends a cursor, and what it reads in the sources.",
        "CLOSE ALL";
    "COMMENT ON", "COMMENT ON { CATALOG [TEMPLATE] | RESOURCE GROUP | SCHEMA | TABLE | VIEW | SECRET | MODEL | COLUMN } name IS { 'text' | NULL }",
        "Keeps a remark with an object.",
        "COMMENT ON CATALOG crm IS 'customers, read only'";
    "COPY FROM 'place'", "COPY table [(column, …)] FROM 'place' [WITH (FORMAT { parquet | orc | csv | json | avro }, HEADER, DELIMITER 'c', QUOTE 'c', ESCAPE 'c', NULL 'text')]",
        "Inserts the rows of files of a store, column by column in their order.",
        "COPY lake.mart.calls FROM 's3://bucket/calls/' (FORMAT parquet)";
    "COPY TO 'place'", "COPY { table [(column, …)] | (query) } TO 'place' [WITH (FORMAT { parquet | csv | json }, COMPRESSION { none | snappy | zstd | lz4 | gzip }, PARTITION_BY (column, …), SINGLE_FILE, ROW_GROUP_SIZE rows, MAX_FILE_SIZE 'bytes', HEADER, DELIMITER 'c', NULL 'text', OVERWRITE)]",
        "Writes rows as files of a store: into a folder, in which _SUCCESS comes last, or into one file.",
        "COPY (SELECT * FROM crm.public.customers) TO 's3://bucket/customers/' (FORMAT csv, COMPRESSION gzip)";
    "COPY", "COPY { table [(column, …)] | (query) } TO STDOUT [WITH (FORMAT { text | csv | binary }, HEADER, DELIMITER 'c', NULL 'text', QUOTE 'c', ESCAPE 'c', FORCE_QUOTE { (column, …) | * })]",
        "Sends rows over the PostgreSQL wire as text, CSV or binary.",
        "COPY (SELECT * FROM crm.public.customers) TO STDOUT (FORMAT csv, HEADER)";
    "CREATE CATALOG", "CREATE [OR REPLACE] CATALOG [IF NOT EXISTS] name USING connector [WITH (option = value, …)]",
        "Attaches a source. The source is contacted first; SHOW CONNECTORS lists connectors and options.",
        "CREATE CATALOG crm USING postgres WITH (url = 'postgres://host/db', secret = 'crm_login')";
    "CREATE CATALOG TEMPLATE", "CREATE [OR REPLACE] CATALOG TEMPLATE [IF NOT EXISTS] name FOR ROLE role USING connector [WITH (option = 'text with {attribute}', …)] [ALLOW (attribute = 'pattern | …', …)]",
        "Gives each member of a role a catalog of this name, made of the user's own attributes; {user} is the user's name. ALLOW says which values may stand in it, * for letters, digits, '.', '_' and '-'.",
        "CREATE CATALOG TEMPLATE user_dhp_hive FOR ROLE dhp_user USING hive WITH (metastore = 'thrift://{dhp_host}:9083')";
    "CREATE EXTERNAL TABLE", "CREATE [OR REPLACE] EXTERNAL TABLE [IF NOT EXISTS] name [(column type, …)] STORED AS { PARQUET | CSV | JSON | AVRO | DELTA } [PARTITIONED BY (column [type], …)] [WITH (option = value, …)] LOCATION 'url'",
        "Names files of an attached store as a table of the catalog maru; columns are inferred unless declared.",
        "CREATE EXTERNAL TABLE demo.weblogs STORED AS PARQUET LOCATION 's3://weblogs/2026/'";
    "CREATE INDEX", "CREATE INDEX [CONCURRENTLY] [[IF NOT EXISTS] name] ON table [USING method] (column, …)",
        "Checks table and columns and does nothing else, for tools that send it: Maru keeps no indexes.",
        "CREATE INDEX by_name ON crm.public.customers (name)";
    "CREATE MODEL", "CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name [TRANSFORM (expression [AS name], …)] [TRAIN WHERE condition] OPTIONS (model_type = 'type', option = value, …) [WITH (async = true)] [AS query]",
        "Trains a model on the rows of a query and keeps it as a new version; with option async = true as a job in the background.",
        "CREATE MODEL mes.defect OPTIONS (model_type = 'logistic_reg', input_label_cols = ['label']) AS SELECT temp, press, label FROM mes.products";
    "CREATE PIPELINE", "CREATE [OR REPLACE] PIPELINE [IF NOT EXISTS] name [(parameter type [DEFAULT value], …)] [SCHEDULE 'cron' [TIME ZONE 'zone']] [WITH (option = value, …)] AS BEGIN STEP step [AFTER step, …] [WHEN (query)] { AS statement | EXPECT 'rule' (query) [ON VIOLATION { FAIL | WARN | RETRY }] }; … END",
        "Keeps statements that run together, in the order of the tables they read and write, by hand or by a schedule. Options are retries, retry_wait, timeout, step_timeout, catch_up, max_active_runs, parallel and on_failure = webhook('url'). Instead of BEGIN … END the steps may stand in $$ … $$.",
        "CREATE PIPELINE mart.daily (target date) SCHEDULE '0 2 * * *' TIME ZONE 'Asia/Seoul' AS BEGIN STEP load AS INSERT INTO mart.sums SELECT dt, sum(x) FROM raw.facts WHERE dt = :target GROUP BY dt; STEP check EXPECT 'rows arrived' (SELECT count(*) > 0 FROM mart.sums WHERE dt = :target); END";
    "CREATE POLICY", "CREATE POLICY name ON table [AS { PERMISSIVE | RESTRICTIVE }] [FOR { ALL | SELECT | INSERT | UPDATE | DELETE }] [TO role, …] [USING (condition)] [WITH CHECK (condition)]",
        "Chooses the rows of a table that roles see and change, and by WITH CHECK those that they write, once row level security is enabled on it.",
        "CREATE POLICY own_region ON crm.public.customers TO analyst USING (region = 'Seoul')";
    "CREATE RESOURCE GROUP", "CREATE [OR REPLACE] RESOURCE GROUP [IF NOT EXISTS] name WITH ([concurrency = n] [, queue = n] [, memory = '4GB'] [, run_time = '10min'] [, weight = n] [, parent = group] [, users = 'a, b'] [, roles = 'a, b'] [, applications = 'pattern, …'])",
        "Limits what the statements of users, members of roles or client programs take together, and says their share.",
        "CREATE RESOURCE GROUP bi WITH (concurrency = 4, queue = 100, memory = '4GB', roles = 'analyst')";
    "CREATE ROLE", "CREATE { ROLE | USER } [IF NOT EXISTS] name [WITH] [LOGIN] [PASSWORD 'text'] [SUPERUSER] [CREATEROLE] [CREATECATALOG] [NOINHERIT] [BYPASSRLS] [CONNECTION LIMIT n] [VALID UNTIL 'time'] [IN ROLE role, …] [ROLE member, …] [ADMIN member, …]",
        "Makes a role; a user is a role that may log in.",
        "CREATE USER kim PASSWORD '…' IN ROLE analyst";
    "CREATE SCHEMA", "CREATE SCHEMA [IF NOT EXISTS] name",
        "Makes a schema in the catalog maru.",
        "CREATE SCHEMA demo";
    "CREATE SECRET", "CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name WITH (option = value, …)",
        "Keeps credentials encrypted; they are never shown again. Catalogs name it with secret = 'name'.",
        "CREATE SECRET crm_login WITH (user = 'maru', password = '…')";
    "CREATE TABLE", "CREATE [OR REPLACE] TABLE [IF NOT EXISTS] name [(column type [NOT NULL] [DEFAULT value] [CHECK (condition)], …, [CONSTRAINT name] CHECK (condition), …)] [WITH (partitioned_by = ARRAY['column', …], option = value, …)] [AS query]",
        "Makes a table, empty or of the rows of a query; in the catalog maru and in catalogs of files it is a Delta Lake table.",
        "CREATE TABLE lake.mart.calls WITH (partitioned_by = ARRAY['day']) AS SELECT * FROM demo.calls";
    "CREATE VIEW", "CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(column, …)] AS query",
        "Keeps a query under a name in the catalog maru.",
        "CREATE VIEW demo.errors AS SELECT * FROM demo.weblogs WHERE status >= 500";
    "DEALLOCATE", "DEALLOCATE { name | ALL }",
        "Forgets a prepared statement.",
        "DEALLOCATE ALL";
    "DECLARE", "DECLARE name [BINARY] [NO SCROLL] CURSOR [WITH HOLD] FOR query",
        "Opens a cursor, which reads a query as it is fetched; it ends with its transaction unless it is held.",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM crm.public.customers";
    "DELETE", "DELETE FROM name [AS alias] [USING table, …] [WHERE condition] [RETURNING item, …]",
        "Removes the rows for which a condition is true.",
        "DELETE FROM lake.mart.calls WHERE day < '2026-01-01'";
    "DESCRIBE", "DESCRIBE { name | 'path' }",
        "Lists the columns of a table or view, or of files.",
        "DESCRIBE crm.public.customers";
    "DESCRIBE HISTORY", "DESCRIBE HISTORY name",
        "Lists the versions of a Delta Lake table, the newest first: when, what was done, by which engine.",
        "DESCRIBE HISTORY lake.mart.calls";
    "DROP", "DROP { CATALOG [TEMPLATE] | RESOURCE GROUP | SCHEMA | SECRET | TABLE | VIEW } [IF EXISTS] name [, …] [CASCADE | RESTRICT]",
        "Removes an object; dropping a catalog closes its connections, data at the source stays.",
        "DROP CATALOG IF EXISTS crm";
    "DROP INDEX", "DROP INDEX [CONCURRENTLY] [IF EXISTS] name [, …] [CASCADE | RESTRICT]",
        "Says that there is no such index: Maru keeps none.",
        "DROP INDEX IF EXISTS by_name";
    "DROP MODEL", "DROP MODEL [IF EXISTS] name [VERSION n]",
        "Removes a model with all its versions, or one version.",
        "DROP MODEL IF EXISTS mes.defect";
    "DROP OWNED", "DROP OWNED BY role, …",
        "Takes all privileges of roles, and leaves what they own to the superuser.",
        "DROP OWNED BY kim";
    "DROP PIPELINE", "DROP PIPELINE [IF EXISTS] name",
        "Removes a pipeline, and what is kept of its runs.",
        "DROP PIPELINE mart.daily";
    "DROP POLICY", "DROP POLICY [IF EXISTS] name ON table",
        "Removes a policy.",
        "DROP POLICY own_region ON crm.public.customers";
    "DROP ROLE", "DROP { ROLE | USER } [IF EXISTS] name, …",
        "Removes roles that own nothing and have been granted nothing.",
        "DROP ROLE kim";
    "EXECUTE", "EXECUTE name [(value, …)]",
        "Runs a prepared statement.",
        "EXECUTE by_id(7)";
    "EXPLAIN", "EXPLAIN [ANALYZE] [VERBOSE] { query | EXECUTE name [(value, …)] } | EXPLAIN (ANALYZE, FORMAT { TEXT | JSON }, …) { query | EXECUTE name [(value, …)] }",
        "Shows the plan and what each source is sent; ANALYZE runs it and shows rows, bytes and time.",
        "EXPLAIN SELECT name FROM crm.public.customers WHERE id = 7";
    "EXPLAIN PIPELINE", "EXPLAIN PIPELINE name",
        "Shows the steps of a pipeline in their order, what they read and write, and what a second try of each does.",
        "EXPLAIN PIPELINE mart.daily";
    "EXPORT MODEL", "EXPORT MODEL name [VERSION n] TO 'url' [(format = { 'onnx' | 'native' })]",
        "Writes a version of a model to a file: as ONNX with the transforms inside, or in Maru's own form.",
        "EXPORT MODEL mes.defect TO 'hdfs:///models/defect.onnx'";
    "FETCH", "{ FETCH | MOVE } [{ NEXT | n | ALL | FORWARD n | FORWARD ALL | ABSOLUTE n | RELATIVE n }] [FROM] cursor",
        "Gives the next rows of a cursor, or skips them.",
        "FETCH 100 FROM c";
    "GRANT", "GRANT { privilege [(column, …)], … | ALL } ON { [kind] name, … | ALL TABLES IN SCHEMA schema, … } TO { role | PUBLIC }, … [WITH GRANT OPTION]",
        "Gives privileges; on a catalog or schema they hold for all that is in it, now and later. system.privilege_kinds lists them.",
        "GRANT USAGE, SELECT ON CATALOG crm TO analyst";
    "GRANT ROLE", "GRANT role, … TO role, … [WITH ADMIN OPTION]",
        "Makes roles members of others, whose privileges they then have.",
        "GRANT analyst TO kim";
    "INSERT", "INSERT INTO name [AS alias] [(column, …)] { query | DEFAULT VALUES } [ON CONFLICT [(column, …)] DO { NOTHING | UPDATE SET column = { EXCLUDED.column | expression }, … }] [RETURNING item, …]; INSERT OVERWRITE [TABLE] name [(column, …)] [PARTITION (column [= value], …)] query",
        "Adds the rows of a query to a table, or puts them in the place of all rows or of those of partitions.",
        "INSERT INTO lake.mart.customers VALUES (1, 'Han')";
    "LISTEN", "LISTEN channel",
        "Has the texts told that others send over a channel, after their transactions; over the PostgreSQL wire.",
        "LISTEN orders_changed";
    "MERGE", "MERGE INTO name [AS alias] USING { table | (query) } [AS alias] ON condition WHEN [NOT] MATCHED [BY SOURCE | BY TARGET] [AND condition] THEN { UPDATE SET column = value, … | DELETE | INSERT [(column, …)] VALUES (value, …) | DO NOTHING } …",
        "Changes, removes and adds rows of a table by those of another one.",
        "MERGE INTO lake.mart.customers c USING crm.public.customers n ON c.id = n.id WHEN MATCHED THEN UPDATE SET name = n.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (n.id, n.name)";
    "NOTIFY", "NOTIFY channel [, 'text']",
        "Sends a text to all sessions of the same database that listen to a channel, when the transaction ends.",
        "NOTIFY orders_changed, '2026-11-22'";
    "OPTIMIZE", "OPTIMIZE [TABLE] name",
        "Puts the rows of small files of a Delta Lake table into fewer, in one commit.",
        "OPTIMIZE lake.mart.calls";
    "PREPARE", "PREPARE name [(type, …)] AS query",
        "Plans a query with parameters $1, $2, … under a name.",
        "PREPARE by_id (bigint) AS SELECT * FROM crm.public.customers WHERE id = $1";
    "PREVIEW", "PREVIEW { 'path' | name } [LIMIT n]",
        "Shows the first rows of files, and tells their format, number, bytes and columns.",
        "PREVIEW 's3://weblogs/2026/*.parquet'";
    "REASSIGN OWNED", "REASSIGN OWNED BY role, … TO role",
        "Gives all that roles own to another one.",
        "REASSIGN OWNED BY kim TO lee";
    "RESET", "RESET { setting | ALL }",
        "Puts a setting of the session back to its default.",
        "RESET pushdown";
    "RESUME RUN", "RESUME RUN run_id [WITH (unknown = { 'repeat' | 'done' })]",
        "Goes on with a run that failed or was cancelled, at the steps that have not succeeded; unknown says what becomes of steps of which nobody knows whether they have written.",
        "RESUME RUN 17";
    "RETRAIN MODEL", "RETRAIN MODEL name [WHEN DRIFT > number] [{ OPTIONS | WITH } (name = value, …)]",
        "Runs the statement that trained a model once more, as a new version; with WHEN DRIFT only if a column has gone away from its training.",
        "RETRAIN MODEL mes.defect WHEN DRIFT > 0.25";
    "REVOKE", "REVOKE [GRANT OPTION FOR] { privilege [(column, …)], … | ALL } ON { [kind] name, … | ALL TABLES IN SCHEMA schema, … } FROM { role | PUBLIC }, … [CASCADE]; REVOKE [ADMIN OPTION FOR] role, … FROM role, …",
        "Takes privileges or memberships away; the next statement of their holder has them no more.",
        "REVOKE SELECT ON crm.public.customers FROM analyst";
    "RUN PIPELINE", "RUN PIPELINE name [(parameter => value, …)] [WITH (async = true, steps = 'step, …', from_step = 'step')]",
        "Runs a pipeline now and waits for its end, or only begins it.",
        "RUN PIPELINE mart.daily (target => '2026-11-22')";
    "SET", "SET setting { = | TO } { value | DEFAULT }",
        "Changes a setting of the session; system.settings lists them.",
        "SET statement_timeout = '30s'";
    "SET ROLE", "SET ROLE { role | NONE }",
        "Goes on with the privileges of a role one is a member of.",
        "SET ROLE analyst";
    "SHOW", "SHOW { CATALOGS | COLUMNS FROM table | CONNECTORS | CONNECTOR OPTIONS | FUNCTIONS | MODELS | PIPELINES | QUERIES | RUN STEPS | RUNS | SCHEMAS [FROM catalog] | SECRETS | SESSIONS | SETTINGS | STATEMENTS | TABLES [FROM [catalog.]schema] | TRAINING JOBS | setting } [LIKE 'pattern']",
        "Lists objects or shows one setting; each list is a table of schema system too.",
        "SHOW TABLES FROM crm.public";
    "SHOW CREATE", "SHOW CREATE { VIEW | PIPELINE } name",
        "Gives the statement that makes a view or a pipeline again; its owner sees it.",
        "SHOW CREATE VIEW demo.errors";
    "TRUNCATE", "TRUNCATE [TABLE] name, …",
        "Removes all rows of tables.",
        "TRUNCATE lake.mart.calls";
    "UNLISTEN", "UNLISTEN { channel | * }",
        "Has the texts of a channel told no more, or of none.",
        "UNLISTEN *";
    "UPDATE", "UPDATE name [AS alias] SET { column = value | (column, …) = (value, …) }, … [FROM table] [WHERE condition] [RETURNING item, …]",
        "Changes the rows for which a condition is true.",
        "UPDATE lake.mart.customers SET region = 'Busan' WHERE region IS NULL";
    "VACUUM", "VACUUM [TABLE] name [RETAIN n HOURS] [DRY RUN]",
        "Removes files that a table has not needed for some time, seven days unless it is said; a dry run only counts them.",
        "VACUUM lake.mart.calls RETAIN 240 HOURS DRY RUN";
}
