//! Catalogs that users find made for them: one for each template and each member of its role.
//!
//! They are made when they are named, opened when they are used, made anew when the template or an attribute has changed, and
//! let go when nobody has used them for a while. Nothing of them is stored: template and attributes are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use maru_core::{Error, ErrorKind, Result, Secret, limits};

use super::attached::Opener;
use super::{Attached, Catalogs, SECRET_OPTION};
use crate::access::{Object, Privilege, Rights, Rules, Template};
use crate::registry;
use crate::store::StoredCatalog;

/// One user's catalog.
#[derive(Debug)]
pub(super) struct Own {
    attached: Arc<Attached>,
    connector: String,
    /// What it was made of, or why it could not be.
    options: Result<BTreeMap<String, Secret>, String>,
    used: Instant,
    used_at: SystemTime,
    looked: Option<Instant>,
}

/// How one user's catalog stands.
#[derive(Debug)]
pub struct OwnState {
    pub template: String,
    pub user: String,
    pub state: String,
    pub used_at: Option<SystemTime>,
}

impl Catalogs {
    /// Returns the catalogs that show, those of the user among them, by name.
    pub fn shown_to(&self, rights: &Rights) -> Vec<Arc<Attached>> {
        let mut all = self.all();
        all.retain(|attached| rights.sees(&Object::catalog(&attached.name)));
        all.extend(self.own_of(rights));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Returns all catalogs, those of all users among them.
    pub fn every(&self) -> Vec<Arc<Attached>> {
        let mut all = self.all();
        all.extend(self.own.read().values().map(|own| Arc::clone(&own.attached)));
        all
    }

    /// Returns the catalogs that the user has from templates.
    pub(super) fn own_of(&self, rights: &Rights) -> Vec<Arc<Attached>> {
        rights.rules().templates.keys().filter_map(|name| self.own(name, rights)).collect()
    }

    /// Returns the catalog of this name that the user has from a template, if it shows.
    pub(super) fn own(&self, name: &str, rights: &Rights) -> Option<Arc<Attached>> {
        let template = rights.rules().template_for(rights.user(), name)?;
        if !rights.sees(&Object::catalog(name)) {
            return None;
        }
        let options = filled(template, name, rights.rules(), rights.user());
        let kept = options.clone().map_err(|error| error.to_string());
        let key = (rights.user().to_owned(), name.to_owned());
        let mut all = self.own.write();
        if let Some(own) = all.get_mut(&key)
            && own.options == kept
            && own.connector == template.connector
        {
            (own.used, own.used_at) = (Instant::now(), SystemTime::now());
            return Some(Arc::clone(&own.attached));
        }
        let attached = self.made(name, template, options)?;
        let own = Own {
            attached: Arc::clone(&attached),
            connector: template.connector.clone(),
            options: kept,
            used: Instant::now(),
            used_at: SystemTime::now(),
            looked: None,
        };
        // What was there before closes its connections when the last statement that reads from it has ended.
        all.insert(key, own);
        Some(attached)
    }

    fn made(
        &self,
        name: &str,
        template: &Template,
        options: Result<BTreeMap<String, Secret>>,
    ) -> Option<Arc<Attached>> {
        let connector = registry::require_connector(&template.connector).ok()?;
        let mut stored = StoredCatalog {
            name: name.to_owned(),
            connector: template.connector.clone(),
            options: BTreeMap::new(),
            comment: template.comment.clone(),
        };
        Some(Arc::new(match options {
            Err(error) => Attached::new(&stored, connector.spec(), String::new(), Err(error)),
            Ok(options) => {
                stored.options = options;
                let instance = self.new_instance();
                let (store, to_open, id) = (self.store.clone(), stored.clone(), instance.clone());
                let open = move || -> futures::future::BoxFuture<'static, _> {
                    let (store, stored, id) = (store.clone(), to_open.clone(), id.clone());
                    Box::pin(async move { Self::open_one(&store, &stored, connector, id).await })
                };
                Attached::later(&stored, connector.spec(), instance, Opener(Arc::new(open)))
            }
        }))
    }

