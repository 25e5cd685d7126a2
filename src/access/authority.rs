//! The rules in force, kept over restarts, and who may log in by them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maru_core::{Result, Secret};
use parking_lot::{Mutex, RwLock};

use super::kinds::{Object, Privilege};
use super::login::{LOCAL_LOGIN, SUPERUSER, Verifier, verifier_of};
use super::rules::{Fact, Grant, PREDEFINED, Role, Rules};
use crate::catalog::BUILTIN;
use crate::config::Config;
use crate::engine::history::micros;
use crate::owner::Owner;
use crate::store::{Store, random, write_private};

/// Where versions before roles kept the superuser's verifier.
const SUPERUSER_KEY: &str = "user/maru";

/// Failed logins of one user from one address that are answered at once.
const FREE_FAILURES: u32 = 3;

/// How long failures are remembered.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(60);

/// Pairs of user and address that are remembered at most; then the oldest go.
const FAILURES_MAX: usize = 10_000;

/// The longest wait before an answer to a login.
const SLOWEST: Duration = Duration::from_secs(5);

/// Roles and privileges of an engine.
#[derive(Debug)]
pub struct Authority {
    store: Store,
    rules: RwLock<Arc<Rules>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    local: Verifier,
    notice: Mutex<Option<String>>,
    failures: Mutex<HashMap<(String, String), (u32, Instant)>>,
}

impl Authority {
    /// Reads the rules; at the first start makes the superuser with a password from `initial_password`, or at random
    /// into the file `initial-password` (mode 0600).
    pub async fn open(store: &Store, config: &Config, owner: &Owner) -> Result<Self> {
        let local = verifier_of(SUPERUSER, owner.token())?;
        let rules = Rules::from_facts(&store.access_facts().await?)?;
        let authority = Self {
            store: store.clone(),
            rules: RwLock::new(Arc::new(rules)),
            changing: tokio::sync::Mutex::new(()),
            local,
            notice: Mutex::new(None),
            failures: Mutex::new(HashMap::new()),
        };
        if !authority.rules().roles.is_empty() {
            return Ok(authority);
        }
        let verifier = match store.value(SUPERUSER_KEY).await? {
            Some(stored) => Verifier::decode(SUPERUSER, &stored)?,
            None => authority.first_password(config)?,
        };
        authority.change(|rules| first_rules(rules, verifier)).await?;
        Ok(authority)
    }

    fn first_password(&self, config: &Config) -> Result<Verifier> {
        if let Some(password) = &config.initial_password {
            return verifier_of(SUPERUSER, password);
        }
        let password = Secret::new(URL_SAFE_NO_PAD.encode(random(18)?));
        let path = config.data_dir.join("initial-password");
        write_private(&path, format!("{}\n", password.reveal()).as_bytes())?;
        *self.notice.lock() = Some(format!(
            "Password of user {SUPERUSER}: {} (also in {})",
            password.reveal(),
            path.display()
        ));
        verifier_of(SUPERUSER, &password)
    }

    /// Returns the rules in force now.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Changes the rules in one step: all of it is kept and in force, or nothing.
    pub async fn change<T>(&self, change: impl FnOnce(&mut Rules) -> Result<T>) -> Result<T> {
        let _one = self.changing.lock().await;
        let old = self.rules();
        let mut new = Rules::clone(&old);
        let done = change(&mut new)?;
        self.store.write_access_facts(&old.facts()?, &new.facts()?).await?;
        *self.rules.write() = Arc::new(new);
        Ok(done)
    }

    /// Puts one fact back to what it was.
    pub(crate) async fn put_back(&self, key: (String, String), fact: Option<Fact>) -> Result<()> {
        self.change(|rules| {
            let mut facts = rules.facts()?;
            match fact {
                Some(fact) => facts.insert(key, fact),
                None => facts.remove(&key),
            };
            *rules = Rules::from_facts(&facts)?;
            Ok(())
        })
        .await
    }

    /// Returns what is needed to check a login. `Verifier::user` is the user the session will have.
    pub fn verifier(&self, login: &str) -> Option<Verifier> {
        match login {
            LOCAL_LOGIN => Some(self.local.clone()),
            _ => self.rules().verifier(login, micros(SystemTime::now())),
        }
    }

    /// Returns the remark on the first password, once.
    pub fn initial_password_notice(&self) -> Option<String> {
        self.notice.lock().take()
    }

    /// Returns how long a login has to wait for its answer, after failures of the same user from the same address.
    pub fn login_delay(&self, user: &str, address: &str) -> Duration {
        let failures = self.failures.lock();
        let Some((n, at)) = failures.get(&(user.to_owned(), host(address))) else {
            return Duration::ZERO;
        };
        if at.elapsed() > FAILURES_FORGOTTEN || *n < FREE_FAILURES {
            return Duration::ZERO;
        }
        let doubled = 1_u32.checked_shl((n - FREE_FAILURES).min(10)).unwrap_or(u32::MAX);
        Duration::from_millis(250).saturating_mul(doubled).min(SLOWEST)
    }

    /// Notes how a login ended.
    pub fn login_ended(&self, user: &str, address: &str, is_good: bool) {
        let key = (user.to_owned(), host(address));
        let mut failures = self.failures.lock();
        if is_good {
            failures.remove(&key);
            return;
        }
        if failures.len() >= FAILURES_MAX {
            failures.retain(|_, (_, at)| at.elapsed() <= FAILURES_FORGOTTEN);
            if failures.len() >= FAILURES_MAX {
                failures.clear();
            }
        }
        let entry = failures.entry(key).or_insert((0, Instant::now()));
        if entry.1.elapsed() > FAILURES_FORGOTTEN {
            entry.0 = 0;
        }
        *entry = (entry.0.saturating_add(1), Instant::now());
    }
}

/// An address without its port, which is another one each time.
fn host(address: &str) -> String {
    address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned()
}

/// What a new engine begins with: the superuser, the predefined roles, and the built-in catalog open to look into.
fn first_rules(rules: &mut Rules, verifier: Verifier) -> Result<()> {
    let superuser = Role {
        superuser: true,
        login: true,
        create_role: true,
        create_catalog: true,
        bypass_rls: true,
        verifier: Some(verifier),
        ..Role::default()
    };
    rules.roles.insert(SUPERUSER.to_owned(), superuser);
    for (name, doc) in PREDEFINED {
        let role = Role { comment: Some((*doc).to_owned()), ..Role::default() };
        rules.roles.insert((*name).to_owned(), role);
    }
    for object in [Object::catalog(BUILTIN), Object::schema(BUILTIN, "public")] {
        let privilege = Privilege::Usage;
        let grantor = SUPERUSER.to_owned();
        let grant = Grant { object, column: None, privilege, grantee: None, grantor };
        rules.grants.insert(grant, false);
    }
    Ok(())
}
