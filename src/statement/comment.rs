//! `COMMENT ON`.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, QualifiedName, Result};
use maru_sql::{CommentOn, CommentTarget, Name, ObjectKind};

use super::{locate_relation, too_many_parts};
use crate::access::Object;
use crate::output::Output;
use crate::session::Session;

pub(super) async fn execute(session: &Arc<Session>, comment: &CommentOn) -> Result<Output> {
    let text = comment.comment.as_deref();
    match &comment.target {
        CommentTarget::Object(ObjectKind::Catalog, name) => on_catalog(session, name, text).await?,
        CommentTarget::Object(ObjectKind::CatalogTemplate, name) => {
            super::template::comment(session, name, text).await?;
        }
        CommentTarget::Object(ObjectKind::ResourceGroup, name) => {
            super::group::comment(session, name, text).await?;
        }
        CommentTarget::Object(ObjectKind::Secret, name) => on_secret(session, name, text).await?,
        CommentTarget::Object(ObjectKind::Schema, name) => {
            let (catalog, schema) = match name.0.as_slice() {
                [schema] => (session.catalog(), schema),
                [catalog, schema] => (catalog.clone(), schema),
                _ => return Err(too_many_parts(name)),
            };
            let object = Object::schema(&catalog, schema);
            let rights = session.rights();
            let schemas = session.require_catalog(&catalog)?.schemas().await?;
            if !schemas.contains(schema) || !rights.sees(&object) {
                return Err(Error::new(
                    ErrorKind::UndefinedSchema,
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            rights.require_owner(&object)?;
            let store = &session.engine().inner.store;
            store.set_comment([&catalog, schema, "", ""], text).await?;
        }
        CommentTarget::Object(ObjectKind::Table | ObjectKind::View, name) => {
            let place = locate_relation(session, name).await?;
            require_owner(session, &place)?;
            let store = &session.engine().inner.store;
            store.set_comment([&place.catalog, &place.schema, &place.name, ""], text).await?;
        }
        CommentTarget::Model(name) => super::model::comment(session, name, text).await?,
        CommentTarget::Column(name, column) => {
            let place = locate_relation(session, name).await?;
            require_owner(session, &place)?;
            let attached = session.require_catalog(&place.catalog)?;
            let table = attached.table(&place.schema, &place.name).await?;
            let known = table.is_some_and(|table| table.schema().index_of(column).is_ok());
            if !known {
                return Err(Error::new(
                    ErrorKind::UndefinedColumn,
                    format!("column \"{column}\" of \"{name}\" does not exist"),
                ));
            }
            let store = &session.engine().inner.store;
            store.set_comment([&place.catalog, &place.schema, &place.name, column], text).await?;
        }
    }
    Ok(Output::command("COMMENT"))
}

fn require_owner(session: &Arc<Session>, place: &QualifiedName) -> Result<()> {
    let object = Object::table(&place.catalog, &place.schema, &place.name);
    session.rights().require_owner(&object)
}

async fn on_catalog(session: &Arc<Session>, name: &Name, text: Option<&str>) -> Result<()> {
    let [name] = name.0.as_slice() else { return Err(too_many_parts(name)) };
    let attached = session.require_catalog(name)?;
    session.rights().require_owner(&Object::catalog(name))?;
    let store = &session.engine().inner.store;
    let Some(mut stored) = session.catalogs().stored(name).await? else {
        return Err(Error::new(ErrorKind::NotAllowed, format!("catalog \"{name}\" is built in")));
    };
    stored.comment = text.map(str::to_owned);
    store.put_catalog(&stored).await?;
    *attached.comment.write() = stored.comment;
    Ok(())
}

async fn on_secret(session: &Arc<Session>, name: &Name, text: Option<&str>) -> Result<()> {
    let [name] = name.0.as_slice() else { return Err(too_many_parts(name)) };
    let store = &session.engine().inner.store;
    let object = Object::secret(name);
    let rights = session.rights();
    let Some(mut secret) = store.secret(name).await?.filter(|_| rights.sees(&object)) else {
        return Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("secret \"{name}\" does not exist"),
        ));
    };
    rights.require_owner(&object)?;
    secret.comment = text.map(str::to_owned);
    store.put_secret(&secret).await
}
