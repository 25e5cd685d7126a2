//! The metastore's exceptions, put down to what they mean.

use hive_metastore::*;
use maru_core::{Error, ErrorKind};

use super::first_line;

/// What the metastore says instead of an answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What was asked for is not there.
    pub(crate) missing: bool,
    pub(crate) message: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let text = format!("Hive metastore: {}", first_line(&refusal.message));
        Error::new(ErrorKind::RemoteFailed, text)
    }
}

/// For each exception type of a call, which of its exceptions say that something is missing.
macro_rules! refusals {
    ($($exception:ident { $($variant:ident: $missing:literal),* })*) => {
        $(impl From<$exception> for Refusal {
            fn from(exception: $exception) -> Self {
                match exception {
                    $($exception::$variant(inner) => Self {
                        missing: $missing,
                        message: inner.message.map(|text| text.to_string()).unwrap_or_default(),
                    },)*
                }
            }
        })*
    };
}

refusals! {
    ThriftHiveMetastoreGetAllDatabasesException { O1: false }
    ThriftHiveMetastoreGetTableMetaException { O1: false }
    ThriftHiveMetastoreGetTableReqException { O1: false, O2: true }
    ThriftHiveMetastoreGetPartitionNamesException { O2: false }
    ThriftHiveMetastoreGetPartitionsByNamesException { O1: false, O2: true }
    ThriftHiveMetastoreGetPartitionsByFilterException { O1: false, O2: true }
    ThriftHiveMetastoreGetNumPartitionsByFilterException { O1: false, O2: true }
    ThriftHiveMetastoreGetTableStatisticsReqException { O1: true, O2: false }
    ThriftHiveMetastoreGetAggrStatsForException { O1: true, O2: false }
    ThriftHiveMetastoreGetDatabaseException { O1: true, O2: false }
    ThriftHiveMetastoreCreateDatabaseException { O1: false, O2: false, O3: false }
    ThriftHiveMetastoreCreateTableException { O1: false, O2: false, O3: false, O4: true }
    ThriftHiveMetastoreAlterTableWithEnvironmentContextException { O1: false, O2: false }
    ThriftHiveMetastoreAlterPartitionsWithEnvironmentContextException { O1: false, O2: false }
    ThriftHiveMetastoreAddPartitionsException { O1: false, O2: false, O3: false }
    ThriftHiveMetastoreDropPartitionException { O1: true, O2: false }
    ThriftHiveMetastoreDropTableWithEnvironmentContextException { O1: true, O3: false }
}

#[cfg(any(test, feature = "testkit"))]
refusals! {
    ThriftHiveMetastoreDropDatabaseException { O1: true, O2: false, O3: false }
}
