//! `CREATE SECRET`.

use std::collections::BTreeMap;
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::CreateSecret;

use super::catalog::merge;
use super::relation::created;
use crate::access::Object;
use crate::output::Output;
use crate::session::Session;
use crate::store::StoredSecret;

pub(super) async fn create(session: &Arc<Session>, create: &CreateSecret) -> Result<Output> {
    let store = &session.engine().inner.store;
    let rights = session.rights();
    rights.require_create_catalog()?;
    let object = Object::secret(&create.name);
    // That it is there and whose it is change together.
    let _held = session.engine().inner.owning.lock().await;
    let existing = store.secret(&create.name).await?;
    if existing.is_some() && create.if_not_exists {
        return Ok(Output::command("CREATE SECRET")
            .with_notice(format!("secret \"{}\" already exists, skipping", create.name)));
    }
    if existing.is_some() && !create.or_replace {
        return Err(Error::new(
            ErrorKind::DuplicateObject,
            format!("secret \"{}\" already exists", create.name),
        )
        .with_hint("Use CREATE OR REPLACE SECRET to give it new values."));
    }
    match existing {
        Some(_) => session.rights().require_owner(&object)?,
        None => created(session, object).await?,
    }
    let secret = StoredSecret {
        name: create.name.clone(),
        options: merge(BTreeMap::new(), &create.options)?,
        comment: existing.and_then(|secret| secret.comment),
    };
    store.put_secret(&secret).await?;
    let mut output = Output::command("CREATE SECRET");
    if create.or_replace {
        session.catalogs().forget_own_with(&create.name);
        // A catalog holds what it was opened with until it is opened again.
        for user in catalogs_with(session, &create.name).await? {
            output = output.with_notice(format!(
                "catalog \"{user}\" keeps the old values until ALTER CATALOG {user} SET (secret = '{}')",
                create.name
            ));
        }
    }
    Ok(output)
}

/// Returns the catalogs that name a secret.
pub(super) async fn catalogs_with(session: &Arc<Session>, secret: &str) -> Result<Vec<String>> {
    let stored = session.engine().inner.store.catalogs().await?.into_iter();
    Ok(stored
        .filter(|catalog| catalog.options.get("secret").is_some_and(|name| name.reveal() == secret))
        .map(|catalog| catalog.name)
        .collect())
}
