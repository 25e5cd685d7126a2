//! Which services there are, and a source over them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use maru_connect::{Connector, OpenContext, Source, conformance};

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
    conformance::context(&HIVE, &options, Arc::new(maru_files::Stores)).unwrap()
}

pub(super) async fn source(metastore: &str) -> Arc<dyn Source> {
    HIVE.open(context(metastore)).await.unwrap()
}
