//! HDFS over its own protocol.

mod errors;
mod listing;
mod store;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use hdfs_native::{Client, ClientBuilder};
use maru_connect::Directories;
use maru_core::limits::{CONNECT_TIMEOUT_S, HDFS_SILENCE_S};
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use self::errors::{explain, first_line};
use self::store::HdfsStore;
use crate::gate::{Gate, Threads};
use crate::options::{CONFIG_DIR, NAMENODES, SILENCE, USER};

/// Tries of a call to the NameNodes of a nameservice. A pause follows after each has been asked: 13 seconds in all, in
/// which a standby becomes active.
const FAILOVERS: &str = "10";

/// A cluster and the store over it.
#[derive(Debug, Clone)]
pub(crate) struct Hdfs {
    client: Client,
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl Hdfs {
    /// Removes a directory and all that is in it.
    pub(crate) async fn remove_directory(&self, path: &Path) -> Result<()> {
        let absolute = format!("/{path}");
        let removed = self.client.delete(&absolute, true).await;
        removed.map(|_| ()).map_err(|error| explain(&absolute, &error))
    }

    /// Removes a directory and those in it, as far as they hold no files.
    pub(crate) fn remove_empty(&self, path: String) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let listed = self.client.list_status(&path, false).await;
            let mut n_files = 0;
            for found in listed.map_err(|error| explain(&path, &error))? {
                match found.isdir {
                    true => self.remove_empty(found.path).await?,
                    false => n_files += 1,
                }
            }
            if n_files == 0 {
                // It fails where another writer's files came.
                let _ = self.client.delete(&path, false).await;
            }
            Ok(())
        })
    }

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

    fn remove_all<'a>(&'a self, directory: &'a Path) -> BoxFuture<'a, Result<()>> {
        async move {
            match self.0.delete(&format!("/{directory}"), true).await {
                Ok(_) | Err(hdfs_native::HdfsError::FileNotFound(_)) => Ok(()),
                Err(error) => Err(explain(&format!("/{directory}"), &error)),
            }
        }
        .boxed()
    }
}

/// Opens a cluster. No connection is made yet.
///
/// # Errors
/// HV024 if options do not go together, or name no NameNode.
pub(crate) fn open(url: &Url, options: &Options) -> Result<Hdfs> {
    let silence = options.duration(SILENCE.name);
    let mut root = url.clone();
    root.set_path("/");
    let mut builder =
        ClientBuilder::new().with_url(root.as_str()).with_config(config(url, options, silence)?);
    if let Some(user) = options.text(USER.name) {
        builder = builder.with_user(user);
    }
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
    let limit = silence.unwrap_or(Duration::from_secs(HDFS_SILENCE_S));
    let inner: Arc<dyn ObjectStore> = Arc::new(HdfsStore::new(client.clone(), limit));
    let gate = Gate::with_threads(inner, Some(threads), |error| error);
    let store = Arc::clone(&gate) as Arc<dyn ObjectStore>;
    Ok(Hdfs { client, gate, store })
}

/// Returns what the options say in Hadoop's words. It counts before what the files in the configuration directory say.
fn config(
    url: &Url,
    options: &Options,
    silence: Option<Duration>,
) -> Result<Vec<(String, String)>> {
    let mut config = Vec::new();
    let mut set = |name: String, value: String| config.push((name, value));
    // One NameNode has nobody to stand in for it: its user is told at once.
    let failovers = if url.port().is_some() { "0" } else { FAILOVERS };
    set("dfs.client.failover.max.attempts".to_owned(), failovers.to_owned());
    set("dfs.client.failover.sleep.max.millis".to_owned(), "5000".to_owned());
    let silence = match (silence, options.text(CONFIG_DIR.name)) {
        (None, None) => Some(Duration::from_secs(HDFS_SILENCE_S)),
        (silence, _) => silence,
    };
    if let Some(silence) = silence {
        set("dfs.client.socket-timeout".to_owned(), silence.as_millis().max(1).to_string());
    }
    let Some(namenodes) = options.text(NAMENODES.name) else { return Ok(config) };
    let invalid = |hint: &str| {
        let what = format!("invalid value \"{namenodes}\" for option \"{}\"", NAMENODES.name);
        Error::new(ErrorKind::InvalidOption, what).with_hint(hint)
    };
    if url.port().is_some() {
        return Err(invalid(
            "The URL names one NameNode by host and port; a nameservice has no port.",
        ));
    }
    let service = url.host_str().unwrap_or_default();
    let mut names = Vec::new();
    for (index, address) in namenodes.split(',').map(str::trim).enumerate() {
        if address
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return Err(invalid("Give host:port of each NameNode, separated by commas."));
        }
        let name = format!("nn{index}");
        config.push((format!("dfs.namenode.rpc-address.{service}.{name}"), address.to_owned()));
        names.push(name);
    }
    config.push((format!("dfs.ha.namenodes.{service}"), names.join(",")));
    Ok(config)
}

/// Asks the NameNode for the directory and says what is wrong.
///
/// # Errors
/// HV00N if no NameNode answers or is active, HV00L if it does not know who asks, 42501 if it refuses the user, HV024
/// for a path that is not there.
pub(crate) async fn check(hdfs: &Hdfs, url: &Url, path: &Path) -> Result<()> {
    let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
    let absolute = format!("/{path}");
    let info = tokio::time::timeout(limit, hdfs.client.get_file_info(&absolute)).await;
    let invalid = |what: &str| {
        Error::new(ErrorKind::InvalidOption, format!("{what}: \"{absolute}\" on HDFS"))
    };
    match info {
        Err(_) => Err(unreachable(url, &format!("no answer within {CONNECT_TIMEOUT_S} s"))),
        Ok(Ok(status)) if status.isdir => Ok(()),
        Ok(Ok(_)) => {
            Err(invalid("not a directory").with_hint("Give the directory that holds the file."))
        }
        Ok(Err(error)) => {
            let error = explain(&absolute, &error);
            match error.kind() {
                ErrorKind::FileNotFound => Err(invalid("no such directory")),
                ErrorKind::RemoteUnavailable => Err(unreachable(url, error.primary())),
                _ => Err(error),
            }
        }
    }
}

/// No NameNode of the URL does what is asked.
fn unreachable(url: &Url, why: &str) -> Error {
    let host = url.host_str().unwrap_or_default();
    let (who, hint) = match url.port() {
        Some(port) => (
            format!("NameNode \"{host}:{port}\""),
            "Check host and port of option url: it is the NameNode's RPC port.",
        ),
        None => (
            format!("nameservice \"{host}\""),
            "Check option namenodes or config_dir: they name the NameNodes' RPC ports.",
        ),
    };
    Error::new(ErrorKind::RemoteUnavailable, format!("{who} cannot be reached: {why}"))
        .with_hint(hint)
}
