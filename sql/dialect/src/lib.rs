//! The language: one dialect, PostgreSQL's, plus Maru's own statements.
//!
//! [`split`] cuts a text into statements, [`parse`] turns one into a [`Statement`]. What a statement does stands in the
//! program's `statement/` folder; this room knows only words. Start reading at `statement.rs`: it is the list.

mod conversation;
pub mod hive;
mod maru_dialect;
mod parser;
mod split;
mod statement;
mod write;

pub use conversation::{
    Channel, Copy, CopyFormat, CopyOptions, DeclareCursor, Direction, ExecutePrepared,
    ExplainExecute, Fetch, ForceQuote, Inner, Prepare, Transaction,
};
pub use maru_dialect::MaruDialect;
pub use parser::{READ_OPTIONS, model, parse, parse_type, versions};
pub use split::{Piece, split};
pub use statement::{
    AlterCatalog, AlterDefaultPrivileges, AlterModel, AlterOwner, AlterPolicy, AlterResourceGroup,
    AlterRole, AlterTableSecurity, BackfillPipeline, CancelQuery, CatalogChange, CommentOn,
    CommentTarget, CreateCatalog, CreateCatalogTemplate, CreateExternalTable, CreateModel,
    CreatePipeline, CreatePolicy, CreateResourceGroup, CreateRole, CreateSchema, CreateSecret,
    CreateView, DropModel, DropObject, DropPolicy, DropRole, ExportModel, GrantPrivileges,
    GrantRole, GrantTarget, ModelChange, ModelStatement, Name, ObjectKind, OptionList, Owned,
    PipelineChange, PipelineOption, PipelineParameter, PipelineSchedule, PipelineStatement,
    PipelineStep, PolicyChange, PolicyCommand, Preview, PrivilegeName, RangeEnd, RetrainModel,
    RoleChange, RoleName, RoleOptions, RunPipeline, STATEMENTS, SecurityChange, SetScope,
    SetVariable, SqlPart, Statement, StatementSpec, StepBody,
};
pub use write::{
    AlterTable, Check, CopyTo, CreateIndex, CreateTable, Delete, DropIndex, Insert, Merge,
    MergeAction, MergeClause, MergeWhen, OnConflict, Returning, TableAlteration, Truncate, Update,
    Vacuum, Write, WriteAction,
};

/// The tokenizer and syntax tree underneath, for those who look for a word in a text.
pub use sqlparser::{ast, tokenizer};