    /// Asks, beside whatever else happens, whether the sources of a user's own catalogs are there, and returns what is
    /// already known to be wrong with them.
    pub fn look_at_own(&self, rights: &Rights) -> Vec<String> {
        let all = self.own_of(rights);
        let mut known = Vec::new();
        for attached in all {
            let key = (rights.user().to_owned(), attached.name.clone());
            let mut owns = self.own.write();
            let Some(own) = owns.get_mut(&key) else { continue };
            if let Err(error) = &own.options {
                known.push(format!("catalog \"{}\" cannot be used: {error}", attached.name));
                continue;
            }
            let recent = Duration::from_secs(limits::OWN_CATALOG_LOOK_S);
            if own.looked.is_none_or(|at| at.elapsed() > recent) {
                own.looked = Some(Instant::now());
                tokio::spawn(async move { attached.look().await });
            }
        }
        known
    }

    /// Returns how the catalogs stand that users have from templates, of those users that `may_see` names.
    pub fn own_states(&self, rules: &Arc<Rules>, may_see: impl Fn(&str) -> bool) -> Vec<OwnState> {
        let mut states = Vec::new();
        let own = self.own.read();
        for (name, template) in &rules.templates {
            let users = rules.roles.iter().filter(|(_, role)| role.login).map(|(user, _)| user);
            for user in users.filter(|user| may_see(user)) {
                if !rules.memberships(user).contains(&template.role) {
                    continue;
                }
                let known = own.get(&(user.clone(), name.clone()));
                let state = match (filled(template, name, rules, user), known) {
                    (Err(error), _) => format!("failed: {error}"),
                    (Ok(options), Some(known)) if known.options.as_ref() == Ok(&options) => {
                        known.attached.state()
                    }
                    (Ok(_), _) => "not used yet".to_owned(),
                };
                states.push(OwnState {
                    template: name.clone(),
                    user: user.clone(),
                    state,
                    used_at: known.map(|known| known.used_at),
                });
            }
        }
        states
    }

    /// Lets go of users' catalogs that were opened with a secret, which has other values now.
    pub fn forget_own_with(&self, secret: &str) {
        let uses = |own: &Own| {
            let options = own.options.as_ref().ok();
            let named = options.and_then(|options| options.get(SECRET_OPTION));
            named.is_some_and(|named| named.reveal() == secret)
        };
        self.own.write().retain(|_, own| !uses(own));
    }

    /// Lets go of users' catalogs that have not been used for a time. What still reads from one reads on.
    pub(super) fn sweep(&self, idle: Duration) {
        self.own.write().retain(|_, own| own.used.elapsed() < idle);
    }
}

/// Sweeps as long as the catalogs are there.
pub(super) fn sweep_now_and_then(catalogs: &Arc<Catalogs>) {
    let idle = Duration::from_secs(limits::OWN_CATALOG_IDLE_S);
    let catalogs = Arc::downgrade(catalogs);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(idle / 10).await;
            let Some(catalogs) = catalogs.upgrade() else { return };
            catalogs.sweep(idle);
        }
    });
}

/// Returns a user's options, after the right to the secret that they name.
///
/// # Errors
/// Those of [`Template::fill`]; 42704 for a secret that must not be used: by the template's owner, or by the user where it is
/// the user's attributes that choose it.
fn filled(
    template: &Template,
    name: &str,
    rules: &Arc<Rules>,
    user: &str,
) -> Result<BTreeMap<String, Secret>> {
    let options = template.fill(name, rules, user)?;
    if let (Some(written), Some(secret)) =
        (template.options.get(SECRET_OPTION), options.get(SECRET_OPTION))
    {
        let chosen = !Template::attributes_of(written.reveal())?.is_empty();
        let user = if chosen { user } else { rules.owner(&Object::catalog(name)) };
        let secret = secret.reveal();
        let rights = Rights::new(Arc::clone(rules), user);
        if !rights.may(Privilege::Usage, &Object::secret(secret)) {
            return Err(Error::new(
                ErrorKind::UndefinedObject,
                format!("secret \"{secret}\" does not exist"),
            )
            .with_hint(format!(
                "Where an attribute chooses the secret its user needs it: GRANT USAGE ON SECRET {} TO {}.",
                maru_core::quote_ident(secret),
                maru_core::quote_ident(user)
            )));
        }
    }
    Ok(options)
}
