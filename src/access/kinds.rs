//! The kinds of object that privileges are granted on.
//!
//! Privileges and their words are PostgreSQL's (chapter 5.8, Privileges). Other than there, `SELECT`, `INSERT`, `UPDATE`,
//! `DELETE` and `TRUNCATE` on a catalog or schema hold for all that is in it, now and later: whoever opens a source with
//! ten thousand tables to a department says so once.

use maru_core::{Error, ErrorKind, Result, did_you_mean, quote_ident};

/// What may be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    References,
    Trigger,
    Create,
    Usage,
    Execute,
}

use Privilege::{
    Create, Delete, Execute, Insert, References, Select, Trigger, Truncate, Update, Usage,
};

impl Privilege {
    pub(super) const ALL: &[Self] =
        &[Select, Insert, Update, Delete, Truncate, References, Trigger, Create, Usage, Execute];

    /// Returns the word of SQL.
    pub fn word(self) -> &'static str {
        match self {
            Select => "SELECT",
            Insert => "INSERT",
            Update => "UPDATE",
            Delete => "DELETE",
            Truncate => "TRUNCATE",
            References => "REFERENCES",
            Trigger => "TRIGGER",
            Create => "CREATE",
            Usage => "USAGE",
            Execute => "EXECUTE",
        }
    }

    /// Returns the letter of PostgreSQL's access control lists.
    pub fn letter(self) -> char {
        match self {
            Select => 'r',
            Insert => 'a',
            Update => 'w',
            Delete => 'd',
            Truncate => 'D',
            References => 'x',
            Trigger => 't',
            Create => 'C',
            Usage => 'U',
            Execute => 'X',
        }
    }

    /// Returns whether a grant on a catalog or schema holds for what is in it.
    pub fn flows_down(self) -> bool {
        matches!(self, Select | Insert | Update | Delete | Truncate)
    }

    /// Reads a word of SQL.
    pub fn parse(word: &str) -> Option<Self> {
        // A catalog is what PostgreSQL calls a database.
        let word = if word.eq_ignore_ascii_case("connect") { "usage" } else { word };
        Self::ALL.iter().copied().find(|one| one.word().eq_ignore_ascii_case(word))
    }
}

/// A kind of object.
#[derive(Debug)]
pub struct Kind {
    /// As in `GRANT … ON word name`.
    pub word: &'static str,
    /// Other words for it.
    pub synonyms: &'static [&'static str],
    /// As in `ON ALL words IN SCHEMA`, `ALTER DEFAULT PRIVILEGES … ON words`.
    pub plural: &'static str,
    /// The kind of object that holds it; a name has one part more than its.
    pub within: Option<&'static str>,
    pub privileges: &'static [Privilege],
    /// Those that can be granted on single columns.
    pub of_columns: &'static [Privilege],
    /// Those that everyone has until they are revoked.
    pub of_public: &'static [Privilege],
}

/// The kinds, from the outer to the inner.
pub static KINDS: &[Kind] = &[
    Kind {
        word: "catalog",
        synonyms: &["database"],
        plural: "catalogs",
        within: None,
        privileges: &[Select, Insert, Update, Delete, Truncate, Create, Usage, Execute],
        of_columns: &[],
        of_public: &[],
    },
    Kind {
        word: "schema",
        synonyms: &[],
        plural: "schemas",
        within: Some("catalog"),
        privileges: &[Select, Insert, Update, Delete, Truncate, Create, Usage],
        of_columns: &[],
        of_public: &[],
    },
    Kind {
        word: "table",
        synonyms: &["view"],
        plural: "tables",
        within: Some("schema"),
        privileges: &[Select, Insert, Update, Delete, Truncate, References, Trigger],
        of_columns: &[Select, Insert, Update, References],
        of_public: &[],
    },
    Kind {
        word: "model",
        synonyms: &[],
        plural: "models",
        within: Some("schema"),
        privileges: &[Execute],
        of_columns: &[],
        of_public: &[],
    },
    Kind {
        word: "pipeline",
        synonyms: &[],
        plural: "pipelines",
        within: Some("schema"),
        privileges: &[Execute],
        of_columns: &[],
        of_public: &[],
    },
    Kind {
        word: "function",
        synonyms: &["routine", "procedure"],
        plural: "functions",
        within: None,
        privileges: &[Execute],
        of_columns: &[],
        of_public: &[Execute],
    },
    Kind {
        word: "secret",
        synonyms: &[],
        plural: "secrets",
        within: None,
        privileges: &[Usage],
        of_columns: &[],
        of_public: &[],
    },
];

