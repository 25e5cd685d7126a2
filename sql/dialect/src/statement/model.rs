//! The statements of the pack of machine learning.

use sqlparser::ast;

use super::Name;

/// A statement on models.
#[derive(Debug, Clone)]
pub enum ModelStatement {
    Create(Box<CreateModel>),
    Alter(AlterModel),
    Drop(DropModel),
    Export(ExportModel),
    Retrain(RetrainModel),
    /// `CANCEL TRAINING JOB id`
    CancelJob(i64),
}

/// `CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name [TRANSFORM (item, …)] [TRAIN WHERE condition]
/// {OPTIONS | WITH} (name = value, …) … [AS query]`
#[derive(Debug, Clone)]
pub struct CreateModel {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    /// Empty: every column as it is.
    pub transform: Vec<ast::SelectItem>,
    pub train_where: Option<ast::Expr>,
    /// Names in lower case.
    pub options: Vec<(String, ast::Expr)>,
    /// `None` for a model that is imported.
    pub query: Option<Box<ast::Query>>,
}

/// `RETRAIN MODEL name [WHEN DRIFT > number] [{OPTIONS | WITH} (name = value, …)]`
#[derive(Debug, Clone)]
pub struct RetrainModel {
    pub name: Name,
    /// Trains only if the population stability index of a column is above this.
    pub drift: Option<f64>,
    /// In the place of those of the statement that trained the model.
    pub options: Vec<(String, ast::Expr)>,
}

/// `ALTER MODEL name …`
#[derive(Debug, Clone)]
pub struct AlterModel {
    pub name: Name,
    pub if_exists: bool,
    pub change: ModelChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChange {
    /// `SET DEFAULT VERSION n`
    Default(i64),
    /// `ROLLBACK`: the version that was the default before.
    Rollback,
    /// `SET ALIAS name = n`
    Alias(String, i64),
    /// `DROP ALIAS name`
    DropAlias(String),
    /// `RENAME TO name`
    Rename(String),
    /// `SET OPTIONS (name = value, …)`
    Options(Vec<(String, ast::Expr)>),
    /// `SET COMMENT 'text'`, or `NULL`
    Comment(Option<String>),
}

/// `DROP MODEL [IF EXISTS] name [VERSION n]`
#[derive(Debug, Clone)]
pub struct DropModel {
    pub name: Name,
    pub if_exists: bool,
    pub version: Option<i64>,
}

/// `EXPORT MODEL name [VERSION n] TO 'url' [(format = 'onnx')]`
#[derive(Debug, Clone)]
pub struct ExportModel {
    pub name: Name,
    pub version: Option<i64>,
    pub location: String,
    pub format: Option<String>,
}
