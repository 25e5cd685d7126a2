//! S3 and what speaks like it.

mod requests;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use maru_connect::io_threads;
use maru_core::limits::CONNECT_TIMEOUT_S;
use maru_core::{Error, ErrorKind, OptionSpec, Options, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::parts::ListedInParts;
use crate::options::{
    ACCESS_KEY_ID, CA_FILE, ENDPOINT, MAX_REQUESTS, MAX_RETRIES, PATH_STYLE, REGION, RETRY_TIMEOUT,
    SECRET_ACCESS_KEY, SESSION_TOKEN, TIMEOUT,
};
use requests::Connections;

/// Opens a bucket for reading and writing.
///
/// # Errors
/// HV024 if options do not go together.
pub(crate) fn open(bucket: &str, options: &Options) -> Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: number(options, &MAX_RETRIES, 0, 100)?.unwrap_or(6),
        // The library's own three minutes look like a hang.
        retry_timeout: options.duration(RETRY_TIMEOUT.name).unwrap_or(Duration::from_secs(30)),
    };
    let timeout = options.duration(TIMEOUT.name).unwrap_or(Duration::from_secs(60));
    let bucket = build(bucket, options, retry, timeout)?;
    Ok(Arc::new(ListedInParts::new(Arc::new(bucket))))
}

/// Asks the bucket for one object below `prefix`, once, and says what is wrong.
///
/// # Errors
/// HV00N if the endpoint does not answer or is not S3, HV00L if it refuses the keys, HV024 for a bucket or prefix that
/// is not there.
pub(crate) async fn check(bucket: &str, prefix: &Path, options: &Options) -> Result<()> {
    let retry = RetryConfig {
        max_retries: 1,
        retry_timeout: Duration::from_secs(CONNECT_TIMEOUT_S),
        backoff: BackoffConfig::default(),
    };
    let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
    let store = build(bucket, options, retry, limit)?;
    let prefix = Some(prefix).filter(|prefix| !prefix.as_ref().is_empty());
    let mut objects = store.list(prefix);
    let first = tokio::time::timeout(limit, objects.next());
    let endpoint = address(options);
    match first.await {
        Err(_) => Err(Error::new(
            ErrorKind::RemoteUnavailable,
            format!("\"{endpoint}\" does not answer within {CONNECT_TIMEOUT_S} s"),
        )
        .with_hint("Check option endpoint and the network between.")),
        Ok(Some(Ok(_))) => Ok(()),
        Ok(None) => match prefix {
            None => Ok(()),
            Some(prefix) => Err(Error::new(
                ErrorKind::InvalidOption,
                format!("nothing lies under prefix \"{prefix}\" of bucket \"{bucket}\""),
            )
            .with_hint("Check option prefix: upper and lower case matter.")),
        },
        Ok(Some(Err(error))) => Err(explain(bucket, &endpoint, &error)),
    }
}

/// Returns the address that requests go to, without anything secret.
pub(crate) fn address(options: &Options) -> String {
    match options.text(ENDPOINT.name) {
        Some(endpoint) => endpoint.to_owned(),
        None => format!("https://s3.{}.amazonaws.com", region(options)),
    }
}

fn region(options: &Options) -> &str {
    options.text(REGION.name).unwrap_or("us-east-1")
}

/// Reads a number that has to lie in a range; `None` if it is not given.
fn number(
    options: &Options,
    spec: &OptionSpec,
    least: usize,
    greatest: usize,
) -> Result<Option<usize>> {
    let Some(given) = options.integer(spec.name) else { return Ok(None) };
    let number = usize::try_from(given).ok().filter(|n| (least..=greatest).contains(n));
    let number = number.ok_or_else(|| {
        Error::new(ErrorKind::InvalidOption, format!("option \"{}\" is out of range", spec.name))
            .with_hint(format!("Give a number from {least} to {greatest}."))
    })?;
    Ok(Some(number))
}

