//! Statements about the conversation itself: transaction blocks, prepared statements, cursors, channels, `COPY`.

use datafusion::common::format::ExplainStatementOptions;
use datafusion::sql::parser::Statement as DfStatement;
use sqlparser::ast;

use crate::statement::Name;

/// A statement inside of another one, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    pub text: String,
    /// Characters of the outer text before it.
    pub offset: usize,
}

/// `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// `tag` is what it was written as: `BEGIN` or `START TRANSACTION`.
    Begin {
        tag: &'static str,
        /// What it says of its mode: `READ ONLY` or `READ WRITE`.
        read_only: Option<bool>,
    },
    /// `chain`: another block begins at once.
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
}

/// What is said of channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    Listen(String),
    /// `UNLISTEN channel` or `UNLISTEN *` (`None`).
    Unlisten(Option<String>),
    /// Without a text it is empty.
    Notify {
        channel: String,
        payload: String,
    },
}

/// `PREPARE name [(type, …)] AS statement`
#[derive(Debug, Clone)]
pub struct Prepare {
    pub name: String,
    pub types: Vec<ast::DataType>,
    pub statement: Inner,
}

/// `EXECUTE name [(value, …)]`
#[derive(Debug, Clone)]
pub struct ExecutePrepared {
    pub name: String,
    pub arguments: Vec<ast::Expr>,
}

/// `EXPLAIN [ANALYZE] [VERBOSE] EXECUTE name [(value, …)]`, `EXPLAIN (…) EXECUTE …`
#[derive(Debug, Clone)]
pub struct ExplainExecute {
    pub options: ExplainStatementOptions,
    pub execute: ExecutePrepared,
}

/// `DECLARE name [BINARY] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`
#[derive(Debug, Clone)]
pub struct DeclareCursor {
    pub name: String,
    pub binary: bool,
    pub scroll: bool,
    /// Lives longer than its transaction.
    pub hold: bool,
    pub query: Inner,
}

/// `{FETCH | MOVE} [direction] [FROM | IN] name`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub name: String,
    pub direction: Direction,
    /// `MOVE`: rows are counted and not given.
    pub moves: bool,
}

/// Which rows of a cursor are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// So many rows onwards; negative ones are backwards.
    Forward(i64),
    ForwardAll,
    /// The row of this number, counted from one; from the end if negative.
    Absolute(i64),
    Relative(i64),
    Last,
    BackwardAll,
}

/// `COPY { table [(column, …)] | (query) } { FROM | TO } { STDIN | STDOUT | 'file' } [[WITH] (option, …)]`
#[derive(Debug, Clone)]
pub struct Copy {
    /// Reads the table or is the query.
    pub query: Box<DfStatement>,
    /// The table, if one is named.
    pub table: Option<Name>,
    /// Its columns, if they are named.
    pub columns: Vec<String>,
    /// `FROM`: into the table.
    pub from: bool,
    /// `None` is the connection.
    pub file: Option<String>,
    pub options: CopyOptions,
}

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    pub header: bool,
    /// The header must name the columns (`HEADER MATCH`).
    pub header_match: bool,
    pub quote: u8,
    pub escape: u8,
    pub force_quote: ForceQuote,
    /// Columns in which what stands for NULL is NULL even in quotes, when rows are read.
    pub force_null: ForceQuote,
    /// Columns in which what stands for NULL is text even without quotes.
    pub force_not_null: ForceQuote,
}

impl CopyOptions {
    /// Returns those of a copy in binary, which has none.
    pub fn binary() -> Self {
        Self {
            format: CopyFormat::Binary,
            delimiter: b'\t',
            null: String::new(),
            header: false,
            header_match: false,
            quote: b'"',
            escape: b'"',
            force_quote: ForceQuote::default(),
            force_null: ForceQuote::default(),
            force_not_null: ForceQuote::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// Columns that an option of a copy is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceQuote {
    Columns(Vec<String>),
    All,
}

impl Default for ForceQuote {
    fn default() -> Self {
        Self::Columns(Vec::new())
    }
}

impl ForceQuote {
    /// Returns whether it is for a column.
    pub fn takes(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Columns(names) => names.iter().any(|name| name == column),
        }
    }
}
