//! Object stores, opened by URL.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use maru_core::{Options, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

/// A store ready for use, and the place in it that a URL named.
#[derive(Debug, Clone)]
pub struct OpenedStore {
    pub store: Arc<dyn ObjectStore>,
    /// The private address under which the engine registers the store (`<instance>+s3://bucket/`). Unique to one
    /// catalog and its credentials.
    pub url: ObjectStoreUrl,
    /// The path that the URL named, relative to the store's root.
    pub path: Path,
    /// Tells what became of directories, where the store has such and knows it.
    pub directories: Option<Arc<dyn Directories>>,
}

/// A store that knows when its directories changed.
pub trait Directories: Send + Sync + Debug {
    /// Returns the directories in `parent` (not those further below), each with a mark that is another one after something was
    /// made, removed or renamed in it. A file that grows where it lies, or a change further below, leaves the mark as it is.
    fn marks<'a>(&'a self, parent: &'a Path) -> BoxFuture<'a, Result<HashMap<Path, u64>>>;

    /// Removes a directory with all that is in it, in one step. One that is not there is removed already.
    fn remove_all<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, Result<()>>;
}

/// Reads the address of a place whose path is written as it is: `a%20b` is the name `a%20b`, and `#` and `?` cut nothing off.
///
/// # Errors
/// What is wrong with a text that is no URL.
pub fn literal_url(text: &str) -> Result<Url, url::ParseError> {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // What a URL would take for more than itself, cut off, or leave out.
            '%' | '?' | '#' | '\\' | ' ' | '\0'..='\x1f' | '\x7f' => {
                escaped.push_str(&format!("%{:02X}", u32::from(c)));
            }
            other => escaped.push(other),
        }
    }
    Url::parse(&escaped)
}

/// Opens stores for connectors that know where files lie but not how to read them.
pub trait StoreOpener: Send + Sync + Debug {
    /// Opens the store of `url` (`s3://bucket/…`, `hdfs://host:port/…`, `file:///…`).
    ///
    /// `instance` is [`OpenContext::instance`](crate::OpenContext) of the asking catalog; `options` are looked up
    /// by the names that connectors `s3` and `hdfs` declare (`endpoint`, `region`, `access_key_id`, …), absent ones
    /// take their defaults.
    ///
    /// # Errors
    /// 0A000 for a scheme that no connector serves.
    fn open_store<'a>(
        &'a self,
        instance: &'a str,
        url: &'a Url,
        options: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is_written() {
        for (text, wanted) in [
            ("s3://b/names/a%20b.csv", "s3://b/names/a%2520b.csv"),
            ("s3://b/a b#c?d ", "s3://b/a%20b%23c%3Fd%20"),
            ("hdfs://nn:9000/x\\y\tz", "hdfs://nn:9000/x%5Cy%09z"),
            ("s3://b/한", "s3://b/%ED%95%9C"),
        ] {
            assert_eq!(literal_url(text).unwrap().as_str(), wanted);
        }
    }
}
