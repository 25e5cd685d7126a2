//! The attached catalogs: the built-in one and those made by `CREATE CATALOG`.
//!
//! `attached.rs` is one catalog with its short memory, `own.rs` those that users find made for them, `builtin.rs` the catalog `maru`, `resolve.rs` what a session sees
//! and the errors for names that are not there.

mod attached;
pub mod builtin;
mod copy;
pub mod definition;
mod own;
mod pg_catalog;
pub mod readers;
pub mod resolve;
pub mod version;
pub mod warehouse;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use maru_connect::{Connector, OpenContext, OpenedStore, Source};
use maru_core::{Error, ErrorKind, Options, Result, Secret, did_you_mean};
use parking_lot::RwLock;
use url::Url;

pub use attached::Attached;
pub(crate) use attached::{believing, doubting};
pub(crate) use pg_catalog::function_oid;
use warehouse::Warehouse;

use crate::access::{Object, Privilege, Rights};
use crate::registry;
use crate::store::{Store, StoredCatalog};

/// The name of the built-in catalog.
pub const BUILTIN: &str = "maru";

/// Options that every catalog takes besides its connector's own.
const SECRET_OPTION: &str = "secret";

/// All catalogs of the engine.
#[derive(Debug)]
pub struct Catalogs {
    store: Store,
    warehouse: Warehouse,
    attached: RwLock<BTreeMap<String, Arc<Attached>>>,
    /// Those of single users, by user and name.
    own: RwLock<BTreeMap<(String, String), own::Own>>,
    n_attached: AtomicU64,
}

impl Catalogs {
    /// Returns the directory with the tables of the built-in catalog.
    pub(crate) fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// Attaches the built-in catalog and every stored one. A stored catalog that cannot be opened stays attached with
    /// its error, so that one broken source does not keep the engine from starting.
    pub async fn open(store: Store, data_dir: &Path) -> Result<Arc<Self>> {
        let warehouse = Warehouse::new(data_dir, store.clone());
        warehouse.collect().await?;
        let catalogs = Arc::new_cyclic(|this: &std::sync::Weak<Self>| {
            let source = Arc::new(builtin::BuiltinSource::new(
                store.clone(),
                this.clone(),
                warehouse.clone(),
            ));
            let builtin = Attached::builtin(source);
            Self {
                store,
                warehouse,
                attached: RwLock::new(BTreeMap::from([(BUILTIN.to_owned(), Arc::new(builtin))])),
                own: RwLock::new(BTreeMap::new()),
                n_attached: AtomicU64::new(0),
            }
        });
        own::sweep_now_and_then(&catalogs);
        for stored in catalogs.store.catalogs().await? {
            let attached = match catalogs.open_source(&stored).await {
                Ok((connector, source, instance)) => {
                    Attached::new(&stored, connector.spec(), instance, Ok(source))
                }
                Err(error) => {
                    tracing::warn!(catalog = %stored.name, error = %error, "could not open catalog");
                    let connector = registry::require_connector(&stored.connector)?;
                    Attached::new(&stored, connector.spec(), String::new(), Err(error))
                }
            };
            catalogs.attached.write().insert(stored.name.clone(), Arc::new(attached));
        }
        Ok(catalogs)
    }

    /// Returns the catalogs that are there for all, by name.
    pub fn all(&self) -> Vec<Arc<Attached>> {
        self.attached.read().values().cloned().collect()
    }

    pub fn get(&self, name: &str) -> Option<Arc<Attached>> {
        self.attached.read().get(name).cloned()
    }

