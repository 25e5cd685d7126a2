//! S3 and what speaks like it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::poll_fn;
use futures::{FutureExt, StreamExt};
use maru_connect::io_threads;
use maru_core::limits::CONNECT_TIMEOUT_S;
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::Handle;
use url::Url;

use super::parts::ListedInParts;
use crate::options::{
    ACCESS_KEY_ID, CA_FILE, ENDPOINT, PATH_STYLE, REGION, SECRET_ACCESS_KEY, SESSION_TOKEN, TIMEOUT,
};

/// Seconds after which a failing request is not sent again. The library's own three minutes look like a hang.
const RETRY_S: u64 = 30;

/// Makes connections that live on the threads for input and output, whoever asks for them: a thread that decodes does not
/// drive them.
#[derive(Debug)]
struct OnIoThreads(Handle);

#[derive(Debug)]
struct Client {
    inner: HttpClient,
    threads: Handle,
}

impl HttpConnector for OnIoThreads {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Client { inner, threads: self.0.clone() }))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut answer = self.inner.execute(request).boxed();
        // What the call starts runs where it is polled.
        poll_fn(|context| {
            let _there = self.threads.enter();
            answer.poll_unpin(context)
        })
        .await
    }
}

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
        max_retries: 6,
        retry_timeout: Duration::from_secs(RETRY_S),
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

fn build(
    bucket: &str,
    options: &Options,
    retry: RetryConfig,
    timeout: Duration,
) -> Result<AmazonS3> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidOption, what);
    let mut client = ClientOptions::new()
        .with_timeout(timeout)
        .with_connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S / 2));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region(options))
        .with_retry(retry);
    let endpoint = options.text(ENDPOINT.name).filter(|endpoint| !endpoint.is_empty());
    if let Some(endpoint) = endpoint {
        let url = Url::parse(endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                invalid(format!("invalid value \"{endpoint}\" for option \"{}\"", ENDPOINT.name))
                    .with_hint("Give a URL such as http://minio:9000.")
            })?;
        client = client.with_allow_http(url.scheme() == "http");
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let path_style = options.boolean(PATH_STYLE.name).unwrap_or(endpoint.is_some());
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
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    if let Some(threads) = io_threads() {
        builder = builder.with_http_connector(OnIoThreads(threads));
    }
    builder
        .with_client_options(client)
        .build()
        .map_err(|error| invalid(format!("bucket \"{bucket}\" cannot be opened")).with_cause(error))
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
        .with_hint("Check options bucket, endpoint and path_style.");
    }
    let what = if has(&["dns error", "failed to lookup", "Name or service not known"]) {
        format!("host of \"{endpoint}\" is not known")
    } else if has(&["Connection refused"]) {
        format!("\"{endpoint}\" refuses the connection")
    } else if has(&["certificate", "UnknownIssuer"]) {
        format!("the certificate of \"{endpoint}\" is not trusted")
    } else if has(&["timed out", "operation timed out"]) {
        format!("\"{endpoint}\" does not answer")
    } else {
        format!("\"{endpoint}\" does not answer as S3 does: {}", text.lines().next().unwrap_or(""))
    };
    let hint = if what.contains("certificate") {
        "Name the issuer's certificate in option ca_file."
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
