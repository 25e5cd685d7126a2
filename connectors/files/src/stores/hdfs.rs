//! HDFS over its own protocol.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use hdfs_native::{Client, ClientBuilder, HdfsError};
use hdfs_native_object_store::HdfsObjectStore;
use maru_connect::Directories;
use maru_core::limits::CONNECT_TIMEOUT_S;
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::gate::{Gate, Threads};
use crate::options::{CONFIG_DIR, NAMENODES, USER};

/// A cluster and the store over it.
#[derive(Debug, Clone)]
pub(crate) struct Hdfs {
    client: Client,
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl Hdfs {
    pub(crate) fn directories(&self) -> HdfsDirectories {
        HdfsDirectories(self.client.clone())
    }
}

/// The NameNode keeps when something was made, removed or renamed in a directory, and tells it of a thousand at once.
#[derive(Debug)]
pub(crate) struct HdfsDirectories(Client);

impl Directories for HdfsDirectories {
    fn marks<'a>(&'a self, parent: &'a Path) -> BoxFuture<'a, Result<HashMap<Path, u64>>> {
        async move {
            let listed = self.0.list_status(&format!("/{parent}"), false).await;
            let listed = listed.map_err(|error| {
                let path = parent.to_string();
                Error::new(ErrorKind::RemoteFailed, first_line(&error.to_string()))
                    .with_context("directory", path)
            })?;
            let directories = listed.into_iter().filter(|status| status.isdir);
            let marks = directories.filter_map(|status| {
                let path = Path::parse(status.path.trim_start_matches('/')).ok()?;
                Some((path, status.modification_time))
            });
            Ok(marks.collect())
        }
        .boxed()
    }
}

/// Opens a cluster. No connection is made yet.
///
/// # Errors
/// HV024 if options do not go together, 0A000 for a user other than that of the process.
pub(crate) fn open(url: &Url, options: &Options) -> Result<Hdfs> {
    check_user(options)?;
    let mut config: Vec<(String, String)> = Vec::new();
    if let Some(namenodes) = options.text(NAMENODES.name) {
        let service = url.host_str().unwrap_or_default();
        let mut names = Vec::new();
        for (index, address) in namenodes.split(',').map(str::trim).enumerate() {
            if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!("invalid value \"{namenodes}\" for option \"{}\"", NAMENODES.name),
                )
                .with_hint("Give host:port of each NameNode, separated by commas."));
            }
            let name = format!("nn{index}");
            config.push((format!("dfs.namenode.rpc-address.{service}.{name}"), address.to_owned()));
            names.push(name);
        }
        config.push((format!("dfs.ha.namenodes.{service}"), names.join(",")));
    }
    let mut root = url.clone();
    root.set_path("/");
    let mut builder = ClientBuilder::new().with_url(root.as_str()).with_config(config);
    if let Some(directory) = options.text(CONFIG_DIR.name) {
        if !std::path::Path::new(directory).is_dir() {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("option \"{}\": no such directory: \"{directory}\"", CONFIG_DIR.name),
            ));
        }
        builder = builder.with_config_dir(directory);
    }
    // The task that listens to the NameNode ends only when the NameNode hangs up, long after the client has gone.
    let (threads, handle) = Threads::start("maru-hdfs").map_err(|error| {
        Error::new(ErrorKind::Io, "could not start the threads of an HDFS client").with_cause(error)
    })?;
    builder = builder.with_io_runtime(handle);
    let client = builder.build().map_err(|error| {
        Error::new(
            ErrorKind::InvalidOption,
            format!("\"{url}\" cannot be opened: {}", first_line(&error.to_string())),
        )
        .with_hint("A name without a port is a nameservice: give config_dir or namenodes.")
    })?;
    let inner: Arc<dyn ObjectStore> = Arc::new(HdfsObjectStore::new(client.clone()));
    let gate = Gate::with_threads(inner, Some(threads), rewrite);
    let store = Arc::clone(&gate) as Arc<dyn ObjectStore>;
    Ok(Hdfs { client, gate, store })
}

/// The protocol library takes the user from the process, so another one cannot be had by option.
fn check_user(options: &Options) -> Result<()> {
    let Some(user) = options.text(USER.name) else { return Ok(()) };
    let name = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let process = name("HADOOP_USER_NAME").or_else(|| name("USER")).or_else(|| name("LOGNAME"));
    if process.as_deref() == Some(user) {
        return Ok(());
    }
    let own = process.as_deref().unwrap_or("unknown");
    Err(Error::unsupported(format!(
        "HDFS user \"{user}\" differs from that of the process, \"{own}\""
    ))
    .with_detail("The user for HDFS is one for the whole process.")
    .with_hint(format!("Start Maru with HADOOP_USER_NAME={user}, or leave option user out.")))
}

