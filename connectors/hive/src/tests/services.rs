//! Which services there are, and a source over them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::{BoxFuture, FutureExt};
use hdfs_native_object_store::HdfsObjectStoreBuilder;
use maru_connect::{Connector, OpenContext, OpenedStore, Source, StoreOpener, conformance};
use maru_core::{Error, Options, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use crate::HIVE;

/// A key that no message may show.
pub(super) const KEY: &str = "key-that-nobody-may-see";

pub(super) const HDFS: Service = Service("MARU_TEST_HDFS");

/// A service by the variable that says where it is.
pub(super) struct Service(pub(super) &'static str);

impl Service {
    /// Returns where it is, or says that what needs it is left out.
    pub(super) fn get(&self) -> Option<String> {
        static SAID: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
        if let Some(url) = std::env::var(self.0).ok().filter(|url| !url.is_empty()) {
            return Some(url);
        }
        let required = std::env::var("MARU_TEST_SERVICES").is_ok_and(|word| word == "required");
        assert!(!required, "{} is not set, but services are required", self.0);
        if SAID.lock().unwrap().get_or_insert_default().insert(self.0) {
            eprintln!("left out: what needs {}, which is not set", self.0);
        }
        None
    }
}

/// A metastore to test with.
pub(super) struct Hms {
    /// Part of database names, so that both can share one HDFS.
    pub(super) name: &'static str,
    pub(super) url: String,
}

pub(super) fn each_metastore() -> Vec<Hms> {
    [("hms3", "MARU_TEST_HMS3"), ("hms4", "MARU_TEST_HMS4")]
        .into_iter()
        .filter_map(|(name, variable)| Some(Hms { name, url: Service(variable).get()? }))
        .collect()
}

pub(super) fn context(metastore: &str) -> OpenContext {
    let options = [("metastore", metastore), ("secret_access_key", KEY)];
    conformance::context(&HIVE, &options, Arc::new(TestStores)).unwrap()
}

pub(super) async fn source(metastore: &str) -> Arc<dyn Source> {
    HIVE.open(context(metastore)).await.unwrap()
}

/// Opens HDFS and local directories.
#[derive(Debug)]
pub(super) struct TestStores;

pub(super) fn hdfs(url: &str) -> Arc<dyn ObjectStore> {
    Arc::new(HdfsObjectStoreBuilder::new().with_url(url).build().unwrap())
}

impl StoreOpener for TestStores {
    fn open_store<'a>(
        &'a self,
        instance: &'a str,
        url: &'a Url,
        _: &'a Options,
    ) -> BoxFuture<'a, Result<OpenedStore>> {
        async move {
            let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
            let store: Arc<dyn ObjectStore> = match url.scheme() {
                "hdfs" => hdfs(&format!("hdfs://{host}")),
                "file" => Arc::new(LocalFileSystem::new()),
                other => return Err(Error::unsupported(format!("no store for {other}"))),
            };
            let private = format!("{instance}+{}://{host}/", url.scheme());
            let path = Path::from_url_path(url.path()).map_err(object_store::Error::from)?;
            Ok(OpenedStore { store, url: ObjectStoreUrl::parse(private)?, path, directories: None })
        }
        .boxed()
    }
}
