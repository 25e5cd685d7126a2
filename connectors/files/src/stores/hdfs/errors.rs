//! What HDFS says when something is wrong, in Maru's words.

use hdfs_native::HdfsError;
use maru_core::{Error, ErrorKind};
use object_store::path::Path;

/// Java classes of errors that a NameNode answers with, without their packages.
const REFUSED: &str = "AccessControlException";
const MISSING: &str = "FileNotFoundException";
const STANDBY: &str = "StandbyException";
const NOT_IMPERSONATED: &str = "AuthorizationException";
const RETRY: &str = "RetriableException";

const KERBEROS_HINT: &str = "Give config_dir with hadoop.security.authentication = kerberos, and the process a ticket: kinit, or KRB5CCNAME.";

/// Turns an error about `path` (absolute, or empty) into Maru's.
///
/// # Errors
/// 58P01 for what is not there, 42501 for what the user may not do, HV00L for a user that is not known, HV00N for servers
/// that do not answer, 0A000 for encryption zones, HV000 for the rest.
pub(super) fn explain(path: &str, error: &HdfsError) -> Error {
    let text = error.to_string();
    let line = first_line(&text);
    match error {
        HdfsError::FileNotFound(_) | HdfsError::IsADirectoryError(_) => missing(path),
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => {
            answered(path, class, line)
        }
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => {
            unknown(line)
        }
        HdfsError::OperationFailed(what) if what.contains("libgssapi") => Error::new(
            ErrorKind::RemoteAuthentication,
            "the Kerberos library libgssapi_krb5.so.2 is not installed",
        )
        .with_detail("The configuration of the cluster asks for Kerberos.")
        .with_hint(
            "Install it: package libgssapi-krb5-2 on Debian and Ubuntu, krb5-libs on Red Hat.",
        ),
        HdfsError::UnsupportedFeature(_) | HdfsError::UnsupportedErasureCodingPolicy(_) => {
            Error::unsupported(format!("HDFS file \"{path}\": {line}"))
        }
        HdfsError::IOError(_) | HdfsError::InvalidRPCResponse(_) => {
            let line = line.rsplit("HDFS: ").next().unwrap_or_default();
            unavailable(format!("no NameNode answers: {line}"))
        }
        HdfsError::DataTransferError(_) | HdfsError::BlocksNotFound(_) => unavailable(format!(
            "no DataNode gives the data of \"{path}\": {}",
            line.split(": [").next().unwrap_or_default()
        )),
        HdfsError::ChecksumError => Error::new(
            ErrorKind::DataCorrupted,
            format!("every copy of \"{path}\" on HDFS is damaged: {line}"),
        )
        .with_hint("hdfs fsck tells which blocks; restore the file from where it came."),
        _ => Error::new(ErrorKind::RemoteFailed, format!("HDFS could not read \"{path}\": {line}")),
    }
}

/// [`explain`] in the type that stores speak; Maru's error travels inside.
pub(super) fn store_error(path: &Path, error: &HdfsError) -> object_store::Error {
    wrap(path, explain(&format!("/{path}"), error))
}

/// A server that did not answer in time.
pub(super) fn silent(path: &Path, who: &str, seconds: f64) -> object_store::Error {
    let what = format!("{who} did not answer within {seconds} s about \"/{path}\"");
    wrap(path, unavailable(what))
}

/// The error of a read on condition of a mark, and of a file that changes while it is opened.
pub(super) fn changed(path: &Path) -> object_store::Error {
    object_store::Error::Precondition {
        path: path.to_string(),
        source: "the file is another one by now".into(),
    }
}

fn wrap(path: &Path, error: Error) -> object_store::Error {
    use object_store::Error as Store;
    let (path, kind) = (path.to_string(), error.kind());
    let source = error.into();
    match kind {
        ErrorKind::FileNotFound => Store::NotFound { path, source },
        ErrorKind::NotAllowed => Store::PermissionDenied { path, source },
        ErrorKind::RemoteAuthentication => Store::Unauthenticated { path, source },
        _ => Store::Generic { store: "HDFS", source },
    }
}

