//! `SHOW CREATE VIEW`: the text that makes a view again.

use std::sync::Arc;

use maru_connect::SourceTable;
use maru_core::{Error, ErrorKind, Result, quote_ident, quote_literal};
use maru_sql::Name;

use super::{default_schema, locate_relation};
use crate::access::Object;
use crate::catalog::BUILTIN;
use crate::catalog::definition::Definition;
use crate::session::{Session, is_temporary_schema};

/// Returns the query that `SHOW CREATE VIEW` is. Where the view looks its names up is told in a remark if the session would look elsewhere.
///
/// # Errors
/// 42P01, 42809 for what is no view, 42501 for a view of somebody else, 0A000 for one that is written in another system's SQL.
pub(crate) async fn show_create_view(session: &Arc<Session>, name: &Name) -> Result<String> {
    let place = locate_relation(session, name).await?;
    let attached = session.require_catalog(&place.catalog)?;
    let sql = match attached.table(&place.schema, &place.name).await? {
        Some(SourceTable::View { sql, .. }) if place.catalog == BUILTIN => sql,
        Some(SourceTable::View { .. } | SourceTable::ForeignView(_)) => {
            return Err(Error::unsupported(format!("view \"{name}\" is kept by another system"))
                .with_hint("Ask that system for its text."));
        }
        _ => {
            return Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("\"{name}\" is not a view"),
            )
            .with_hint("DESCRIBE tells the columns of a table."));
        }
    };
    session.rights().require_owner(&Object::table(&place.catalog, &place.schema, &place.name))?;
    let Definition::View(view) = Definition::decode(&sql)? else {
        return Err(Error::internal("a view is not a view"));
    };
    let here = view.catalog == session.catalog() && view.search_path == default_schema(session);
    let remark = match here {
        true => String::new(),
        // A remark ends with its line.
        false => format!(
            "-- Names are looked up in catalog {} by search_path = {}.\n",
            view.catalog.replace(['\n', '\r'], " "),
            view.search_path.replace(['\n', '\r'], " ")
        ),
    };
    let made = match is_temporary_schema(&place.schema) {
        true => format!("CREATE TEMP VIEW {}", quote_ident(&place.name)),
        false => {
            let parts = [BUILTIN, &place.schema, &place.name].map(quote_ident);
            format!("CREATE VIEW {}", parts.join("."))
        }
    };
    let text = format!("{remark}{made} AS\n{}", view.sql);
    Ok(format!("SELECT {} AS \"Create View\"", quote_literal(&text)))
}