    /// # Errors
    /// 3D000 with the nearest name.
    pub fn require(&self, name: &str, rights: &Rights) -> Result<Arc<Attached>> {
        let shows = |name: &str| rights.sees(&Object::catalog(name));
        let found = self.get(name).filter(|_| shows(name));
        found.or_else(|| self.own(name, rights)).ok_or_else(|| {
            let all = self.shown_to(rights);
            let error = Error::new(
                ErrorKind::UndefinedCatalog,
                format!("catalog \"{name}\" does not exist"),
            );
            if let Some(template) = rights.rules().templates.get(name).filter(|_| shows(name)) {
                return error.with_hint(format!(
                    "It is a template: members of role \"{}\" find the catalog there.",
                    template.role
                ));
            }
            match did_you_mean(name, all.iter().map(|attached| attached.name.as_str())) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("Run SHOW CATALOGS to list them."),
            }
        })
    }

    /// Opens and checks a source, then keeps and attaches it, in the place of `replaced` if given. Returns what the
    /// source said of itself.
    ///
    /// # Errors
    /// Whatever is wrong with options or source; nothing has changed then.
    pub async fn put(&self, stored: StoredCatalog, replaced: Option<&str>) -> Result<String> {
        let (connector, source, instance) = self.open_source(&stored).await?;
        let said = match source.check().await {
            Ok(said) => said,
            Err(error) => {
                source.close().await;
                return Err(error.with_context("catalog", stored.name.clone()));
            }
        };
        match replaced {
            Some(old) if old != stored.name => self.store.rename_catalog(old, &stored).await?,
            _ => self.store.put_catalog(&stored).await?,
        }
        let attached = Arc::new(Attached::new(&stored, connector.spec(), instance, Ok(source)));
        let gone = {
            let mut map = self.attached.write();
            let gone = replaced.and_then(|old| map.remove(old));
            map.insert(stored.name.clone(), attached).or(gone)
        };
        if let Some(gone) = gone {
            gone.close().await;
        }
        Ok(said)
    }

    /// Detaches a catalog, forgets it, and waits until its connections are closed.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.store.delete_catalog(name).await?;
        let gone = self.attached.write().remove(name);
        if let Some(gone) = gone {
            gone.close().await;
        }
        Ok(())
    }

    /// Returns the stored form of a catalog, to be altered.
    pub async fn stored(&self, name: &str) -> Result<Option<StoredCatalog>> {
        Ok(self.store.catalogs().await?.into_iter().find(|catalog| catalog.name == name))
    }

    /// Finds the catalog that serves `url`, by name order; a local path is served without one.
    ///
    /// # Errors
    /// 42704 if no attached catalog covers it.
    pub async fn store_for(&self, url: &Url) -> Result<OpenedStore> {
        self.store_of(url, |_| true).await
    }

    /// Finds the store as [`Catalogs::store_for`] does, among the catalogs that `may_read` names and, if it may read
    /// the server's files, the local disk.
    ///
    /// # Errors
    /// 42704 if no such catalog covers it; 42501 for a local path.
    pub async fn store_for_reader(&self, url: &Url, rights: &Rights) -> Result<OpenedStore> {
        let may = |name: &str| rights.may(Privilege::Select, &Object::catalog(name));
        for own in self.own_of(rights).into_iter().filter(|own| may(&own.name)) {
            if let Ok(source) = own.opened().await
                && let Some(store) = source.store_for(url)
            {
                return Ok(store);
            }
        }
        if url.scheme() == "file" && !rights.has_role("pg_read_server_files") {
            let covered = self.all().into_iter().any(|attached| {
                may(&attached.name)
                    && attached.source().is_ok_and(|source| source.store_for(url).is_some())
            });
            if !covered {
                return Err(Error::new(
                    ErrorKind::NotAllowed,
                    format!("permission denied for file \"{}\"", url.path()),
                )
                .with_hint("Members of role pg_read_server_files read files of the server."));
            }
        }
        self.store_of(url, may).await
    }

    /// Finds the store that a role may write a file to.
    ///
    /// # Errors
    /// 42704 if no such catalog covers it; 42501 for a local path.
    pub async fn store_for_writer(&self, url: &Url, rights: &Rights) -> Result<OpenedStore> {
        if url.scheme() == "file" && !rights.has_role("pg_write_server_files") {
            return Err(Error::new(
                ErrorKind::NotAllowed,
                format!("permission denied for file \"{}\"", url.path()),
            )
            .with_hint(
                "A superuser writes files of the server; others name a store of a catalog.",
            ));
        }
        let may = |name: &str| rights.may(Privilege::Insert, &Object::catalog(name));
        self.store_of(url, may).await
    }

    async fn store_of(&self, url: &Url, may_read: impl Fn(&str) -> bool) -> Result<OpenedStore> {
        for attached in self.all() {
            if may_read(&attached.name)
                && let Ok(source) = attached.source()
                && let Some(store) = source.store_for(url)
            {
                return Ok(store);
            }
        }
        if url.scheme() == "file" {
            use maru_connect::StoreOpener;
            return maru_files::Stores.open_store(BUILTIN, url, &Options::default()).await;
        }
        Err(Error::new(ErrorKind::UndefinedObject, format!("no attached catalog serves \"{url}\""))
            .with_hint(format!(
                "Create one first: CREATE CATALOG name USING {} WITH (…).",
                url.scheme()
            )))
    }

    /// Closes all sources.
    pub async fn close(&self) {
        let mut all = self.every();
        self.attached.write().clear();
        self.own.write().clear();
        futures::future::join_all(all.iter_mut().map(|attached| attached.close())).await;
    }

    async fn open_source(
        &self,
        stored: &StoredCatalog,
    ) -> Result<(&'static dyn Connector, Arc<dyn Source>, String)> {
        let connector = registry::require_connector(&stored.connector)?;
        let instance = self.new_instance();
        let source = Self::open_one(&self.store, stored, connector, instance.clone()).await?;
        Ok((connector, source, instance))
    }

    fn new_instance(&self) -> String {
        format!("c{}", self.n_attached.fetch_add(1, Ordering::Relaxed))
    }

    async fn open_one(
        store: &Store,
        stored: &StoredCatalog,
        connector: &'static dyn Connector,
        instance: String,
    ) -> Result<Arc<dyn Source>> {
        let options = Self::merged_options(store, stored, connector).await?;
        connector
            .open(OpenContext {
                catalog: stored.name.clone(),
                instance,
                options,
                stores: Arc::new(maru_files::Stores),
            })
            .await
    }

    /// Checks the options with those of the secret they name merged in; what the catalog itself says wins.
    async fn merged_options(
        store: &Store,
        stored: &StoredCatalog,
        connector: &'static dyn Connector,
    ) -> Result<Options> {
        let spec = connector.spec();
        let mut merged = BTreeMap::<String, Secret>::new();
        if let Some(name) = stored.options.get(SECRET_OPTION) {
            let name = name.reveal();
            let secret = store.secret(name).await?.ok_or_else(|| {
                Error::new(ErrorKind::UndefinedObject, format!("secret \"{name}\" does not exist"))
                    .with_hint("CREATE SECRET makes one, SHOW SECRETS lists them.")
            })?;
            merged.extend(secret.options);
        }
        let own = stored.options.iter().filter(|(key, _)| *key != SECRET_OPTION);
        merged.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        Options::check(
            &format!("connector \"{}\"", spec.name),
            spec.options,
            merged.iter().map(|(key, value)| (key.as_str(), value.reveal())),
        )
    }
}