/// Asks the NameNode for the directory and says what is wrong.
///
/// # Errors
/// HV00N if no NameNode answers, HV00L if it refuses the user, HV024 for a path that is not there.
pub(crate) async fn check(hdfs: &Hdfs, url: &Url, path: &Path) -> Result<()> {
    let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
    let absolute = format!("/{path}");
    let info = tokio::time::timeout(limit, hdfs.client.get_file_info(&absolute)).await;
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let unreachable = |what: String| {
        Error::new(ErrorKind::RemoteUnavailable, what)
            .with_hint("Check host and port of option url: it is the NameNode's RPC port.")
    };
    match info {
        Err(_) => Err(unreachable(format!(
            "NameNode \"{host}\" does not answer within {CONNECT_TIMEOUT_S} s"
        ))),
        Ok(Ok(status)) if status.isdir => Ok(()),
        Ok(Ok(_)) => Err(Error::new(
            ErrorKind::InvalidOption,
            format!("not a directory: \"{absolute}\" on HDFS"),
        )
        .with_hint("Give the directory that holds the file.")),
        Ok(Err(error)) => {
            let text = error.to_string();
            if is_missing(&error, &text) {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!("no such directory: \"{absolute}\" on HDFS"),
                ));
            }
            let line = first_line(&text);
            if text.contains("AccessControlException") || text.contains("Permission denied") {
                return Err(Error::new(
                    ErrorKind::RemoteAuthentication,
                    format!("HDFS refuses \"{absolute}\": {line}"),
                )
                .with_hint("The user comes from HADOOP_USER_NAME, else from the system."));
            }
            if matches!(
                error,
                HdfsError::SASLError(_) | HdfsError::NoSASLMechanism | HdfsError::GSSAPIError(..)
            ) {
                return Err(Error::new(
                    ErrorKind::RemoteAuthentication,
                    format!("HDFS refuses to authenticate: {line}"),
                )
                .with_hint("A cluster with Kerberos needs a ticket (kinit) for the process."));
            }
            Err(unreachable(format!("NameNode \"{host}\" cannot be reached: {line}")))
        }
    }
}

fn is_missing(error: &HdfsError, text: &str) -> bool {
    matches!(error, HdfsError::FileNotFound(_)) || text.contains("FileNotFoundException")
}

/// Cuts the stack trace off a NameNode's error and gives it its kind.
fn rewrite(error: object_store::Error) -> object_store::Error {
    use object_store::Error as Store;
    match error {
        Store::NotFound { path, source } => {
            Store::NotFound { path, source: first_line(&source.to_string()).into() }
        }
        Store::AlreadyExists { path, source } => {
            Store::AlreadyExists { path, source: first_line(&source.to_string()).into() }
        }
        Store::Generic { store: _, source } => {
            let text = source.to_string();
            let line = first_line(&text);
            let path = quoted_path(&line);
            let source = line.into();
            if text.contains("FileNotFoundException") {
                Store::NotFound { path, source }
            } else if text.contains("AccessControlException") {
                Store::PermissionDenied { path, source }
            } else {
                Store::Generic { store: "HDFS", source }
            }
        }
        other => other,
    }
}

/// Returns the first absolute path that a message holds.
fn quoted_path(line: &str) -> String {
    line.split([' ', '"', ':', ','])
        .find(|word| word.starts_with('/') && word.len() > 1)
        .unwrap_or_default()
        .trim_start_matches('/')
        .to_owned()
}

/// Returns the first line without the Java class in front of it.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("RPC error: ").unwrap_or(line);
    match line.split_once(' ') {
        Some((class, rest)) if class.contains('.') && class.ends_with("Exception") => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_stack_traces() {
        let text = "RPC error: java.io.FileNotFoundException File does not exist: /a/b.csv\n\tat org.apache.hadoop…";
        assert_eq!(first_line(text), "File does not exist: /a/b.csv");
        let error = rewrite(object_store::Error::Generic { store: "HFDS", source: text.into() });
        assert!(matches!(&error, object_store::Error::NotFound { path, .. } if path == "a/b.csv"));
        assert!(!error.to_string().contains("org.apache"));
    }
}