fn missing(path: &str) -> Error {
    Error::new(ErrorKind::FileNotFound, format!("file \"{path}\" does not exist")).with_hint(
        "Another program may have removed it while the statement ran. Run the statement again.",
    )
}

fn unavailable(what: String) -> Error {
    Error::new(ErrorKind::RemoteUnavailable, what)
        .with_hint("Check that the servers of HDFS run and can be reached from here, then run the statement again.")
}

fn unknown(line: String) -> Error {
    Error::new(ErrorKind::RemoteAuthentication, format!("HDFS does not know who asks: {line}"))
        .with_hint(KERBEROS_HINT)
}

/// What a NameNode answered, by the class of its exception.
fn answered(path: &str, class: &str, line: String) -> Error {
    let class = class.rsplit(['.', '$']).next().unwrap_or_default();
    match class {
        MISSING => missing(path),
        REFUSED if line.contains("authentication is not enabled") => unknown(line),
        REFUSED => Error::new(ErrorKind::NotAllowed, format!("HDFS refuses \"{path}\": {line}"))
            .with_hint("Option user says who asks; by default it is HADOOP_USER_NAME, else whom Maru runs as. The owner of the directory may grant the right: hdfs dfs -chmod, -setfacl."),
        NOT_IMPERSONATED => Error::new(
            ErrorKind::RemoteAuthentication,
            format!("HDFS refuses to take the user: {line}"),
        )
        .with_hint("The cluster must let the ticket's owner act for others: hadoop.proxyuser.OWNER.hosts and .groups. Or leave option user out."),
        "SaslException" | "GSSException" | "InvalidToken" => unknown(line),
        STANDBY => unavailable(format!("no NameNode is active: {line}")),
        RETRY | "SafeModeException" => unavailable(format!("the NameNode is not ready: {line}")),
        _ => Error::new(ErrorKind::RemoteFailed, format!("HDFS answers about \"{path}\": {line}")),
    }
}

/// Returns the first line without the Java class in front of it; what follows are stack traces.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("RPC error: ").unwrap_or(line);
    let line = line.strip_prefix("fatal RPC error: ").unwrap_or(line);
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
    fn says_what_is_wrong_without_java() {
        let rpc = |class: &str, text: &str| {
            HdfsError::RPCError(class.to_owned(), format!("{text}\n\tat org.apache.hadoop.X"))
        };
        let fatal =
            |class: &str, text: &str| HdfsError::FatalRPCError(class.to_owned(), text.to_owned());
        let cases = [
            (rpc("java.io.FileNotFoundException", "File does not exist: /a"), "58P01"),
            (
                rpc(
                    "org.apache.hadoop.security.AccessControlException",
                    "Permission denied: user=u",
                ),
                "42501",
            ),
            // What a cluster with Kerberos answers to who comes without.
            (
                fatal(
                    "org.apache.hadoop.security.AccessControlException",
                    "SIMPLE authentication is not enabled.  Available:[TOKEN, KERBEROS]",
                ),
                "HV00L",
            ),
            (
                fatal(
                    "org.apache.hadoop.security.authorize.AuthorizationException",
                    "User: a is not allowed to impersonate b",
                ),
                "HV00L",
            ),
            (HdfsError::OperationFailed("Failed to load libgssapi_krb".to_owned()), "HV00L"),
            (HdfsError::NoSASLMechanism, "HV00L"),
            (
                rpc(
                    "org.apache.hadoop.ipc.StandbyException",
                    "Operation category READ is not supported",
                ),
                "HV00N",
            ),
            (HdfsError::IOError(std::io::ErrorKind::ConnectionRefused.into()), "HV00N"),
            (
                HdfsError::DataTransferError(
                    "All DataNodes failed: [DatanodeInfo { … }]".to_owned(),
                ),
                "HV00N",
            ),
            (HdfsError::ChecksumError, "XX001"),
        ];
        for (error, state) in cases {
            let ours = explain("/a", &error);
            assert_eq!(ours.sqlstate(), state, "{error:?}");
            let report = ours.report();
            assert!(!report.contains("org.apache") && !report.contains("DatanodeInfo"), "{report}");
            assert!(ours.hint().is_some(), "{report}");
        }
    }
}
