//! The list of what is compiled in. Adding a connector is one folder and one line here.

use maru_connect::Connector;
use maru_core::{Error, ErrorKind, Result, did_you_mean};

/// Every connector, in the order of the reference.
pub fn connectors() -> impl Iterator<Item = &'static dyn Connector> {
    [maru_files::CONNECTORS, maru_hive::CONNECTORS, maru_rdbms::CONNECTORS, maru_memory::CONNECTORS]
        .into_iter()
        .flatten()
        .copied()
}

/// Returns the connector of that name.
///
/// # Errors
/// 42704 with the names there are.
pub fn require_connector(name: &str) -> Result<&'static dyn Connector> {
    connectors().find(|connector| connector.spec().name == name).ok_or_else(|| {
        let names = connectors().map(|connector| connector.spec().name).collect::<Vec<_>>();
        let error =
            Error::new(ErrorKind::UndefinedObject, format!("connector \"{name}\" does not exist"))
                .with_detail(format!("Connectors: {}.", names.join(", ")));
        match did_you_mean(name, names.iter().copied()) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint("Run SHOW CONNECTORS to see what each of them is for."),
        }
    })
}
