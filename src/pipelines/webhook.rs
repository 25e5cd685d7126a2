//! Tells somebody that a run has failed: one POST of JSON, in bounded time, whose address is a secret.

use std::time::Duration;

use maru_core::{Error, ErrorKind, Result, ResultExt, Secret};
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(10);

/// # Errors
/// 22023 for what is no address of the web.
pub(super) fn check(url: &str) -> Result<()> {
    let parsed = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    // The parser passes over slashes too many, and takes the path for the host.
    let named = url.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/'));
    if named && parsed.is_some_and(|url| url.has_host()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidParameter, "a webhook needs an address of http or https")
        .with_hint("on_failure = webhook('https://host/path')"))
}

/// Returns the address without what may be a secret in it.
pub(crate) fn shown(url: &Secret) -> String {
    match Url::parse(url.reveal()) {
        Ok(url) => format!("{}://{}/…", url.scheme(), url.host_str().unwrap_or_default()),
        Err(_) => "…".to_owned(),
    }
}

/// Sends the news. Redirects are not followed: what is sent is for the one who was named.
///
/// # Errors
/// HV00N, without the address.
pub(super) async fn send(url: &Secret, news: &serde_json::Value) -> Result<()> {
    let failed = || format!("could not tell {}", shown(url));
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .or_error(ErrorKind::Internal, failed)?;
    let request = client
        .post(url.reveal())
        .header("content-type", "application/json")
        .header("user-agent", concat!("maru/", env!("CARGO_PKG_VERSION")))
        .body(news.to_string());
    let answer = request.send().await.map_err(reqwest::Error::without_url);
    let answer = answer.or_error(ErrorKind::RemoteUnavailable, failed)?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::RemoteFailed, failed())
        .with_detail(format!("It answered {}.", answer.status())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_web_and_stay_secret() {
        for url in ["ftp://h/x", "file:///etc/passwd", "h/x", "http:///x", ""] {
            assert_eq!(check(url).unwrap_err().sqlstate(), "22023", "{url}");
        }
        check("https://hooks.example/T1/s3cret").unwrap();
        let shown = shown(&Secret::new("https://u:pw@hooks.example/T1/s3cret?k=v"));
        assert_eq!(shown, "https://hooks.example/…");
    }
}