/// Finds a kind by its word.
///
/// # Errors
/// 42601 for a word that is none.
pub fn kind(word: &str) -> Result<&'static Kind> {
    find(word, |kind| {
        kind.word.eq_ignore_ascii_case(word)
            || kind.synonyms.iter().any(|other| other.eq_ignore_ascii_case(word))
    })
}

/// Finds a kind by the word for several of it.
///
/// # Errors
/// 42601 for a word that is none.
pub fn kind_of_several(word: &str) -> Result<&'static Kind> {
    find(word, |kind| kind.plural.eq_ignore_ascii_case(word))
}

fn find(word: &str, is: impl Fn(&Kind) -> bool) -> Result<&'static Kind> {
    KINDS.iter().find(|kind| is(kind)).ok_or_else(|| {
        let words = KINDS.iter().flat_map(|kind| [kind.word, kind.plural]);
        let known = KINDS.iter().map(|kind| kind.word.to_uppercase()).collect::<Vec<_>>();
        let error = Error::new(
            ErrorKind::Syntax,
            format!("unrecognized kind of object \"{}\"", word.to_uppercase()),
        );
        match did_you_mean(word, words) {
            Some(near) => error.with_hint(format!("Did you mean {}?", near.to_uppercase())),
            None => error.with_hint(format!("The kinds are {}.", known.join(", "))),
        }
    })
}

impl Kind {
    /// Returns how many parts a full name has.
    pub fn n_parts(&self) -> usize {
        1 + self.holder().map_or(0, Kind::n_parts)
    }

    pub fn holder(&self) -> Option<&'static Self> {
        self.within.and_then(|word| KINDS.iter().find(|kind| kind.word == word))
    }
}

/// An object by its full name. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    /// The kind's word.
    pub kind: &'static str,
    pub path: Vec<String>,
}

impl Object {
    pub fn new(kind: &'static Kind, path: Vec<String>) -> Self {
        Self { kind: kind.word, path }
    }

    pub fn catalog(name: &str) -> Self {
        Self { kind: "catalog", path: vec![name.to_owned()] }
    }

    pub fn schema(catalog: &str, name: &str) -> Self {
        Self { kind: "schema", path: vec![catalog.to_owned(), name.to_owned()] }
    }

    pub fn table(catalog: &str, schema: &str, name: &str) -> Self {
        Self { kind: "table", path: vec![catalog.to_owned(), schema.to_owned(), name.to_owned()] }
    }

    pub fn model(catalog: &str, schema: &str, name: &str) -> Self {
        Self { kind: "model", path: vec![catalog.to_owned(), schema.to_owned(), name.to_owned()] }
    }

    pub fn pipeline(catalog: &str, schema: &str, name: &str) -> Self {
        let path = vec![catalog.to_owned(), schema.to_owned(), name.to_owned()];
        Self { kind: "pipeline", path }
    }

    pub fn function(name: &str) -> Self {
        Self { kind: "function", path: vec![name.to_owned()] }
    }

    pub fn secret(name: &str) -> Self {
        Self { kind: "secret", path: vec![name.to_owned()] }
    }

    pub fn spec(&self) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.word == self.kind)
    }

    /// Returns the object that holds this one.
    pub fn holder(&self) -> Option<Self> {
        let holder = self.spec()?.holder()?;
        let n_parts = self.path.len().checked_sub(1)?;
        Some(Self { kind: holder.word, path: self.path[..n_parts].to_vec() })
    }

    /// Returns whether this is `other` or in it.
    pub fn is_within(&self, other: &Self) -> bool {
        self == other || self.holder().is_some_and(|holder| holder.is_within(other))
    }

    /// Returns the name as a statement writes it.
    pub fn name(&self) -> String {
        self.path.iter().map(|part| quote_ident(part)).collect::<Vec<_>>().join(".")
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Messages name an object by its last part, as PostgreSQL's do.
        let last = self.path.last().map(|part| quote_ident(part)).unwrap_or_default();
        write!(f, "{} {last}", self.kind)
    }
}
