//! `CREATE INDEX` and `DROP INDEX`: they check what they name and do nothing, for no answer depends on an index.

use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result};
use maru_sql::{CreateIndex, DropIndex};

use crate::output::Output;
use crate::session::{Session, find_target};

pub(super) async fn create(session: &Arc<Session>, create: &CreateIndex) -> Result<Output> {
    let target = find_target(session, &create.table, "create an index on").await?;
    session.rights().require_owner(&target.object())?;
    let columns = target.columns();
    if let Some(name) = create.columns.iter().find(|name| columns.index_of(name).is_err()) {
        return Err(Error::new(
            ErrorKind::UndefinedColumn,
            format!("column \"{name}\" of relation \"{}\" does not exist", target.name),
        ));
    }
    Ok(Output::command("CREATE INDEX")
        .with_warning("Maru keeps no indexes; the statement has no effect"))
}

pub(super) fn drop(drop: &DropIndex) -> Result<Output> {
    let mut output = Output::command("DROP INDEX");
    for name in &drop.names {
        let message = format!("index \"{name}\" does not exist");
        if !drop.if_exists {
            return Err(Error::new(ErrorKind::UndefinedObject, message)
                .with_hint("Maru keeps no indexes; DROP INDEX IF EXISTS says so in a notice."));
        }
        output = output.with_notice(format!("{message}, skipping"));
    }
    Ok(output)
}
