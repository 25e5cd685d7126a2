//! The kinds of error, each with its SQLSTATE, who is to blame, and whether trying again can help.

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The person who wrote the statement.
    Client,
    /// The source on the other side.
    Remote,
    /// The person who runs Maru.
    Operator,
    /// Maru itself.
    Bug,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $sqlstate:literal, $blame:ident, $retry:literal;)*) => {
        /// What kind of failure it is. It alone decides SQLSTATE, blame and retry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// Every kind, for documents and for the test that each one is shown in `tests/slt/errors`.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// Returns the SQLSTATE: PostgreSQL's appendix A, class HV for sources.
            pub const fn sqlstate(self) -> &'static str {
                match self { $(ErrorKind::$kind => $sqlstate,)* }
            }

            pub const fn blame(self) -> Blame {
                match self { $(ErrorKind::$kind => Blame::$blame,)* }
            }

            /// Returns whether the same statement may succeed when it is sent again.
            pub const fn is_retryable(self) -> bool {
                match self { $(ErrorKind::$kind => $retry,)* }
            }

            /// Returns the name as written in Rust, for logs and tests.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => stringify!($kind),)* }
            }
        }
    };
}

kinds! {
    Syntax = "42601", Client, false;
    UndefinedTable = "42P01", Client, false;
    UndefinedColumn = "42703", Client, false;
    UndefinedFunction = "42883", Client, false;
    UndefinedSchema = "3F000", Client, false;
    UndefinedCatalog = "3D000", Client, false;
    UndefinedObject = "42704", Client, false;
    UndefinedParameter = "42P02", Client, false;
    AmbiguousColumn = "42702", Client, false;
    /// Several operators or functions could be meant.
    AmbiguousFunction = "42725", Client, false;
    DuplicateColumn = "42701", Client, false;
    DuplicateAlias = "42712", Client, false;
    TypeMismatch = "42804", Client, false;
    CannotCast = "42846", Client, false;
    Grouping = "42803", Client, false;
    /// A column that is named by a place where there is none.
    InvalidColumnReference = "42P10", Client, false;
    InvalidStatement = "42000", Client, false;
    DuplicateTable = "42P07", Client, false;
    DuplicateObject = "42710", Client, false;
    DuplicateSchema = "42P06", Client, false;
    WrongObjectType = "42809", Client, false;
    DependentObjects = "2BP01", Client, false;
    InvalidParameter = "22023", Client, false;
    InvalidSampleSize = "2202H", Client, false;
    InvalidLimit = "2201W", Client, false;
    InvalidOffset = "2201X", Client, false;
    InvalidLogarithm = "2201E", Client, false;
    InvalidPower = "2201F", Client, false;
    InvalidGrant = "0LP01", Client, false;
    ReservedName = "42939", Client, false;
    DivisionByZero = "22012", Client, false;
    OutOfRange = "22003", Client, false;
    InvalidText = "22P02", Client, false;
    NullNotAllowed = "22004", Client, false;
    /// A character that JSON can write and a text cannot hold.
    Untranslatable = "22P05", Client, false;
    ArraySubscript = "2202E", Client, false;
    JsonSubscript = "22033", Client, false;
    JsonSingleton = "22038", Client, false;
    JsonArray = "22039", Client, false;
    JsonMember = "2203A", Client, false;
    JsonNumber = "2203B", Client, false;
    JsonObject = "2203C", Client, false;
    TextTooLong = "22001", Client, false;
    NotNullViolation = "23502", Client, false;
    UniqueViolation = "23505", Client, false;
    CheckViolation = "23514", Client, false;
    /// One row of the target was to be changed by two rows of the source.
    Cardinality = "21000", Client, false;
    /// Another writer came first, and the two cannot follow one another.
    Serialization = "40001", Client, true;
    /// Two sessions wait for one another's locks.
    Deadlock = "40P01", Client, true;
    InvalidDatetime = "22007", Client, false;
    /// A date or time whose month, day, hour and so on there is not.
    DatetimeField = "22008", Client, false;
    BadFileFormat = "22P04", Operator, false;
    /// Rows that a client sends have another form than the statement says.
    BadCopyFormat = "22P04", Client, false;
    /// Bytes that are no value in the binary form of their type.
    BadBinary = "22P03", Client, false;
    /// Bytes that are no text in UTF-8.
    BadEncoding = "22021", Client, false;
    Unsupported = "0A000", Client, false;
    ForeignKeyViolation = "23503", Client, false;
    /// A constraint of another kind, such as one that excludes overlaps.
    ConstraintViolation = "23000", Client, false;
    /// A value for a column that the target computes itself.
    GeneratedColumn = "428C9", Client, false;
    /// The target stayed locked by another.
    LockNotAvailable = "55P03", Client, true;
    NotAuthenticated = "28P01", Client, false;
    NotAllowed = "42501", Client, false;
    ReadOnly = "25006", Client, false;
    TransactionAborted = "25P02", Client, false;
    NoTransaction = "25P01", Client, false;
    InTransaction = "25001", Client, false;
    UndefinedSavepoint = "3B001", Client, false;
    UndefinedCursor = "34000", Client, false;
    DuplicateCursor = "42P03", Client, false;
    UndefinedPrepared = "26000", Client, false;
    DuplicatePrepared = "42P05", Client, false;
    /// An object cannot do this as it stands, such as a cursor that only moves forward.
    WrongState = "55000", Client, false;
    /// An option name the connector does not have.
    UnknownOption = "HV00D", Client, false;
    /// An option value the connector cannot use, or a required one that is missing.
    InvalidOption = "HV024", Client, false;
    RemoteTableNotFound = "HV00R", Client, false;
    RemoteTypeUnsupported = "HV004", Client, false;
    /// The source cannot be reached, or went away.
    RemoteUnavailable = "HV00N", Remote, true;
    /// The source answered with an error of its own.
    RemoteFailed = "HV000", Remote, false;
    /// Whether a commit took place could not be found out.
    CommitUnknown = "08007", Remote, false;
    /// The source answered otherwise than the engine would have (`SET verify_pushdown`).
    PushdownDiffers = "HV000", Bug, false;
    /// The source refuses the credentials it was given.
    RemoteAuthentication = "HV00L", Operator, false;
    Cancelled = "57014", Client, false;
    TimedOut = "57014", Operator, false;
    OutOfMemory = "53200", Operator, true;
    DiskFull = "53100", Operator, true;
    TooManyConnections = "53300", Operator, true;
    QueueFull = "53000", Operator, true;
    LimitExceeded = "54000", Client, false;
    ProtocolViolation = "08P01", Client, false;
    ConnectionFailed = "08006", Remote, true;
    Io = "58030", Operator, false;
    /// A file a table names is not there any more.
    FileNotFound = "58P01", Operator, false;
    DataCorrupted = "XX001", Operator, false;
    ConfigInvalid = "F0000", Operator, false;
    /// It is in use, by this very session.
    LockedObject = "55006", Client, false;
    /// The data directory belongs to another process.
    LockedDataDir = "55006", Operator, false;
    ShuttingDown = "57P01", Operator, true;
    Internal = "XX000", Bug, false;
}
