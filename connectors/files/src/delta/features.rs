//! What a table demands of its readers, and which of it is met.

use maru_core::Result;
use object_store::path::Path;

use super::action::{Metadata, Protocol};
use super::refused;

/// The newest version of the reader protocol that is known.
const READER_VERSION: u32 = 3;

/// The features that are read right.
const KNOWN: &[&str] = &[
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// How the table's columns are found in its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// By their names.
    None,
    /// By a name that stays when the column is renamed.
    Name,
}

/// Checks that the table can be read as its writers mean it; returns how its columns are found.
///
/// # Errors
/// 0A000 that names what is not known.
pub(super) fn check(table: &Path, protocol: &Protocol, metadata: &Metadata) -> Result<Mapping> {
    let version = protocol.min_reader_version;
    if version > READER_VERSION {
        return Err(refused(table, format!("version {version} of the reader protocol")));
    }
    let features = protocol.reader_features.as_deref().unwrap_or_default();
    if let Some(unknown) = features.iter().find(|feature| !KNOWN.contains(&feature.as_str())) {
        return Err(refused(table, format!("feature \"{unknown}\"")));
    }
    let provider = metadata.format.provider.as_str();
    if !provider.is_empty() && !provider.eq_ignore_ascii_case("parquet") {
        return Err(refused(table, format!("files of format \"{provider}\"")));
    }
    match metadata.property("delta.columnMapping.mode").unwrap_or("none") {
        "none" => Ok(Mapping::None),
        // Without the feature the property is another writer's business.
        _ if version < 2 => Ok(Mapping::None),
        _ if version == 3 && !features.iter().any(|feature| feature == "columnMapping") => {
            Ok(Mapping::None)
        }
        "name" => Ok(Mapping::Name),
        other => Err(refused(table, format!("column mapping by {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(mode: &str) -> Metadata {
        serde_json::from_value(serde_json::json!({
            "schemaString": "", "partitionColumns": [], "configuration": {"delta.columnMapping.mode": mode}
        }))
        .unwrap()
    }

    fn protocol(version: u32, features: &[&str]) -> Protocol {
        let reader_features = Some(features.iter().map(|name| (*name).to_owned()).collect());
        let (min_writer_version, writer_features) = (7, None);
        Protocol {
            min_reader_version: version,
            min_writer_version,
            reader_features,
            writer_features,
        }
    }

    #[test]
    fn names_what_it_does_not_know() {
        let table = Path::from("t");
        let check = |version, features: &[&str], mode| {
            check(&table, &protocol(version, features), &metadata(mode))
        };
        assert_eq!(check(1, &[], "none").unwrap(), Mapping::None);
        assert_eq!(check(2, &[], "name").unwrap(), Mapping::Name);
        assert_eq!(check(3, &["columnMapping"], "name").unwrap(), Mapping::Name);
        for (version, features, mode, what) in [
            (4, &[][..], "none", "version 4"),
            (3, &["variantType"], "none", "variantType"),
            (3, &["catalogManaged"], "none", "catalogManaged"),
            (2, &[], "id", "by id"),
        ] {
            let error = check(version, features, mode).unwrap_err();
            assert_eq!(error.sqlstate(), "0A000");
            assert!(error.message().contains(what), "{error}");
        }
    }
}
