//! Patterns of paths: `2026/*/part-?.parquet`, `**/*.csv`.

use glob::{MatchOptions, Pattern};
use maru_core::{Error, ErrorKind, Result};
use object_store::path::Path;

/// As in a shell: a `*` stays within a name.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A pattern for the files below a directory.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    root: Path,
    pattern: Pattern,
}

impl Glob {
    /// # Errors
    /// 22023 for a pattern that cannot be read, such as an open bracket.
    pub(crate) fn new(root: &Path, pattern: &str) -> Result<Self> {
        let compiled = Pattern::new(pattern).map_err(|error| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!("invalid pattern \"{pattern}\": {error}"),
            )
        })?;
        Ok(Self { root: root.clone(), pattern: compiled })
    }

    pub(crate) fn matches(&self, path: &Path) -> bool {
        let Some(parts) = path.prefix_match(&self.root) else { return false };
        let parts = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
        self.pattern.matches_with(&parts.join("/"), OPTIONS)
    }
}

/// Cuts a location where its pattern begins: the directory, and the pattern below it.
pub fn split_pattern(location: &str) -> (&str, Option<&str>) {
    let Some(first) = location.find(['*', '?', '[']) else { return (location, None) };
    match location[..first].rfind('/') {
        Some(slash) => (&location[..=slash], Some(&location[slash + 1..])),
        None => (location, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_name() {
        let matches = |pattern: &str, path: &str| {
            Glob::new(&Path::from("logs"), pattern).unwrap().matches(&Path::from(path))
        };
        assert!(matches("*.csv", "logs/a.csv"));
        assert!(!matches("*.csv", "logs/x/a.csv"));
        assert!(matches("**/*.csv", "logs/x/y/a.csv"));
        assert!(matches("**/*.csv", "logs/a.csv"));
        assert!(matches("dt=2026-*/part-?.csv", "logs/dt=2026-11/part-0.csv"));
        assert!(!matches("*.csv", "other/a.csv"));
        assert!(Glob::new(&Path::from("logs"), "a[").is_err());
    }

    #[test]
    fn a_location_is_cut_before_its_pattern() {
        assert_eq!(split_pattern("s3://b/2026/*.parquet"), ("s3://b/2026/", Some("*.parquet")));
        assert_eq!(split_pattern("/data/d?/x.csv"), ("/data/", Some("d?/x.csv")));
        assert_eq!(split_pattern("s3://b/2026/"), ("s3://b/2026/", None));
    }
}
