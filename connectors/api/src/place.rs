//! What users call the files of a store.
//!
//! Paths in a store are relative to its root, which its private address tells: `c1+s3://logs/` is the bucket `s3://logs/`. That of a
//! directory has the directory's name in place of a host, in hexadecimal digits.

use std::fmt::Write as _;

use datafusion::execution::object_store::ObjectStoreUrl;
use maru_core::Error;
use object_store::path::Path;

use crate::Leftover;

/// Returns what stands for a directory in the private address of the store whose root it is.
pub fn authority_of(directory: &str) -> String {
    let mut authority = String::with_capacity(directory.len() * 2);
    for byte in directory.bytes() {
        // Writing to memory does not fail.
        let _ = write!(authority, "{byte:02x}");
    }
    authority
}

/// Returns what users call the root of a store, with a slash at its end: `/`, `/data/lake/`, `s3://logs/`. Empty if nobody can name it.
pub fn root_of(store: &ObjectStoreUrl) -> String {
    let Some((private, rest)) = store.as_str().split_once("://") else { return String::new() };
    let authority = rest.trim_end_matches('/');
    match private.rsplit_once('+') {
        Some((_, "file")) => {
            let directory = directory(authority).unwrap_or_default();
            format!("{}/", directory.trim_end_matches('/'))
        }
        Some((_, scheme)) => format!("{scheme}://{authority}/"),
        None => String::new(),
    }
}

fn directory(authority: &str) -> Option<String> {
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let bytes = authority.as_bytes().chunks(2).map(byte).collect::<Option<Vec<_>>>()?;
    String::from_utf8(bytes).ok().filter(|directory| directory.starts_with('/'))
}

/// Names files of a store as users would write them.
pub fn leftovers_in_place(leftovers: Vec<Leftover>, store: &ObjectStoreUrl) -> Vec<Leftover> {
    let root = root_of(store);
    let named = |left: Leftover| Leftover { path: format!("{root}{}", left.path), ..left };
    leftovers.into_iter().map(named).collect()
}

/// Lets an error name what lies at a path of a store, and below it, as users would write it.
pub fn in_place(error: Error, root: &str, path: &Path) -> Error {
    let path = path.as_ref();
    if root.is_empty() || path.is_empty() {
        return error;
    }
    error.map_text(|text| whole(text, root, path))
}

fn whole(text: &str, root: &str, path: &str) -> String {
    if text.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return format!("{root}{text}");
    }
    let mut told = String::with_capacity(text.len() + root.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&format!("\"{path}")) {
        told.push_str(before);
        // A name alone may be that of a column.
        let is_place = path.contains(['/', '.']) || told.is_empty() || told.ends_with(" at ");
        let is_meant = after.starts_with('/') || (is_place && after.starts_with('"'));
        told.push('"');
        told.push_str(if is_meant { root } else { "" });
        told.push_str(path);
        rest = after;
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use maru_core::ErrorKind;

    use super::*;

    #[test]
    fn roots_are_what_users_write() {
        let lake = format!("c2+file://{}/", authority_of("/data/lake 한"));
        for (address, wanted) in [
            ("c1+file:///", "/"),
            (lake.as_str(), "/data/lake 한/"),
            ("c3+s3://logs/", "s3://logs/"),
            ("c4+hdfs://nn:8020/", "hdfs://nn:8020/"),
            ("memory://", ""),
        ] {
            assert_eq!(root_of(&ObjectStoreUrl::parse(address).unwrap()), wanted, "{address}");
        }
    }

    #[test]
    fn errors_name_whole_paths_once() {
        let path = Path::from("s/a.csv");
        let error = Error::new(ErrorKind::BadFileFormat, "file \"s/a.csv\" line 3: column \"s\"")
            .with_hint("Move \"s/a.csv\".")
            .with_context("file", "s/a.csv");
        let told = |error: Error| in_place(in_place(error, "/d/", &path), "/d/", &Path::from("s"));
        let error = told(error);
        assert_eq!(error.message(), "file \"/d/s/a.csv\" line 3: column \"s\"");
        assert_eq!(error.hint(), Some("Move \"/d/s/a.csv\"."));
        assert_eq!(error.detail().as_deref(), Some("file=/d/s/a.csv"));
        let error = told(Error::new(ErrorKind::BadFileFormat, "\"s/b.csv\" and \"s/a.csv.gz\""));
        assert_eq!(error.message(), "\"/d/s/b.csv\" and \"/d/s/a.csv.gz\"");
        let error = told(Error::new(ErrorKind::BadFileFormat, "nothing lies at \"s\""));
        assert_eq!(error.message(), "nothing lies at \"/d/s\"");
    }
}