fn build(
    bucket: &str,
    options: &Options,
    retry: RetryConfig,
    timeout: Duration,
) -> Result<AmazonS3> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidOption, what);
    check_name(bucket)?;
    let mut client = ClientOptions::new()
        .with_timeout(timeout)
        .with_connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S / 2));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region(options))
        .with_retry(retry);
    let endpoint = options.text(ENDPOINT.name).filter(|endpoint| !endpoint.is_empty());
    let path_style = options.boolean(PATH_STYLE.name).unwrap_or(endpoint.is_some());
    if let Some(endpoint) = endpoint {
        let url = Url::parse(endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                invalid(format!("invalid value \"{endpoint}\" for option \"{}\"", ENDPOINT.name))
                    .with_hint("Give a URL such as http://minio:9000.")
            })?;
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown: it is as good as a password.
            return Err(invalid(format!("option \"{}\" has a user in it", ENDPOINT.name))
                .with_hint(
                    "Give the keys in options access_key_id and secret_access_key, or a secret.",
                ));
        }
        client = client.with_allow_http(url.scheme() == "http");
        let endpoint = match path_style {
            true => url.to_string(),
            false => bucket_endpoint(bucket, url)?,
        };
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    builder = builder.with_virtual_hosted_style_request(!path_style);
    match (options.text(ACCESS_KEY_ID.name), options.secret(SECRET_ACCESS_KEY.name)) {
        (Some(key), Some(secret)) => {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret.reveal());
        }
        (None, None) => builder = builder.with_skip_signature(true),
        (Some(_), None) => {
            return Err(invalid("option \"access_key_id\" needs \"secret_access_key\"".to_owned()));
        }
        (None, Some(_)) => {
            return Err(invalid("option \"secret_access_key\" needs \"access_key_id\"".to_owned()));
        }
    }
    if let Some(token) = options.secret(SESSION_TOKEN.name) {
        builder = builder.with_token(token.reveal());
    }
    if let Some(file) = options.text(CA_FILE.name) {
        let unreadable =
            |what: &str| invalid(format!("option \"{}\": {what} \"{file}\"", CA_FILE.name));
        let pem =
            std::fs::read(file).map_err(|error| unreadable("cannot read").with_cause(error))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|_| unreadable("no PEM certificates in"))?;
        if certificates.is_empty() {
            return Err(unreadable("no PEM certificates in"));
        }
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    let places = number(options, &MAX_REQUESTS, 1, 10_000)?;
    let places = places.map(|places| Arc::new(Semaphore::new(places)));
    builder = builder.with_http_connector(Connections { threads: io_threads(), places });
    builder
        .with_client_options(client)
        .build()
        .map_err(|error| invalid(format!("bucket \"{bucket}\" cannot be opened")).with_cause(error))
}

/// Refuses what can be no name of a bucket, with a word on what was given instead.
///
/// # Errors
/// HV024.
fn check_name(bucket: &str) -> Result<()> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if !bucket.is_empty() && bucket.chars().all(is_name) {
        return Ok(());
    }
    let bare = bucket.trim();
    let bare = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    let (name, prefix) = bare.split_once('/').unwrap_or((bare, ""));
    let hint = match (name.chars().all(is_name) && !name.is_empty(), prefix.trim_matches('/')) {
        (false, _) => "Give the name of a bucket: letters, digits, hyphens and points.".to_owned(),
        (true, "") => format!("Give the name alone: bucket = '{name}'."),
        (true, prefix) => format!(
            "Give the name alone, and the rest as a prefix: bucket = '{name}', prefix = '{prefix}'."
        ),
    };
    let what = format!("invalid value \"{bucket}\" for option \"bucket\"");
    Err(Error::new(ErrorKind::InvalidOption, what).with_hint(hint))
}

/// Returns the endpoint with the bucket before its host, which the library leaves to us.
///
/// # Errors
/// HV024 for a host that is a number.
fn bucket_endpoint(bucket: &str, mut url: Url) -> Result<String> {
    let host = match url.host() {
        Some(Host::Domain(host)) if host.starts_with(&format!("{bucket}.")) => None,
        Some(Host::Domain(host)) => Some(format!("{bucket}.{host}")),
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "option \"path_style\" = false needs an endpoint with a host name",
            )
            .with_hint("No name can stand before an IP address: leave path_style out."));
        }
    };
    if let Some(host) = host {
        url.set_host(Some(&host)).map_err(|error| {
            Error::new(ErrorKind::InvalidOption, format!("\"{host}\" is not a host name"))
                .with_cause(error)
                .with_hint("Leave path_style out: not every bucket can be part of a host name.")
        })?;
    }
    Ok(url.to_string())
}

