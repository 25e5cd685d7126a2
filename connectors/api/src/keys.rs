//! Keys of tables, as their sources declare them: to be told to tools, never used to answer.

/// A key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableKey {
    pub table: String,
    /// Its own name; where the source has none, one as PostgreSQL would make it.
    pub name: String,
    pub kind: KeyKind,
    /// In the order of the key.
    pub columns: Vec<String>,
}

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    Primary,
    Unique,
    Foreign(Box<Reference>),
}

/// What a foreign key refers to, in the same catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub schema: String,
    pub table: String,
    /// One for each column of the key.
    pub columns: Vec<String>,
    /// The name of the key there, if the source tells.
    pub key: Option<String>,
    pub on_update: KeyRule,
    pub on_delete: KeyRule,
}

/// What becomes of a row that refers to one which is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRule {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl KeyRule {
    /// Reads the words of SQL; what is none of them is `NO ACTION`.
    pub fn of_words(words: &str) -> Self {
        match words {
            "RESTRICT" => Self::Restrict,
            "CASCADE" => Self::Cascade,
            "SET NULL" => Self::SetNull,
            "SET DEFAULT" => Self::SetDefault,
            _ => Self::NoAction,
        }
    }

    /// Returns the words of SQL.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoAction => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }
}
