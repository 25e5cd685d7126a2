//! Stores by URL: local directories, S3, HDFS.

pub(crate) mod hdfs;
pub(crate) mod local;
mod parts;
pub(crate) mod s3;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock, Weak};

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::BoxFuture;
use maru_connect::{Directories, OpenedStore, StoreOpener};
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use url::Url;

use crate::gate::Gate;
use crate::options;

/// Opens `file://`, `s3://` (also `s3a`, `s3n`) and `hdfs://` for connectors that know tables but not files.
///
/// A client is shared as long as somebody holds it and the asking catalog, the host and the options are the same.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stores;

/// The clients of all catalogs that somebody still holds; the asking catalog is part of the key.
static CLIENTS: LazyLock<Mutex<HashMap<Key, Kept>>> = LazyLock::new(Mutex::default);

type Kept = (Weak<dyn ObjectStore>, Option<Arc<dyn Directories>>);
type Client = (Arc<dyn ObjectStore>, Option<Arc<dyn Directories>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    address: String,
    /// Of the options that make the client, so that other credentials get another one.
    fingerprint: u64,
}

impl Stores {
    fn shared(key: &Key) -> Option<Client> {
        let clients = CLIENTS.lock();
        let (store, directories) = clients.get(key)?;
        Some((store.upgrade()?, directories.clone()))
    }

    fn keep(key: Key, (store, directories): &Client) {
        let mut clients = CLIENTS.lock();
        clients.retain(|_, (store, _)| store.strong_count() > 0);
        clients.insert(key, (Arc::downgrade(store), directories.clone()));
    }

    fn open(instance: &str, url: &Url, options: &Options) -> Result<OpenedStore> {
        let path = path_of(url)?;
        let kind = Kind::of(url)?;
        let authority = kind.authority(url)?;
        let address = private_url(instance, kind.scheme(), &authority)?;
        let key =
            Key { address: address.as_str().to_owned(), fingerprint: fingerprint(kind, options) };
        let (store, directories) = match Self::shared(&key) {
            Some(client) => client,
            None => {
                let client: Client = match kind {
                    Kind::Local => (local::open(None)?, None),
                    Kind::S3 => (s3::open(&authority, options)?, None),
                    Kind::Hdfs => {
                        let hdfs = hdfs::open(url, options)?;
                        (Arc::clone(&hdfs.store), Some(Arc::new(hdfs.directories())))
                    }
                };
                Self::keep(key, &client);
                client
            }
        };
        Ok(OpenedStore { store, url: address, path, directories })
    }
}

impl StoreOpener for Stores {
    fn open_store<'a>(
        &'a self,
        instance: &'a str,
        url: &'a Url,
        options: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>> {
        Box::pin(async move { Self::open(instance, url, options) })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Local,
    S3,
    Hdfs,
}

impl Kind {
    fn of(url: &Url) -> Result<Self> {
        match url.scheme() {
            "file" => Ok(Self::Local),
            "s3" | "s3a" | "s3n" => Ok(Self::S3),
            "hdfs" => Ok(Self::Hdfs),
            other => {
                Err(Error::unsupported(format!("no connector reads \"{other}://\" locations"))
                    .with_hint("Use file://, s3:// or hdfs://."))
            }
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Local => "file",
            Self::S3 => "s3",
            Self::Hdfs => "hdfs",
        }
    }

    fn authority(self, url: &Url) -> Result<String> {
        let host = url.host_str().unwrap_or_default();
        match self {
            Self::Local if host.is_empty() || host == "localhost" => Ok(String::new()),
            _ if host.is_empty() => Err(Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "location \"{url}\" names no {}",
                    if self == Self::S3 { "bucket" } else { "host" }
                ),
            )),
            Self::Local => {
                Err(Error::unsupported(format!("location \"{url}\" lies on another host")))
            }
            _ => Ok(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))),
        }
    }
}

fn fingerprint(kind: Kind, options: &Options) -> u64 {
    let specs = match kind {
        Kind::Local => options::FILE_OPTIONS,
        Kind::S3 => options::S3_OPTIONS,
        Kind::Hdfs => options::HDFS_OPTIONS,
    };
    let mut hasher = DefaultHasher::new();
    for spec in specs {
        options.text(spec.name).hash(&mut hasher);
        options.secret(spec.name).map(|secret| secret.reveal()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns the path in the store that the URL names. Percent escapes of the URL are resolved once: `%2520` in the URL
/// is `%20` in the name.
///
/// # Errors
/// HV024 for a path with empty, `.` or `..` parts.
pub(crate) fn path_of(url: &Url) -> Result<Path> {
    if url.path().split('/').any(|part| part == "..") {
        let what = format!("location \"{url}\" is not a path: it goes up by \"..\"");
        return Err(Error::new(ErrorKind::InvalidOption, what).with_hint("Write the whole path."));
    }
    Path::from_url_path(url.path()).map_err(|error| {
        Error::new(ErrorKind::InvalidOption, format!("location \"{url}\" is not a path: {error}"))
    })
}

/// Returns the address under which only this catalog finds the store.
pub(crate) fn private_url(instance: &str, scheme: &str, authority: &str) -> Result<ObjectStoreUrl> {
    let text = format!("{instance}+{scheme}://{authority}/");
    ObjectStoreUrl::parse(&text)
        .map_err(|error| Error::internal(format!("no store address \"{text}\": {error}")))
}

/// A store and the handle that closes it.
#[derive(Debug, Clone)]
pub(crate) struct Closable {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) gate: Arc<Gate>,
}

impl Closable {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        let gate = Gate::new(store, |error| error);
        Self { store: Arc::clone(&gate) as Arc<dyn ObjectStore>, gate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hive_partitions_survive() {
        let url = Url::parse("hdfs://nn:8020/w/region=a%20b%252Fc%253Dd").unwrap();
        assert_eq!(path_of(&url).unwrap().as_ref(), "w/region=a b%2Fc%3Dd");
    }

    #[tokio::test]
    async fn shares_a_client_while_somebody_holds_it() {
        let stores = Stores;
        let url = Url::parse("s3://bucket/a/b").unwrap();
        let options = |key: &str| {
            Options::check(
                "s3",
                options::S3_OPTIONS,
                [("bucket", "bucket"), ("access_key_id", key), ("secret_access_key", "s")],
            )
            .unwrap()
        };
        let a = stores.open_store("c1", &url, &options("k")).await.unwrap();
        let b = stores.open_store("c1", &url, &options("k")).await.unwrap();
        let c = stores.open_store("c1", &url, &options("other")).await.unwrap();
        assert!(Arc::ptr_eq(&a.store, &b.store));
        assert!(!Arc::ptr_eq(&a.store, &c.store));
        assert_eq!(a.url.as_str(), "c1+s3://bucket/");
        assert_eq!(a.path.as_ref(), "a/b");
        let gone = Arc::downgrade(&a.store);
        drop((a, b));
        assert!(gone.upgrade().is_none());
    }

    #[tokio::test]
    async fn refuses_what_no_connector_reads() {
        let stores = Stores;
        for (location, state) in
            [("gs://b/x", "0A000"), ("s3:///x", "HV024"), ("file://other/x", "0A000")]
        {
            let url = Url::parse(location).unwrap();
            let error = stores.open_store("c1", &url, &Options::default()).await.unwrap_err();
            assert_eq!(error.sqlstate(), state, "{location}");
        }
    }
}