/// Tells apart what a first request can meet. The library gives the server's reply as text.
fn explain(bucket: &str, endpoint: &str, error: &object_store::Error) -> Error {
    let text = chain(error);
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let refused = |what: &str| Error::new(ErrorKind::RemoteAuthentication, what.to_owned());
    if has(&["NoSuchBucket", "InvalidBucketName"]) {
        return Error::new(
            ErrorKind::InvalidOption,
            format!("no such bucket: \"{bucket}\" at \"{endpoint}\""),
        )
        .with_hint("Check options bucket, endpoint and region.");
    }
    if has(&["InvalidAccessKeyId", "InvalidAccessKey"]) {
        return refused("the store does not know the access key")
            .with_hint("Check option access_key_id.");
    }
    if has(&["SignatureDoesNotMatch"]) {
        return refused("the secret does not belong to the access key")
            .with_hint("Check options secret_access_key and region.");
    }
    if has(&["RequestTimeTooSkewed"]) {
        return refused("the clocks of Maru's machine and the store differ too much")
            .with_hint("Set the clock of this machine.");
    }
    if has(&["ExpiredToken", "InvalidToken"]) {
        return refused("the session token is not valid or has expired")
            .with_hint("Get new temporary keys.");
    }
    if has(&["AccessDenied", "403 Forbidden", "401 Unauthorized", "Forbidden"]) {
        return refused(&format!("the store refuses to list bucket \"{bucket}\""))
            .with_hint("Check the keys and whether they may list the bucket (s3:ListBucket).");
    }
    if has(&["PermanentRedirect", "AuthorizationHeaderMalformed", "301 Moved", "BareRedirect"]) {
        return Error::new(
            ErrorKind::InvalidOption,
            format!("bucket \"{bucket}\" lies in another region"),
        )
        .with_hint("Set option region.");
    }
    if has(&["404 Not Found"]) {
        return Error::new(
            ErrorKind::InvalidOption,
            format!("no such bucket: \"{bucket}\" at \"{endpoint}\""),
        )
        .with_hint("Check options bucket, endpoint and path_style. A server that is none of S3 says so too.");
    }
    let what = if has(&["dns error", "failed to lookup", "Name or service not known"]) {
        format!("host of \"{endpoint}\" is not known")
    } else if has(&["Connection refused"]) {
        format!("\"{endpoint}\" refuses the connection")
    } else if has(&["InvalidContentType"]) {
        format!("\"{endpoint}\" does not speak TLS")
    } else if has(&["HTTP request to an HTTPS server", "HTTP request was sent to HTTPS"]) {
        format!("\"{endpoint}\" wants TLS")
    } else if has(&["certificate", "UnknownIssuer"]) {
        format!("the certificate of \"{endpoint}\" is not trusted")
    } else if has(&["timed out", "operation timed out"]) {
        format!("\"{endpoint}\" does not answer")
    } else {
        format!("\"{endpoint}\" does not answer as S3 does: {}", text.lines().next().unwrap_or(""))
    };
    let hint = if what.contains("certificate") {
        "Name the issuer's certificate in option ca_file."
    } else if what.ends_with("does not speak TLS") {
        "Write http instead of https in option endpoint, if the network between may be trusted with the data."
    } else if what.ends_with("wants TLS") {
        "Write https instead of http in option endpoint."
    } else {
        "Check option endpoint: scheme, host and port."
    };
    Error::new(ErrorKind::RemoteUnavailable, what).with_hint(hint)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::S3_OPTIONS;

    #[test]
    fn a_bucket_may_stand_before_the_host() {
        let shown = |bucket: &str, url: &str| bucket_endpoint(bucket, Url::parse(url).unwrap());
        for (url, expected) in [
            ("http://minio:9000", "http://logs.minio:9000/"),
            ("https://s3.example", "https://logs.s3.example/"),
            ("https://logs.s3.example/", "https://logs.s3.example/"),
        ] {
            assert_eq!(shown("logs", url).unwrap(), expected);
        }
        for (bucket, url) in
            [("logs", "http://127.0.0.1:9000"), ("logs", "http://[::1]"), ("a b", "http://minio")]
        {
            let error = shown(bucket, url).unwrap_err();
            assert_eq!(error.sqlstate(), "HV024", "{bucket} {url}");
        }
    }

    #[tokio::test]
    async fn what_is_no_bucket_or_endpoint_is_told() {
        let opened = |bucket: &str, endpoint: &str| {
            let given = [("bucket", bucket), ("endpoint", endpoint)];
            let options = Options::check("connector \"s3\"", S3_OPTIONS, given).unwrap();
            open(bucket, &options).map(|_| ())
        };
        for (bucket, hint) in [
            ("", "letters, digits"),
            ("s3://weblogs", "bucket = 'weblogs'."),
            ("weblogs/", "bucket = 'weblogs'."),
            (" weblogs", "bucket = 'weblogs'."),
            ("s3a://weblogs/2026/a/", "bucket = 'weblogs', prefix = '2026/a'."),
            ("a b", "letters, digits"),
        ] {
            let error = opened(bucket, "http://minio:9000").unwrap_err();
            assert_eq!(error.sqlstate(), "HV024", "{bucket}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{bucket}: {error:?}");
        }
        for endpoint in [" http://minio:9000", "http:///minio", "https://minio/"] {
            opened("weblogs", endpoint).unwrap();
        }
        let error = opened("weblogs", "http://kim:hunter2@minio:9000").unwrap_err();
        assert_eq!(error.sqlstate(), "HV024");
        assert!(!format!("{error:?}").contains("hunter2"));
        for endpoint in ["minio:9000", "ftp://minio", ""] {
            assert_eq!(opened("weblogs", endpoint).is_ok(), endpoint.is_empty(), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn numbers_have_their_limits() {
        for (option, value, is_right) in [
            ("max_requests", "1", true),
            ("max_requests", "0", false),
            ("max_requests", "10001", false),
            ("max_retries", "0", true),
            ("max_retries", "-1", false),
            ("max_retries", "101", false),
            ("retry_timeout", "2s", true),
        ] {
            let given = [("bucket", "b"), (option, value)];
            let options = Options::check("connector \"s3\"", S3_OPTIONS, given).unwrap();
            let opened = open("b", &options);
            assert_eq!(opened.is_ok(), is_right, "{option} {value}");
            if let Err(error) = opened {
                assert_eq!(error.sqlstate(), "HV024");
            }
        }
    }
}
